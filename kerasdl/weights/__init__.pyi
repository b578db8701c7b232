from .folder_models import model_from as model_from
from .importing import import_weights as import_weights
from .peer_bundles import bundle_from as bundle_from
from .report import ImportReport as ImportReport
from .peft_adapters import import_peft as import_peft
from .hugging_face_export import export_hugging_face as export_hugging_face
