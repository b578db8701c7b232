"""Vision models: image classifiers, feature extractors and detectors; `kerasdl.list_models("vision/*")` names them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
