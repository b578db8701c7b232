from .importing import import_weights as import_weights
from .report import ImportReport as ImportReport
