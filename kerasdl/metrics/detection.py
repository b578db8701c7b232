"""Mean average precision of boxes or masks by COCO's rules: AP, AP50, AP75, by size, average recall, per class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kerasdl.core import checks
from kerasdl.core.objects import PredictedObjects, TrueObjects

from .coco_counting import RECALLS, hits_of, positives_of, precision_at_recalls
from .coco_matching import MOST_OBJECTS, Flat, Matches, flat_objects, matched
from .detection_records import check_masks, check_records, class_names, is_of_masks
from .detection_table import DetectionFigures

BOUNDS = np.linspace(0.5, 0.95, 10)
SIZES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
MOST = (1, 10, MOST_OBJECTS)


@dataclass(frozen=True)
class _Curves:
    """Precision and recall of all classes; NaN where a class has no true object."""

    precision: np.ndarray
    """(K, T, S, 101) at the recalls 0, 0.01, ..., 1, with the most objects."""
    recall: np.ndarray
    """(K, T, S, 3) with each number of objects."""


class MeanAveragePrecision:
    """Mean average precision of boxes or masks, equal to that of pycocotools.

    Precision is read at 101 recalls, averaged over the IoU bounds 0.50, 0.55, ..., 0.95, and over the classes that have
    true objects. Sizes are by area: small below 32 x 32 pixels, large above 96 x 96.

    Source: https://cocodataset.org/#detection-eval.

    Args:
        classes: number of classes, or their names.
        of: `boxes`, or `masks`: each record then has masks, whose IoU counts, and predicted areas are theirs.

    Raises:
        ArgumentError: there is no class, two bear one name, or `of` is unknown.

    Example:
        >>> metric = MeanAveragePrecision(2)
        >>> truth = TrueObjects(boxes=[[0, 0, 10, 10]], classes=[1])
        >>> metric.update_state([truth], [PredictedObjects(boxes=[[0, 0, 10, 9]], classes=[1], scores=[0.8])])
        >>> {name: round(value, 3) for name, value in metric.result().items() if name in ("AP", "AP50", "AP75")}
        {'AP': 0.9, 'AP50': 1.0, 'AP75': 1.0}
    """

    def __init__(self, classes: int | Sequence[str], of: str = "boxes"):
        self.names = class_names(classes)
        self.has_masks = is_of_masks(of)
        self.reset_state()

    def reset_state(self) -> None:
        """Forgets all images."""
        self._true: list[TrueObjects] = []
        self._predicted: list[PredictedObjects] = []
        self._curves: _Curves | None = None

    def update_state(self, true: Sequence[TrueObjects], predicted: Sequence[PredictedObjects]) -> None:
        """Adds images.

        Args:
            true: true objects, a record for each image.
            predicted: predicted objects of the same images.

        Raises:
            ArgumentError: the numbers of records differ, a class is beyond the metric's, or a record lacks masks.
        """
        check_records(true, predicted, len(self.names))
        if self.has_masks:
            check_masks(true, predicted)
        self._true.extend(true)
        self._predicted.extend(predicted)
        self._curves = None

    def result(self) -> dict[str, float]:
        """Returns the figures of COCO's table; NaN where nothing could be measured.

        Returns:
            `AP`, `AP50`, `AP75`, `AP_small`, `AP_medium`, `AP_large`, `AR1`, `AR10`, `AR100` (recall with at most so
            many objects of a class in an image), `AR_small`, `AR_medium`, `AR_large`, each from 0 to 1.

        Raises:
            ArgumentError: no image was added.
        """
        curves = self._measured()
        by_bound = {round(float(bound), 2): place for place, bound in enumerate(BOUNDS)}
        figures = {
            "AP": _mean(curves.precision[:, :, 0]),
            "AP50": _mean(curves.precision[:, by_bound[0.5], 0]),
            "AP75": _mean(curves.precision[:, by_bound[0.75], 0]),
        }
        sizes = list(enumerate(SIZES))[1:]
        figures |= {f"AP_{name}": _mean(curves.precision[:, :, place]) for place, name in sizes}
        figures |= {f"AR{most}": _mean(curves.recall[:, :, 0, place]) for place, most in enumerate(MOST)}
        return figures | {f"AR_{name}": _mean(curves.recall[:, :, place, -1]) for place, name in sizes}

    def per_class(self) -> dict[str, dict[str, float]]:
        """Returns `AP`, `AP50` and `AR100` of each class by its name; NaN for a class without true objects.

        Raises:
            ArgumentError: no image was added.
        """
        curves = self._measured()
        return {
            name: {
                "AP": _mean(curves.precision[k, :, 0]),
                "AP50": _mean(curves.precision[k, 0, 0]),
                "AR100": _mean(curves.recall[k, :, 0, -1]),
            }
            for k, name in enumerate(self.names)
        }

    def figures(self) -> DetectionFigures:
        """Returns all figures as a result with `table()`, `class_table()` and `to_json()`.

        Raises:
            ArgumentError: no image was added.
        """
        objects = sum(int((~each.crowd).sum()) for each in self._true)
        return DetectionFigures(self.result(), self.per_class(), len(self._true), objects)

    def precision(self, name: str, bound: float = 0.5) -> np.ndarray:
        """Returns the precision (101,) of a class at the recalls 0, 0.01, ..., 1, for one IoU bound.

        Raises:
            ArgumentError: no image was added, or the bound is none of 0.50, 0.55, ..., 0.95.
            UnknownNameError: there is no such class.
        """
        checks.known_name("class", name, self.names)
        places = np.flatnonzero(np.isclose(BOUNDS, bound))
        if not len(places):
            checks.refuse("bound must be one of 0.5, 0.55, ..., 0.95", bound)
        return self._measured().precision[self.names.index(name), places[0], 0]

    def _measured(self) -> _Curves:
        if not self._true:
            checks.refuse("a metric must have seen at least one image", 0, "Call update_state first.")
        if self._curves is None:
            true, predicted = (
                flat_objects(each, len(self.names), self.has_masks) for each in (self._true, self._predicted)
            )
            sizes = np.array(list(SIZES.values()))
            self._curves = _curves(true, predicted, matched(true, predicted, BOUNDS, sizes), sizes, len(self.names))
        return self._curves


def _curves(true: Flat, predicted: Flat, matches: Matches, sizes: np.ndarray, classes: int) -> _Curves:
    shape = (classes, len(BOUNDS), len(sizes))
    positives = np.repeat(positives_of(true, sizes, classes)[:, None], len(BOUNDS), axis=1)  # (K, T, S)
    hits = hits_of(predicted, matches, shape, sizes)
    precision = np.full((positives.size, len(RECALLS)), np.nan)
    for cell in np.flatnonzero(positives):
        precision[cell] = precision_at_recalls(hits.seen[hits.of(cell)], positives.flat[cell])
    cells, rank = np.repeat(np.arange(positives.size), np.diff(hits.first)), predicted.rank[hits.predicted]
    found = [np.bincount(cells[rank < most], minlength=positives.size).reshape(shape) for most in MOST]
    recall = [np.divide(each, positives, out=np.full(shape, np.nan), where=positives > 0) for each in found]
    return _Curves(precision.reshape(*shape, -1), np.stack(recall, axis=-1))


def _mean(values: np.ndarray) -> float:
    measured = values[~np.isnan(values)]
    return float(measured.mean()) if measured.size else float("nan")
