"""Detection methods by name, and the one that trains a network."""

import keras

from kerasdl.core import checks

from .centernet import CenterMethod
from .detr import DETRMethod
from .fcos import CornerFCOSMethod, FCOSMethod
from .method import Method
from .retinanet import RetinaMethod
from .ssd import SSDMethod
from .ssdlite import SSDliteMethod
from .two_stage.fast_rcnn import FastRCNNMethod
from .two_stage.faster_rcnn import FasterRCNNMethod
from .two_stage.mask_rcnn import MaskRCNNMethod
from .two_stage.rcnn import CropMethod
from .yolo_v3 import YOLOv3Method
from .yolo_v8 import YOLOv8Method

FCOS = (FCOSMethod, CornerFCOSMethod)
DENSE = (CenterMethod, *FCOS, RetinaMethod, SSDMethod, SSDliteMethod, YOLOv3Method, YOLOv8Method)
TWO_STAGE = (CropMethod, FastRCNNMethod, FasterRCNNMethod, MaskRCNNMethod)
METHODS: dict[str, Method] = {kind.name: kind() for kind in (*DENSE, DETRMethod, *TWO_STAGE)}


def method_of(network: keras.Model) -> Method:
    """Returns the detection method with its default settings, of the network's name.

    Raises:
        ArgumentError: no method has the name of the network.

    Example:
        >>> method_of(kerasdl.build("fcos", **kerasdl.spec("fcos").tiny)).name
        'fcos'
    """
    if network.name not in METHODS:
        rule = f"the name of a detector's network must be that of its method, one of {tuple(METHODS)}"
        checks.refuse(rule, network.name, "Build it by kerasdl.build, or pass method=.")
    return METHODS[network.name]
