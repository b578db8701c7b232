"""Object detection: detectors of raw heads, their target assigners, losses and decoders, and the trainer."""

import keras  # noqa: F401  first: once it is there, saved classes are imported, which need every method
import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
