"""Explanations of any Keras model: the parts of an input that decide, by gradients, occlusion and activation maps."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
