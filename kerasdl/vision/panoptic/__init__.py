"""Panoptic segmentation: networks that find objects and classes of pixels at once, and their trainer."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
