from .detection import MeanAveragePrecision as MeanAveragePrecision
from .thresholds import PrecisionRecall as PrecisionRecall
from .thresholds import best_threshold as best_threshold
from .thresholds import precision_recall as precision_recall
