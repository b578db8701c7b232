from .bundle import Bundle as Bundle
from .exports import ExportOptions as ExportOptions
from .loading import list_bundles as list_bundles
from .loading import load_bundle as load_bundle
from .manifest import Manifest as Manifest
