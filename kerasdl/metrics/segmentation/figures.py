"""Table of a segmenter's figures, for terminals and programs."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from kerasdl.core.display.results import Displayed, text_table


@dataclass(frozen=True, repr=False)
class SegmentationFigures(Displayed):
    """Figures of a segmenter, as a whole and of each class, of `figures()` of a metric of segmentation.

    Example:
        >>> metric = MeanIoU(["sky", "tree"])
        >>> metric.update_state(np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]]))
        >>> metric.figures()
        SegmentationFigures: IoU 0.583
          class    IoU
          sky    0.500
          tree   0.667
    """

    figures: Mapping[str, float]
    """Figures of the whole by name; NaN where nothing could be measured."""
    classes: Mapping[str, Mapping[str, float]]
    """Figures of each class by its name."""

    def table(self) -> str:
        """Returns a line for each class in the order of the classes; `-` where nothing could be measured."""
        rows = [(name, *map(_text, values.values())) for name, values in self.classes.items()]
        return text_table(("class", *next(iter(self.classes.values()))), rows)

    def to_json(self) -> str:
        """Returns the figures as JSON text, with null where nothing could be measured."""
        values = {"figures": _plain(self.figures), "classes": {k: _plain(v) for k, v in self.classes.items()}}
        return json.dumps(values, indent=2)

    def _shown(self) -> tuple[str, str]:
        figures = ", ".join(f"{name} {_text(value)}" for name, value in self.figures.items())
        return f"SegmentationFigures: {figures}", self.table()


def mean_of(values) -> float:
    """Returns the mean of the values that are not NaN; NaN for none."""
    measured = [value for value in values if not math.isnan(value)]
    return sum(measured) / len(measured) if measured else math.nan


def _text(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.3f}"


def _plain(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}
