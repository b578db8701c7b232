"""COCO's table of a detector's figures, for terminals and programs."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from kerasdl.core.display.results import Displayed, text_table

ROWS = {
    "AP": ("precision", "0.50:0.95", "all", 100),
    "AP50": ("precision", "0.50", "all", 100),
    "AP75": ("precision", "0.75", "all", 100),
    "AP_small": ("precision", "0.50:0.95", "small", 100),
    "AP_medium": ("precision", "0.50:0.95", "medium", 100),
    "AP_large": ("precision", "0.50:0.95", "large", 100),
    "AR1": ("recall", "0.50:0.95", "all", 1),
    "AR10": ("recall", "0.50:0.95", "all", 10),
    "AR100": ("recall", "0.50:0.95", "all", 100),
    "AR_small": ("recall", "0.50:0.95", "small", 100),
    "AR_medium": ("recall", "0.50:0.95", "medium", 100),
    "AR_large": ("recall", "0.50:0.95", "large", 100),
}


@dataclass(frozen=True, repr=False)
class DetectionFigures(Displayed):
    """Figures of a detector by COCO's rules, of `MeanAveragePrecision.figures`.

    Example:
        >>> from kerasdl.core import PredictedObjects, TrueObjects
        >>> metric = MeanAveragePrecision(["cat"])
        >>> truth = TrueObjects(boxes=[[0, 0, 10, 10]], classes=[0])
        >>> metric.update_state([truth], [PredictedObjects(boxes=[[0, 0, 10, 9]], classes=[0], scores=[0.8])])
        >>> metric.figures()
        DetectionFigures: AP 0.900, AP50 1.000, AP75 1.000 over 1 images, 1 objects
          figure     mean of    IoU        area    most of a class  value
          AP         precision  0.50:0.95  all                 100  0.900
          AP50       precision  0.50       all                 100  1.000
          AP75       precision  0.75       all                 100  1.000
          ... 9 more: table()
    """

    figures: Mapping[str, float]
    """The twelve figures by name, as `MeanAveragePrecision.result`; NaN where nothing could be measured."""
    classes: Mapping[str, Mapping[str, float]]
    """Figures of each class, as `MeanAveragePrecision.per_class`."""
    images: int
    """Images."""
    objects: int
    """True objects, without crowds."""

    def table(self) -> str:
        """Returns COCO's table, a line for each of the twelve figures; `-` where nothing could be measured."""
        rows = [(name, *map(str, row), _text(self.figures[name])) for name, row in ROWS.items()]
        return text_table(("figure", "mean of", "IoU", "area", "most of a class", "value"), rows, left=range(4))

    def class_table(self) -> str:
        """Returns a line for each class, that of the highest AP first, classes without true objects last."""
        names = sorted(self.classes, key=lambda name: _last_if_unknown(self.classes[name]["AP"]))
        rows = [(name, *map(_text, self.classes[name].values())) for name in names]
        return text_table(("class", *next(iter(self.classes.values()))), rows)

    def to_json(self) -> str:
        """Returns the figures as JSON text, with null where nothing could be measured."""
        classes = {name: _plain(values) for name, values in self.classes.items()}
        values = {"figures": _plain(self.figures), "classes": classes, "images": self.images, "objects": self.objects}
        return json.dumps(values, indent=2)

    def _shown(self) -> tuple[str, str]:
        first = ", ".join(f"{name} {_text(self.figures[name])}" for name in ("AP", "AP50", "AP75"))
        return f"DetectionFigures: {first} over {self.images:,} images, {self.objects:,} objects", self.table()


def _text(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _last_if_unknown(value: float) -> float:
    return math.inf if math.isnan(value) else -value


def _plain(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}
