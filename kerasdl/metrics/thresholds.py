"""Precision-recall curve, the threshold of highest F1, and the receiver operating characteristic."""

import os
from dataclasses import dataclass

import numpy as np
from matplotlib.backends import backend_agg
from matplotlib.figure import Figure

from kerasdl.core import checks, files

INK, FAINT = "#1f2937", "#d1d5db"


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision-recall curve of one class, at every distinct threshold.

    Example:
        >>> round(float(precision_recall([0.9, 0.8, 0.3], [1, 0, 1]).average_precision), 3)
        0.833
    """

    thresholds: np.ndarray
    """(N,) scores from high to low; examples with at least this score are predicted positive."""
    precision: np.ndarray
    """(N,) share of predicted positives that are positive."""
    recall: np.ndarray
    """(N,) share of positives that are predicted positive."""

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean of precision and recall, (N,)."""
        return 2 * self.precision * self.recall / np.maximum(self.precision + self.recall, 1e-12)

    @property
    def average_precision(self) -> np.float64:
        """Mean precision over the steps of recall, weighted by each step, without interpolation."""
        return np.sum(np.diff(self.recall, prepend=0.0) * self.precision)

    def plot(self, path: str | os.PathLike, title: str = "") -> None:
        """Saves a plot of precision over recall, with the best F1 marked."""
        figure = Figure(figsize=(5, 4), dpi=110, layout="constrained")
        backend_agg.FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.step(self.recall, self.precision, where="post", color="#2563eb")
        best = int(self.f1.argmax())
        axes.plot(self.recall[best], self.precision[best], "o", color="#dc2626")
        axes.annotate(
            f"threshold {self.thresholds[best]:.2f}, F1 {self.f1[best]:.3f}",
            (self.recall[best], self.precision[best]),
            xytext=(-8, -16),
            textcoords="offset points",
            ha="right",
            color=INK,
        )
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
        axes.set_title(title or f"average precision {self.average_precision:.3f}", loc="left", color=INK, fontsize=10)
        axes.grid(color=FAINT, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        with files.writing(path) as file:
            figure.savefig(file)


def precision_recall(scores, labels) -> PrecisionRecall:
    """Returns precision and recall of one class at every distinct score.

    Args:
        scores: (N,) floats, higher for positives; logits or probabilities.
        labels: (N,) of 0 and 1, at least one 1.

    Returns:
        The curve, from the highest threshold to the lowest.

    Raises:
        ArgumentError: the shapes differ, or no label is 1.

    Example:
        >>> precision_recall([0.9, 0.8, 0.3], [1, 0, 1]).recall
        array([0.5, 0.5, 1. ])
    """
    scores, labels = np.asarray(scores, float), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        checks.refuse("scores and labels must be two rows of one length", (scores.shape, labels.shape))
    if not np.isin(labels, (0, 1)).all() or not labels.any():
        checks.refuse("labels must be 0 or 1, with at least one 1", np.unique(labels)[:8].tolist())
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # equal scores share a threshold
    right = np.cumsum(labels[order])[last]
    return PrecisionRecall(scores[order][last], right / (last + 1), right / right[-1])


def best_threshold(scores, labels) -> float | np.ndarray:
    """Returns the threshold of highest F1 for one class, or for each class by itself.

    Use scores of data that the model was not trained on, and measure the result on further data.

    Args:
        scores: (N,) or (N, K) floats, higher for positives.
        labels: 0 and 1, of the same shape.

    Returns:
        A number, or (K,): scores from it on are positive. It lies half-way to the next lower score.

    Raises:
        ArgumentError: the shapes differ, or a class never occurs.

    Example:
        >>> best_threshold([0.9, 0.8, 0.3, 0.2], [1, 1, 0, 0])
        0.55
    """
    scores, labels = np.asarray(scores, float), np.asarray(labels)
    if scores.ndim == 2 and scores.shape == labels.shape:
        return np.array([best_threshold(*column) for column in zip(scores.T, labels.T, strict=True)])
    curve = precision_recall(scores, labels)
    place = int(curve.f1.argmax())
    lower = curve.thresholds[place + 1] if place + 1 < len(curve.thresholds) else curve.thresholds[place]
    return float((curve.thresholds[place] + lower) / 2)


@dataclass(frozen=True)
class ROC:
    """Receiver operating characteristic of one class, at every distinct threshold.

    Example:
        >>> float(roc_curve([0.9, 0.8, 0.3], [1, 0, 1]).area)
        0.5
    """

    thresholds: np.ndarray
    """(N + 1,) scores from high to low, the first infinite; examples of at least this score are predicted positive."""
    false_positives: np.ndarray
    """(N + 1,) share of negatives that are predicted positive, from 0 to 1."""
    true_positives: np.ndarray
    """(N + 1,) share of positives that are predicted positive, from 0 to 1."""

    @property
    def area(self) -> np.float64:
        """Area under the curve: the chance that a positive has a higher score than a negative, ties counting half."""
        return np.trapezoid(self.true_positives, self.false_positives)


def roc_curve(scores, labels) -> ROC:
    """Returns the shares of positives and of negatives over every distinct score.

    Args:
        scores: (N,) floats, higher for positives; logits or probabilities.
        labels: (N,) of 0 and 1, at least one of each.

    Returns:
        The curve, from no example to all.

    Raises:
        ArgumentError: the shapes differ, or labels are all alike.

    Example:
        >>> roc_curve([0.9, 0.8, 0.3], [1, 0, 1]).true_positives
        array([0. , 0.5, 0.5, 1. ])
    """
    scores, labels = np.asarray(scores, float), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape or not np.isfinite(scores).all():
        checks.refuse("scores and labels must be two finite rows of one length", (scores.shape, labels.shape))
    if not np.isin(labels, (0, 1)).all() or not 0 < labels.sum() < len(labels):
        checks.refuse("labels must be 0 or 1, with at least one of each", np.unique(labels)[:8].tolist())
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # equal scores share a threshold
    right = np.concatenate([[0], np.cumsum(labels[order])[last]])
    wrong = np.concatenate([[0], last + 1]) - right
    return ROC(np.concatenate([[np.inf], scores[order][last]]), wrong / wrong[-1], right / right[-1])
