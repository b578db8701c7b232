from .importing import import_weights as import_weights
from .peer_bundles import bundle_from as bundle_from
from .report import ImportReport as ImportReport
