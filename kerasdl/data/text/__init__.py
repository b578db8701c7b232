"""Texts: files of rows, folders of text files, tagged tokens, docstrings of Python, generated sentences and pairs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
