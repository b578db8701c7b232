"""Texts of your own: files of rows (text, CSV, JSON lines), folders of text files, and docstrings of Python."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
