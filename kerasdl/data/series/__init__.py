"""Time series: reading of tables, embedded and drawn series, windows cut by time, search for leaks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
