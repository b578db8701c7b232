"""Export of models to other runtimes, each file checked by running it; latency, quantization and compression."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
