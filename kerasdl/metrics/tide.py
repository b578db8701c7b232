"""Errors of a detector by kind (TIDE): counts, and the average precision that fixing each kind would add.

Paper: Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", https://arxiv.org/abs/2008.08115,
section 2.

Where a predicted object fits several kinds, the first holds in the order localisation, classification, duplicate,
background, both. Of several errors of classification and localisation at one true object, the fix makes only that of
the highest score right and removes the others. Both are so in the authors' code. Deviations from that code: of each
class in an image the 100 predicted objects of the highest scores count, not 100 of all classes; classes without true
objects are left out, where theirs count as 0; a class whose true objects were all missed has a fixed average precision
of 1 if none was predicted, else 0; and a gain below 0 is not set to 0.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from matplotlib.figure import Figure

from kerasdl.core import checks
from kerasdl.core.display.results import Displayed, text_table
from kerasdl.core.objects import PredictedObjects, TrueObjects
from kerasdl.core.plotting import keep

from .coco_counting import positives_of, precision_at_recalls
from .coco_matching import Flat, Matches, flat_objects, matched, overlaps_between
from .detection_pictures import errors_figure
from .detection_records import checked_names

KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
MADE_RIGHT = KINDS[:2]  # the fix of these makes an object right, that of others removes it
EVERY_SIZE = np.array([[0.0, np.inf]])


@dataclass(frozen=True, repr=False)
class DetectionErrors(Displayed):
    """Errors of a detector by kind, of `detection_errors`.

    Example:
        >>> truth = TrueObjects(boxes=[[0, 0, 10, 10]], classes=[1])
        >>> found = PredictedObjects(boxes=[[0, 0, 10, 10]], classes=[0], scores=[0.9])
        >>> detection_errors([truth], [found], ["cat", "dog"])
        DetectionErrors: AP50 0.000, 1 errors
          kind                 errors  AP50 if fixed   gain
          classification            1          1.000  1.000
          localisation              0          0.000  0.000
          both                      0          0.000  0.000
          ... 5 more: table()
    """

    bound: float
    """Least IoU of a right object."""
    average_precision: float
    """Mean over the classes with true objects, as `AP50` of `MeanAveragePrecision`, from 0 to 1."""
    counts: dict[str, int]
    """Number of errors of each kind."""
    gains: dict[str, float]
    """Average precision that fixing each kind alone would add. The gains do not add up to what is missing."""
    overall: dict[str, float]
    """The same for the removal of all `false positives`, and for that of all `false negatives`."""
    by_class: dict[str, dict[str, int]]
    """Number of errors of each kind by class: of the predicted object, or of the missed one."""

    @property
    def figure(self) -> str:
        """Name of the average precision, such as AP50."""
        return f"AP{100 * self.bound:g}"

    def table(self) -> str:
        """Returns a line for each kind: errors, average precision if they were fixed, gain."""
        rows = [
            (kind, f"{count:,}", f"{self.average_precision + self.gains[kind]:.3f}", f"{self.gains[kind]:.3f}")
            for kind, count in self.counts.items()
        ]
        rows += [
            (f"all {name}", "", f"{self.average_precision + gain:.3f}", f"{gain:.3f}")
            for name, gain in self.overall.items()
        ]
        return text_table(("kind", "errors", f"{self.figure} if fixed", "gain"), rows)

    def to_json(self) -> str:
        """Returns the errors as JSON text."""
        return json.dumps(asdict(self), indent=2)

    def plot(self, path: str | os.PathLike | None = None) -> Figure:
        """Returns a figure of errors and gains; with a path, writes it there too."""
        return keep(errors_figure(self.counts, self.gains, self.figure), path)

    def _shown(self) -> tuple[str, str]:
        total = sum(self.counts.values())
        return f"DetectionErrors: {self.figure} {self.average_precision:.3f}, {total:,} errors", self.table()

    def _picture(self) -> Figure:
        return self.plot()


def detection_errors(
    true: Sequence[TrueObjects],
    predicted: Sequence[PredictedObjects],
    classes: int | Sequence[str],
    *,
    bound: float = 0.5,
    background: float = 0.1,
    of: str = "boxes",
) -> DetectionErrors:
    """Returns the errors of a detector by kind, and the average precision that fixing each kind would add.

    A predicted object that is not right is an error of *localisation* if its IoU with a true object of its class is at
    least `background` but below `bound`, of *classification* if it fits one of another class, a *duplicate* if that of
    its class is taken, of *background* if it touches none, else of *both* class and place. A true object is *missed* if
    none found it, and no error of classification or localisation stands for it. Objects in a crowd do not count.

    Source: TIDE, https://arxiv.org/abs/2008.08115, section 2.

    Args:
        true: true objects, a record for each image.
        predicted: predicted objects of the same images.
        classes: number of classes, or their names.
        bound: least IoU of a right object, above `background` and at most 1.
        background: least IoU with a true object that is no background, above 0.
        of: `boxes`, or `masks`: each record then has masks, whose IoU counts.

    Returns:
        The errors: `counts`, `gains`, `by_class`, `table()`, `to_json()`, `plot(path)`.

    Raises:
        ArgumentError: there is no true object, the records do not belong together or lack masks, or an argument breaks
            its rule.

    Example:
        >>> truth = TrueObjects(boxes=[[0, 0, 10, 10], [50, 50, 60, 60]], classes=[0, 0])
        >>> found = PredictedObjects(boxes=[[0, 0, 10, 10], [0, 0, 10, 9]], classes=[0, 0], scores=[0.9, 0.8])
        >>> {kind: count for kind, count in detection_errors([truth], [found], 1).counts.items() if count}
        {'duplicate': 1, 'missed': 1}
    """
    names = checked_names(true, predicted, classes, of)
    checks.within("bound", bound, 0.0, 1.0)
    checks.within("background", background, 0.0, bound)
    if all(each.crowd.all() for each in true):
        checks.refuse("true must hold at least one object that is no crowd", f"{len(true)} images without one")
    wanted, answers = (flat_objects(each, len(names), of == "masks") for each in (true, predicted))
    matches = matched(wanted, answers, np.array([bound]), EVERY_SIZE)
    kind, target = _kinds(wanted, answers, matches, min(bound, 1 - 1e-10), background, len(names))
    missed = ~wanted.crowd
    missed[matches.true] = False
    missed[target[target >= 0]] = False
    gains = _Gains(wanted, answers, matches, kind, target, missed, len(names))
    of_class = {each: np.bincount(answers.group[kind == each] % len(names), minlength=len(names)) for each in KINDS}
    of_class["missed"] = np.bincount(wanted.group[missed] % len(names), minlength=len(names))
    return DetectionErrors(
        bound=float(bound),
        average_precision=gains.base,
        counts={each: int(counts.sum()) for each, counts in of_class.items()},
        gains={each: gains.of(each) for each in KINDS},
        overall=gains.overall(),
        by_class={name: {each: int(of_class[each][k]) for each in KINDS} for k, name in enumerate(names)},
    )


def _kinds(
    wanted: Flat, answers: Flat, matches: Matches, bound: float, background: float, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the kind (N,) of each predicted object or "", and the true one (N,) that its fix hits or -1."""
    kind, target = np.full(len(answers.group), "", "<U14"), np.full(len(answers.group), -1)
    is_error = np.ones(len(answers.group), bool)
    is_error[matches.predicted] = False
    errors, real = np.flatnonzero(is_error), np.flatnonzero(~wanted.crowd)
    image, true_image = answers.group[errors] // classes, wanted.group[real] // classes
    for each in np.unique(image):
        rows = errors[slice(*np.searchsorted(image, [each, each + 1]))]
        columns = real[slice(*np.searchsorted(true_image, [each, each + 1]))]
        if not len(columns):
            kind[rows] = "background"
            continue
        overlaps = overlaps_between(answers, rows, wanted, columns)
        is_own = (answers.group[rows] % classes)[:, None] == wanted.group[columns] % classes
        own, other = np.where(is_own, overlaps, -1.0), np.where(is_own, -1.0, overlaps)
        best, nearest = own.max(axis=1), overlaps.max(axis=1)
        rules = {
            "localisation": (best >= background) & (best < bound),
            "classification": other.max(axis=1) >= bound,
            "duplicate": best >= bound,
            "background": nearest < background,
        }
        kind[rows] = np.select(list(rules.values()), list(rules), "both")
        for fixed, among in {"localisation": own, "classification": other}.items():
            some = kind[rows] == fixed
            target[rows[some]] = columns[among[some].argmax(axis=1)]
    return kind, target


