"""Confusion of a detector's classes with one another and with the background."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from kerasdl.core import checks
from kerasdl.core.display.pictures import confusion
from kerasdl.core.display.results import Displayed, text_table
from kerasdl.core.objects import PredictedObjects, TrueObjects
from kerasdl.core.plotting import keep

from .coco_matching import Flat, flat_objects, matched, overlaps_between
from .detection_records import checked_names

BACKGROUND = "background"
EVERY_SIZE = np.array([[0.0, np.inf]])


@dataclass(frozen=True, repr=False, eq=False)
class DetectionConfusion(Displayed):
    """Confusion matrix of detections, of `detection_confusion`.

    Example:
        >>> truth = TrueObjects(boxes=[[0, 0, 10, 10], [20, 0, 30, 10]], classes=[0, 1])
        >>> found = PredictedObjects(boxes=[[0, 0, 10, 10], [20, 0, 30, 10]], classes=[0, 0], scores=[0.9, 0.8])
        >>> detection_confusion([truth], [found], ["cat", "dog"])
        DetectionConfusion: 1 of 2 objects right, 0 on background, score 0.25 or more
          class  objects  found  recall  precision  taken for
          cat          1      1  100.0%      50.0%  -
          dog          1      0    0.0%          -  cat 1
    """

    names: tuple[str, ...]
    """(K,) the classes."""
    counts: np.ndarray
    """(K + 1, K + 1) objects by true class (row) and predicted class (column). The last row is predicted objects on
    background, the last column is true objects that none found."""
    bound: float
    """Least IoU of a pair."""
    min_score: float
    """Least score of a predicted object that counts."""

    def table(self) -> str:
        """Returns a line for each class: true objects, those found, recall, precision, and what they are taken for."""
        rows = []
        for k, name in enumerate(self.names):
            right, objects, answers = self.counts[k, k], self.counts[k].sum(), self.counts[:, k].sum()
            others = sorted((-self.counts[k, j], j) for j in range(len(self.names)) if j != k and self.counts[k, j])
            taken = ", ".join(f"{self.names[j]} {-count}" for count, j in others[:3])
            shares = (f"{right / total:.1%}" if total else "-" for total in (objects, answers))
            rows.append((name, f"{objects:,}", f"{right:,}", *shares, taken or "-"))
        return text_table(("class", "objects", "found", "recall", "precision", "taken for"), rows, left=(0, 5))

    def to_json(self) -> str:
        """Returns the confusion as JSON text."""
        values = {"names": [*self.names, BACKGROUND], "counts": self.counts.tolist()}
        return json.dumps({**values, "bound": self.bound, "min_score": self.min_score}, indent=2)

    def plot(self, path: str | os.PathLike | None = None) -> Figure:
        """Returns a figure of the matrix; with a path, writes it there too."""
        title = f"Objects by class, IoU {self.bound:g}, score {self.min_score:g} or more"
        return keep(confusion(self.counts, [*self.names, BACKGROUND], title), path)

    def _shown(self) -> tuple[str, str]:
        right, total = int(np.trace(self.counts)), int(self.counts[:-1].sum())
        title = (
            f"DetectionConfusion: {right:,} of {total:,} objects right, {int(self.counts[-1].sum()):,} on background"
        )
        return f"{title}, score {self.min_score:g} or more", self.table()

    def _picture(self) -> Figure:
        return self.plot()


def detection_confusion(
    true: Sequence[TrueObjects],
    predicted: Sequence[PredictedObjects],
    classes: int | Sequence[str],
    *,
    bound: float = 0.5,
    min_score: float = 0.25,
    of: str = "boxes",
) -> DetectionConfusion:
    """Returns the confusion matrix of a detector's classes, with the background as one class more.

    First predicted and true objects of one class are paired as for COCO's figures. What is left is paired across
    classes by falling IoU. A predicted object without a partner lies on background, a true one is found by none.
    Predicted objects in a crowd of their class, and crowds, do not count.

    Args:
        true: true objects, a record for each image.
        predicted: predicted objects of the same images. Of each class in an image the 100 of the highest scores count.
        classes: number of classes, or their names.
        bound: least IoU of a pair, from 0 to 1.
        min_score: least score of a predicted object that counts.
        of: `boxes`, or `masks`: each record then has masks, whose IoU counts.

    Returns:
        The confusion: `counts` (K + 1, K + 1), `table()`, `to_json()`, `plot(path)`.

    Raises:
        ArgumentError: there is no image, the records do not belong together or lack masks, or an argument breaks its
            rule.

    Example:
        >>> truth = TrueObjects(boxes=[[0, 0, 10, 10]], classes=[0])
        >>> found = PredictedObjects(boxes=[[0, 0, 10, 10], [40, 0, 50, 10]], classes=[1, 1], scores=[0.9, 0.8])
        >>> detection_confusion([truth], [found], ["cat", "dog"]).counts.tolist()
        [[0, 1, 0], [0, 0, 0], [0, 1, 0]]
    """
    names = checked_names(true, predicted, classes, of)
    checks.within("bound", bound, 0.0, 1.0)
    likely = [_from_score(each, min_score) for each in predicted]
    wanted, answers = (flat_objects(each, len(names), of == "masks") for each in (true, likely))
    matches = matched(wanted, answers, np.array([bound]), EVERY_SIZE)
    partner = np.full(len(answers.group), -1)
    partner[matches.predicted] = matches.true
    _pair_rest(wanted, answers, partner, min(bound, 1 - 1e-10), len(names))
    is_alone = ~wanted.crowd
    is_alone[partner[partner >= 0]] = False
    counts = np.zeros((len(names) + 1,) * 2, int)
    own = answers.group % len(names)
    paired = (partner >= 0) & ~wanted.crowd[partner] if len(wanted.group) else partner >= 0
    np.add.at(counts, (wanted.group[partner[paired]] % len(names), own[paired]), 1)
    np.add.at(counts, (len(names), own[partner < 0]), 1)
    np.add.at(counts, (wanted.group[is_alone] % len(names), len(names)), 1)
    return DetectionConfusion(names, counts, float(bound), float(min_score))


def _from_score(objects: PredictedObjects, least: float) -> PredictedObjects:
    some = objects.scores >= least
    masks = None if objects.masks is None else [objects.masks[place] for place in np.flatnonzero(some)]
    return PredictedObjects(objects.boxes[some], objects.classes[some], objects.scores[some], masks)


def _pair_rest(wanted: Flat, answers: Flat, partner: np.ndarray, bound: float, classes: int) -> None:
    """Fills `partner` (N,) of predicted objects that have none, by falling IoU, then by falling score."""
    is_free = ~wanted.crowd
    is_free[partner[partner >= 0]] = False
    alone, free = np.flatnonzero(partner < 0), np.flatnonzero(is_free)
    image, true_image = answers.group[alone] // classes, wanted.group[free] // classes
    for each in np.intersect1d(image, true_image):
        rows = alone[slice(*np.searchsorted(image, [each, each + 1]))]
        columns = free[slice(*np.searchsorted(true_image, [each, each + 1]))]
        overlaps = overlaps_between(answers, rows, wanted, columns)
        places = np.argwhere(overlaps >= bound)
        by_overlap = np.lexsort((-answers.scores[rows[places[:, 0]]], -overlaps[tuple(places.T)]))
        taken = set()
        for row, column in places[by_overlap]:
            if partner[rows[row]] < 0 and column not in taken:
                partner[rows[row]] = columns[column]
                taken.add(column)
