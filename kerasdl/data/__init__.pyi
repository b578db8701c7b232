from . import augment as augment
from .dataset import Dataset as Dataset
from .adapting import as_dataset as as_dataset
from .folders import DataWarning as DataWarning
from .images import decode_image as decode_image
from .images import prepare_images as prepare_images
from .loading import list_datasets as list_datasets
from .loading import load as load
