from .cross_entropy import SmoothedCrossEntropy as SmoothedCrossEntropy
from .focal import Focal as Focal
