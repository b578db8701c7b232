"""Data augmentation: random image transforms that depend on a seed alone, so that a resumed run repeats them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
