"""Evaluation of a classifier class by class: confusion matrix, precision, recall, and its worst mistakes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.core.outputs.calibration import calibration_error
from kerasdl.core.outputs.decoding import to_scores
from kerasdl.core.outputs.measurement import Measurement

from ..format.calibration_part import Calibration
from .evaluating import evaluate_bundle
from .evaluation_data import EvaluationData


@dataclass(frozen=True)
class ClassFigures:
    """Figures of one class."""

    label: str
    """Name of the class."""
    examples: int
    """Examples of this class."""
    recall: float | None
    """Share of them that the classifier names so; None without examples."""
    precision: float | None
    """Share of the examples so named that are of this class; None where none is."""
    taken_for: Mapping[str, int]
    """Number of its examples by the wrong answer given to them, most frequent first."""


@dataclass(frozen=True)
class Mistake:
    """An example with a wrong answer."""

    place: int
    """Its index in the data."""
    name: str
    """Its file, or its index."""
    truth: str
    """Its class."""
    answer: str
    """The answer given."""
    score: float
    """The score of that answer, from 0 to 1."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Figures over labelled data, class by class where the classes exclude one another.

    Example:
        >>> bundle = kerasdl.load_bundle("digits_mobilenet")
        >>> evaluation = evaluate_classes(bundle, choose_evaluation_data(bundle, "digits"))
        >>> evaluation.figures["accuracy"] > 0.9
        True
    """

    chosen: EvaluationData
    """The data, and the reasons for their choice."""
    figures: Mapping[str, float]
    """Loss and metrics by name."""
    labels: tuple[str, ...] = ()
    """Names of the classes; empty for a task without them."""
    truth: np.ndarray | None = None
    """Class of each example, (N,)."""
    scores: np.ndarray | None = None
    """Scores of each example, (N, K)."""
    threshold: float | None = None
    """Highest score of an example below which a calibrated classifier names no class."""
    measured: Measurement | None = None
    """Table of classes, values and pictures of a task that measures answers by itself, such as detection."""

    @property
    def answers(self) -> np.ndarray:
        """Answer to each example, (N,)."""
        return self.scores.argmax(axis=-1)

    @property
    def confusion(self) -> np.ndarray:
        """Number of examples by class (row) and answer (column), (K, K)."""
        counts = np.zeros((len(self.labels), len(self.labels)), int)
        np.add.at(counts, (self.truth, self.answers), 1)
        return counts

    @property
    def is_rejected(self) -> np.ndarray:
        """True for each example of which a calibrated classifier names no class, (N,)."""
        return self.scores.max(axis=-1) < (self.threshold or 0.0)

    def classes(self) -> list[ClassFigures]:
        """Returns the figures of each class, in the order of the labels."""
        counts = self.confusion
        rows = []
        for place, label in enumerate(self.labels):
            examples, named, right = counts[place].sum(), counts[:, place].sum(), counts[place, place]
            wrong = [k for k in np.argsort(-counts[place], kind="stable") if k != place and counts[place, k]]
            taken_for = {self.labels[k]: int(counts[place, k]) for k in wrong}
            recall, precision = (float(right / each) if each else None for each in (examples, named))
            rows.append(ClassFigures(label, int(examples), recall, precision, taken_for))
        return rows

    def mistakes(self) -> list[Mistake]:
        """Returns the examples with a wrong answer, the most certain answers first."""
        answers, names = self.answers, example_names(self.chosen)
        wrong = np.flatnonzero(answers != self.truth)
        order = wrong[np.argsort(-self.scores[wrong, answers[wrong]], kind="stable")]
        return [
            Mistake(
                place=int(at),
                name=names[at],
                truth=self.labels[self.truth[at]],
                answer=self.labels[answers[at]],
                score=float(self.scores[at, answers[at]]),
            )
            for at in order
        ]


def evaluate_classes(bundle: Any, chosen: EvaluationData, *, batch_size: int = 64) -> Evaluation:
    """Returns the figures of a bundle, class by class if its task has classes that exclude one another.

    These include the calibration error of the scores and, of a calibrated bundle, the share of examples of which it
    names no class. Accuracy, classes and mistakes count the likeliest class of every example, as without a threshold.

    Args:
        bundle: the bundle.
        chosen: the data.
        batch_size: examples computed at once.

    Returns:
        The evaluation.

    Raises:
        ArgumentError: the data do not fit the bundle.
        DataError: the data are empty or cannot be read, or a figure is not finite.

    Example:
        >>> bundle = kerasdl.load_bundle("digits_mobilenet")
        >>> evaluation = evaluate_classes(bundle, choose_evaluation_data(bundle, "digits"))
        >>> evaluation.confusion.shape, evaluation.classes()[0].examples
        ((10, 10), 36)
    """
    truth, outputs = [], []

    def keep(targets: Any, predictions: Any) -> None:
        truth.append(np.asarray(targets))
        outputs.append(np.asarray(predictions))

    measured: list[Measurement] = []
    figures = evaluate_bundle(bundle, chosen.dataset, batch_size, keep, measured.append)
    is_classifier = bundle.task.activation == "softmax" and truth and truth[0].ndim == 1 and outputs[0].ndim == 2
    if not is_classifier or truth[0].dtype.kind != "i":
        return Evaluation(chosen, figures, measured=measured[0] if measured else None)
    outputs, kind, calibration = np.concatenate(outputs), bundle.manifest.outputs, bundle.calibration
    scores = to_scores(outputs, "softmax", kind) if calibration is None else calibration.scores(outputs, kind)
    labels = bundle.labels or tuple(map(str, range(scores.shape[-1])))
    return with_calibration_figures(Evaluation(chosen, figures, labels, np.concatenate(truth), scores), calibration)


def with_calibration_figures(evaluation: Evaluation, calibration: Calibration | None) -> Evaluation:
    """Returns an evaluation with the calibration error and, where there is a threshold, the share rejected."""
    figures = {**evaluation.figures, "calibration_error": calibration_error(evaluation.scores, evaluation.truth)}
    if calibration is None:
        return replace(evaluation, figures=figures)
    evaluation = replace(evaluation, threshold=calibration.threshold)
    return replace(evaluation, figures={**figures, "rejected": float(evaluation.is_rejected.mean())})


def example_names(chosen: EvaluationData) -> Sequence[str]:
    """Returns the file of each example, or its index."""
    files = chosen.dataset.source.inputs if chosen.dataset.any_order else None
    if isinstance(files, list) and files and isinstance(files[0], Path):
        return [str(file) for file in files]
    return [str(place) for place in range(chosen.dataset.size)]
