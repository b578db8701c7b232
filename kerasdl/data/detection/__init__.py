"""Data of detectors: drawn scenes, and files of boxes in COCO's, Pascal VOC's, YOLO's and labelme's form."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
