"""Experiment trackers. Imports core and loop.

They go into `fit(callbacks=[...])`; of several workers, the chief's alone do anything.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
