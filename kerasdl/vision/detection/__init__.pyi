from .detector import Detector as Detector
from .method import Method as Method
from .method import TrueBatch as TrueBatch
from .object_decoder import ObjectDecoder as ObjectDecoder
