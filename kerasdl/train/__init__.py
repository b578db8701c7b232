"""The engine: one loop over a step and a state, and `fit` built on it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
