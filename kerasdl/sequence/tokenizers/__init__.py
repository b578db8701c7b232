"""Tokenizers: text to ids and back, trained on texts or read from the files of other libraries."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
