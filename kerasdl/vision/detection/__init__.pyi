from .assignment_drawing import draw_assignment as draw_assignment
from .detector import Detector as Detector
from .method import Method as Method
from .method import TrueBatch as TrueBatch
from .object_decoder import ObjectDecoder as ObjectDecoder
from .two_stage.trainers import RCNN as RCNN
from .two_stage.trainers import FasterRCNN as FasterRCNN
from .two_stage.trainers import FastRCNN as FastRCNN
