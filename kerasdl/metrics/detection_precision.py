"""Precision of a detector over recall, of each class at chosen overlaps."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from kerasdl.core import checks
from kerasdl.core.display.results import Displayed, text_table
from kerasdl.core.objects import PredictedObjects, TrueObjects
from kerasdl.core.plotting import keep

from .coco_counting import hits_of, positives_of, precision_at_recalls
from .coco_matching import flat_objects, matched
from .detection_pictures import curves_figure
from .detection_records import checked_names

EVERY_SIZE = np.array([[0.0, np.inf]])


@dataclass(frozen=True, eq=False)
class DetectionCurve:
    """Precision and recall of one class at one least IoU, over falling score.

    Example:
        >>> truth = TrueObjects(boxes=[[0, 0, 10, 10]], classes=[0])
        >>> found = PredictedObjects(boxes=[[40, 0, 50, 10], [0, 0, 10, 10]], classes=[0, 0], scores=[0.9, 0.8])
        >>> curve = detection_curves([truth], [found], ["cat"]).of("cat")
        >>> curve.scores.tolist(), curve.precision.tolist(), curve.recall.tolist()
        ([0.8], [0.5], [1.0])
    """

    name: str
    """The class."""
    bound: float
    """Least IoU of a right object."""
    objects: int
    """True objects, without crowds."""
    scores: np.ndarray
    """(Q,) scores of the right predicted objects, falling."""
    precision: np.ndarray
    """(Q,) share of the predicted objects down to each of these that are right."""
    recall: np.ndarray
    """(Q,) share of the true objects found by them."""
    average_precision: float
    """Mean of the highest precision from each recall 0, 0.01, ..., 1 on, as COCO's; NaN without true objects."""

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean of precision and recall, (Q,)."""
        return 2 * self.precision * self.recall / (self.precision + self.recall)

    @property
    def best_score(self) -> float:
        """Score from which on the predicted objects have the highest F1; NaN where none is right."""
        return float(self.scores[self.f1.argmax()]) if len(self.scores) else float("nan")


@dataclass(frozen=True, repr=False, eq=False)
class DetectionCurves(Displayed):
    """Precision over recall of each class at each least IoU, of `detection_curves`.

    Example:
        >>> truth = TrueObjects(boxes=[[0, 0, 10, 10], [20, 0, 30, 10]], classes=[0, 1])
        >>> found = PredictedObjects(boxes=[[0, 0, 10, 10], [20, 0, 30, 6]], classes=[0, 1], scores=[0.9, 0.8])
        >>> detection_curves([truth], [found], ["cat", "dog"])
        DetectionCurves: 2 classes, AP50 1.000, AP75 0.500
          class  objects   AP50   AP75  best F1  at score
          cat          1  1.000  1.000    1.000     0.900
          dog          1  1.000  0.000    1.000     0.800
    """

    curves: tuple[DetectionCurve, ...]
    """A curve for each class at each least IoU, those of one class together."""

    @property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        return tuple(dict.fromkeys(each.name for each in self.curves))

    @property
    def bounds(self) -> tuple[float, ...]:
        """The least IoUs."""
        return tuple(dict.fromkeys(each.bound for each in self.curves))

    def of(self, name: str, bound: float | None = None) -> DetectionCurve:
        """Returns the curve of a class at one least IoU; None takes the first.

        Raises:
            ArgumentError: there is no curve at this IoU.
            UnknownNameError: there is no such class.
        """
        checks.known_name("class", name, self.names)
        bound = self.bounds[0] if bound is None else checks.one_of("bound", bound, self.bounds)
        return next(each for each in self.curves if each.name == name and each.bound == bound)

    def mean(self, bound: float) -> float:
        """Returns the mean average precision at one least IoU over the classes with true objects; NaN without any."""
        values = [each.average_precision for each in self.curves if each.bound == bound and each.objects]
        return float(np.mean(values)) if values else float("nan")

    def table(self) -> str:
        """Returns a line for each class: its objects, average precisions, and the highest F1 at the first IoU."""
        rows = []
        for name in self.names:
            some = [self.of(name, bound) for bound in self.bounds]
            best = some[0].f1.max(initial=0.0) if some[0].objects else float("nan")
            values = (*(each.average_precision for each in some), best, some[0].best_score)
            rows.append((name, f"{some[0].objects:,}", *("-" if np.isnan(v) else f"{v:.3f}" for v in values)))
        return text_table(("class", "objects", *map(_short, self.bounds), "best F1", "at score"), rows)

    def to_json(self) -> str:
        """Returns the curves as JSON text, with null for unknown values."""
        plain = [
            {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(each).items()}
            for each in self.curves
        ]
        for each in plain:
            each["average_precision"] = each["average_precision"] if each["objects"] else None
        return json.dumps(plain, indent=2)

    def plot(self, path: str | os.PathLike | None = None) -> Figure:
        """Returns a figure with a panel for each least IoU; with a path, writes it there too."""
        panels = {
            f"{_short(bound)} {self.mean(bound):.3f}": {
                each.name: (each.recall, each.precision) for each in self.curves if each.bound == bound and each.objects
            }
            for bound in self.bounds
        }
        return keep(curves_figure(panels), path)

    def _shown(self) -> tuple[str, str]:
        means = ", ".join(f"{_short(bound)} {self.mean(bound):.3f}" for bound in self.bounds)
        return f"DetectionCurves: {len(self.names)} classes, {means}", self.table()

    def _picture(self) -> Figure:
        return self.plot()


def detection_curves(
    true: Sequence[TrueObjects],
    predicted: Sequence[PredictedObjects],
    classes: int | Sequence[str],
    *,
    bounds: Sequence[float] = (0.5, 0.75),
    of: str = "boxes",
) -> DetectionCurves:
    """Returns precision over recall of each class at each least IoU, by COCO's matching.

    Source: https://cocodataset.org/#detection-eval.

    Args:
        true: true objects, a record for each image.
        predicted: predicted objects of the same images. Of each class in an image the 100 of the highest scores count.
        classes: number of classes, or their names.
        bounds: least IoUs of a right object, each from 0 to 1.
        of: `boxes`, or `masks`: each record then has masks, whose IoU counts.

    Returns:
        The curves: `of(name, bound)`, `table()`, `to_json()`, `plot(path)`.

    Raises:
        ArgumentError: there is no image, the records do not belong together or lack masks, `of` is neither, or `bounds`
            is empty, beyond its range, or holds a value twice.

    Example:
        >>> truth = TrueObjects(boxes=[[0, 0, 10, 10]], classes=[0])
        >>> found = PredictedObjects(boxes=[[0, 0, 10, 8]], classes=[0], scores=[0.9])
        >>> curves = detection_curves([truth], [found], ["cat"], bounds=(0.5, 0.9))
        >>> [curves.of("cat", bound).average_precision for bound in (0.5, 0.9)]
        [1.0, 0.0]
    """
    names = checked_names(true, predicted, classes, of)
    bounds = tuple(checks.within("bounds", each, 0.0, 1.0) for each in bounds)
    if not bounds or len(set(bounds)) < len(bounds):
        checks.refuse("bounds must hold at least one IoU, each once", bounds)
    wanted, found = (flat_objects(each, len(names), of == "masks") for each in (true, predicted))
    matches = matched(wanted, found, np.array(bounds), EVERY_SIZE)
    hits = hits_of(found, matches, (len(names), len(bounds), 1), EVERY_SIZE)
    positives = positives_of(wanted, EVERY_SIZE, len(names))[:, 0]
    curves = []
    for k, name in enumerate(names):
        for place, bound in enumerate(bounds):
            some = hits.of(k * len(bounds) + place)
            seen, objects = hits.seen[some], int(positives[k])
            reached = np.arange(1, len(seen) + 1)
            average = float(precision_at_recalls(seen, objects).mean()) if objects else float("nan")
            scores = found.scores[hits.predicted[some]]
            curves.append(
                DetectionCurve(name, bound, objects, scores, reached / seen, reached / max(objects, 1), average)
            )
    return DetectionCurves(tuple(curves))


def _short(bound: float) -> str:
    return f"AP{100 * bound:g}"
