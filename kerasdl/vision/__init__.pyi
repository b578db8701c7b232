from . import backbones as backbones
from . import detection as detection
from . import panoptic as panoptic
from . import segmentation as segmentation
from .detection.two_stage.fast_rcnn import fast_rcnn as fast_rcnn
from .detection.two_stage.rcnn import rcnn as rcnn
