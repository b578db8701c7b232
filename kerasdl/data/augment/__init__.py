"""Random changes of training images, each drawn by a seed alone, so that a killed run goes on with the same ones."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
