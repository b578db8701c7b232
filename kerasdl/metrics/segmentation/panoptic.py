"""Panoptic quality: recognition and segmentation of things and stuff in one figure, by the rules of COCO."""

import math
from collections.abc import Sequence

import numpy as np

from kerasdl.core import checks

from ..detection_records import class_names
from .figures import SegmentationFigures, mean_of

CROWD = -1
SHORT = ("PQ", "SQ", "RQ")


class PanopticQuality:
    """Panoptic quality: PQ = SQ * RQ, the mean IoU of matched segments times the F1 score of matching.

    An image is (H, W, 2) whole numbers: the class of each pixel, and its instance. Pixels of one class and instance are
    a segment; all pixels of a class of stuff are one segment, whatever their instance. The instance -1 marks crowds of
    a class, true ones alone: regions of many objects.

    A true and a predicted segment of one class match with an IoU above 0.5, void pixels left out of the union. A
    predicted segment without a match is not wrong if more than half of it is void or a crowd of its class.

    Source: Kirillov 2018, https://arxiv.org/abs/1801.00868, section 4, with the rules of panopticapi,
    https://github.com/cocodataset/panopticapi.

    Args:
        classes: number of classes, or their names.
        things: indices of the classes whose objects count one by one; the others are stuff.
        void: class of pixels without a label; no class may bear that number. Predicted void is no segment.

    Raises:
        ArgumentError: an index of a thing or the void is out of its range, or the classes break their rule.

    Example:
        >>> metric = PanopticQuality(["sky", "dog"], things=[1])
        >>> truth = np.array([[[0, 0], [0, 0], [1, 1], [1, 2]]])  # two pixels of sky, two dogs of one
        >>> metric.update_state([truth], [np.array([[[0, 0], [0, 0], [1, 7], [0, 0]]])])
        >>> {name: round(value, 3) for name, value in metric.per_class()["dog"].items()}
        {'PQ': 0.667, 'SQ': 1.0, 'RQ': 0.667}
    """

    def __init__(self, classes: int | Sequence[str], things: Sequence[int], void: int = 255):
        self.names = class_names(classes)
        self.things = frozenset(map(int, things))
        self.void = void
        wrong = sorted(k for k in self.things if not 0 <= k < len(self.names))
        if wrong:
            checks.refuse(f"things must be indices below the number of classes {len(self.names)}", wrong)
        if 0 <= void < len(self.names):
            checks.refuse("void must be the number of no class", void)
        self.reset_state()

    def reset_state(self) -> None:
        """Forgets all images."""
        self._images = 0
        self._counts = np.zeros((len(self.names), 3), np.int64)  # true positives, false positives, false negatives
        self._overlap = np.zeros(len(self.names))  # sum of the IoU of true positives

    def update_state(self, true: Sequence, predicted: Sequence) -> None:
        """Adds images, which may differ in size.

        Args:
            true: (H, W, 2) class and instance of each pixel, for each image.
            predicted: the same of the same images.

        Raises:
            ArgumentError: images do not belong together, or a pixel is neither of a class nor void.
        """
        if len(true) != len(predicted):
            checks.refuse(f"predicted must hold a map for each of the {len(true)} images", len(predicted))
        for each, other in zip(true, predicted, strict=True):
            if np.shape(each) != np.shape(other):
                checks.refuse("true and predicted maps must be of one size", (np.shape(each), np.shape(other)))
            self._add(self._segments(each, "true"), self._segments(other, "predicted"))
            self._images += 1

    def result(self) -> dict[str, float]:
        """Returns the means over the classes that were there; NaN for none.

        Returns:
            `PQ`, `SQ`, `RQ`, and the same of things and stuff, `PQ_things`, `SQ_things` and so on, from 0 to 1.

        Raises:
            ArgumentError: no image was added.
        """
        rows = list(self.per_class().values())
        groups = {
            "": rows,
            "_things": [row for k, row in enumerate(rows) if k in self.things],
            "_stuff": [row for k, row in enumerate(rows) if k not in self.things],
        }
        return {f"{name}{end}": mean_of(row[name] for row in some) for end, some in groups.items() for name in SHORT}

    def per_class(self) -> dict[str, dict[str, float]]:
        """Returns `PQ`, `SQ` and `RQ` of each class by its name; NaN for a class that was not there.

        A class without a match has the SQ 0, as panopticapi has it.

        Raises:
            ArgumentError: no image was added.
        """
        if not self._images:
            checks.refuse("a metric must have seen at least one image", 0, "Call update_state first.")
        rows = {}
        for name, (hits, false, missed), overlap in zip(self.names, self._counts, self._overlap, strict=True):
            below = hits + (false + missed) / 2
            values = (overlap / below, overlap / max(hits, 1), hits / below) if below else (math.nan,) * 3
            rows[name] = dict(zip(SHORT, map(float, values), strict=True))
        return rows

    def figures(self) -> SegmentationFigures:
        """Returns all figures as a result with `table()` and `to_json()`.

        Raises:
            ArgumentError: no image was added.
        """
        return SegmentationFigures(self.result(), self.per_class())

    def _segments(self, panoptic, which: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns the segments (S, 2), class and instance, and the place of each pixel's (N,)."""
        pixels = np.asarray(panoptic)
        if pixels.ndim != 3 or pixels.shape[-1] != 2 or pixels.dtype.kind not in "iu":
            rule = f"a {which} map must be (H, W, 2) whole numbers, class and instance"
            checks.refuse(rule, f"shape {pixels.shape}, dtype {pixels.dtype}")
        pixels = pixels.reshape(-1, 2).astype(np.int64)
        kinds = pixels[:, 0]
        wrong = (kinds != self.void) & ((kinds < 0) | (kinds >= len(self.names)))
        if wrong.any():
            checks.refuse(f"a {which} class must be below {len(self.names)} or void", int(kinds[wrong][0]))
        is_crowd = pixels[:, 1] == CROWD
        if which == "predicted" and (is_crowd & (kinds != self.void)).any():
            checks.refuse("a predicted instance must be no crowd", CROWD, "Count instances from 0.")
        instance = np.where(np.isin(kinds, list(self.things)) | (is_crowd & (kinds != self.void)), pixels[:, 1], 0)
        return np.unique(np.stack([kinds, instance], axis=1), axis=0, return_inverse=True)

    def _add(self, true: tuple[np.ndarray, np.ndarray], predicted: tuple[np.ndarray, np.ndarray]) -> None:
        (wanted, rows), (found, columns) = true, predicted
        shared = np.zeros((len(wanted), len(found)), np.int64)
        np.add.at(shared, (rows.ravel(), columns.ravel()), 1)
        areas, own = shared.sum(axis=1), shared.sum(axis=0)
        kinds, guesses = wanted[:, 0], found[:, 0]
        void, crowd = kinds == self.void, (wanted[:, 1] == CROWD) & (kinds != self.void)
        in_void = shared[void].sum(axis=0)
        iou = shared / np.maximum(areas[:, None] + own - shared - in_void, 1)
        match = (kinds[:, None] == guesses) & ~(void | crowd)[:, None] & (iou > 0.5)
        same_crowd = shared * (crowd[:, None] & (kinds[:, None] == guesses))
        ignored = (in_void + same_crowd.sum(axis=0)) / own > 0.5
        rows, columns = np.nonzero(match)
        np.add.at(self._overlap, kinds[rows], iou[rows, columns])
        false = ~match.any(axis=0) & ~ignored & (guesses != self.void)
        missed = ~match.any(axis=1) & ~void & ~crowd
        for place, some in enumerate((kinds[rows], guesses[false], kinds[missed])):
            np.add.at(self._counts[:, place], some, 1)
