from .bundle import Bundle as Bundle
from .format.manifest import Manifest as Manifest
from .listing import bundled_models as bundled_models
from .listing import list_bundles as list_bundles
from .listing import package_of as package_of
from .loading import load_bundle as load_bundle
from .operations.exports import ExportOptions as ExportOptions
from .resizing import resized as resized
