"""Training: `fit` and `run_steps`, optimizers and schedules, strategies, diagnostics, tracking and sweeps."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
