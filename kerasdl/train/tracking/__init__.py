"""Experiment trackers. Imports core and loop.

Pass them in `fit(callbacks=[...])`; with several workers, only those of the chief are active.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