@dataclass
class _Gains:
    """Average precision with each kind of error fixed."""

    wanted: Flat
    answers: Flat
    matches: Matches
    kind: np.ndarray
    target: np.ndarray
    missed: np.ndarray
    classes: int

    def __post_init__(self):
        self.counts = np.ones(len(self.kind), bool)
        self.counts[self.matches.predicted[self.matches.is_ignored]] = False
        self.right = np.zeros(len(self.kind), bool)
        self.right[self.matches.predicted[~self.matches.is_ignored]] = True
        self.own = self.answers.group % self.classes
        self.positives = positives_of(self.wanted, EVERY_SIZE, self.classes)[:, 0]
        self.measured = np.flatnonzero(self.positives)
        self.base = self._mean(self.counts, self.right, self.own, self.positives)

    def of(self, kind: str) -> float:
        """Returns what fixing one kind adds."""
        counts, right, own, positives = self.counts.copy(), self.right.copy(), self.own.copy(), self.positives
        if kind == "missed":
            positives = positives - np.bincount(self.wanted.group[self.missed] % self.classes, minlength=self.classes)
        wrong = np.flatnonzero(self.kind == kind)
        counts[wrong] = False
        if kind in MADE_RIGHT:
            targets, firsts = self.claims
            mine = self.kind[firsts] == kind
            counts[firsts[mine]] = right[firsts[mine]] = True
            own[firsts[mine]] = self.wanted.group[targets[mine]] % self.classes
        return self._mean(counts, right, own, positives) - self.base

    @cached_property
    def claims(self) -> tuple[np.ndarray, np.ndarray]:
        """True objects that fixes hit and no object has, and of the errors at each that of the highest score."""
        is_free = np.ones(len(self.wanted.group), bool)
        is_free[self.matches.true] = False
        errors = np.flatnonzero(self.target >= 0)
        errors = errors[is_free[self.target[errors]]]
        errors = errors[np.argsort(-self.answers.scores[errors], kind="stable")]
        targets, first = np.unique(self.target[errors], return_index=True)
        return targets, errors[first]

    def overall(self) -> dict[str, float]:
        """Returns what is added without false positives, and without false negatives."""
        right = np.bincount(self.own[self.right], minlength=self.classes)
        return {
            "false positives": self._mean(self.right, self.right, self.own, self.positives) - self.base,
            "false negatives": self._mean(self.counts, self.right, self.own, right) - self.base,
        }

    def _mean(self, counts: np.ndarray, right: np.ndarray, own: np.ndarray, positives: np.ndarray) -> float:
        order = np.lexsort((-self.answers.scores, own))
        order = order[counts[order]]
        start = np.searchsorted(own[order], np.arange(self.classes + 1))
        values = []
        for k in self.measured:
            hit = right[order[start[k] : start[k + 1]]]
            if positives[k]:
                values.append(precision_at_recalls(np.flatnonzero(hit) + 1, positives[k]).mean())
            else:  # all were missed
                values.append(0.0 if len(hit) else 1.0)
        return float(np.mean(values))
