"""Precision against recall, and the threshold that trades them best."""

import os
from dataclasses import dataclass

import numpy as np
from matplotlib.backends import backend_agg
from matplotlib.figure import Figure

from kerasdl.core import checks, files

INK, FAINT = "#1f2937", "#d1d5db"


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall of one class at every threshold that makes a difference.

    Example:
        >>> round(float(precision_recall([0.9, 0.8, 0.3], [1, 0, 1]).average_precision), 3)
        0.833
    """

    thresholds: np.ndarray
    """(N,) scores from high to low: what is at least as high counts as found."""
    precision: np.ndarray
    """(N,) share of what is found that is right."""
    recall: np.ndarray
    """(N,) share of what is there that is found."""

    @property
    def f1(self) -> np.ndarray:
        """(N,) the harmonic mean of both."""
        return 2 * self.precision * self.recall / np.maximum(self.precision + self.recall, 1e-12)

    @property
    def average_precision(self) -> np.float64:
        """The precision at each step of recall, weighted by the step; no interpolation."""
        return np.sum(np.diff(self.recall, prepend=0.0) * self.precision)

    def plot(self, path: str | os.PathLike, title: str = "") -> None:
        """Writes a picture: precision over recall, with the best F1 marked."""
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
    """Returns precision and recall of one class at every score that was given.

    Args:
        scores: (N,) floats, the higher the surer; logits or probabilities.
        labels: (N,) of 0 and 1, at least one 1.

    Returns:
        The trade-off, from the highest threshold down.

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
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # equal scores fall together
    right = np.cumsum(labels[order])[last]
    return PrecisionRecall(scores[order][last], right / (last + 1), right / right[-1])


def best_threshold(scores, labels) -> float | np.ndarray:
    """Returns the threshold of highest F1 for one class, or for each class by itself.

    Take scores of data that the model was not trained on; what it is worth shows on data that chose nothing.

    Args:
        scores: (N,) or (N, K) floats, the higher the surer.
        labels: 0 and 1, of the same shape.

    Returns:
        A number, or (K,): scores from it on count as found. It lies half-way to the next lower score.

    Raises:
        ArgumentError: the shapes differ, or a class never occurs.

    Example:
        >>> best_threshold([0.9, 0.8, 0.3, 0.2], [1, 1, 0, 0])
        0.55
    """
    scores, labels = np.asarray(scores, float), np.asarray(labels)
    if scores.ndim == 2 and scores.shape == labels.shape:
        return np.array([best_threshold(*column) for column in zip(scores.T, labels.T, strict=True)])
    found = precision_recall(scores, labels)
    place = int(found.f1.argmax())
    lower = found.thresholds[place + 1] if place + 1 < len(found.thresholds) else found.thresholds[place]
    return float((found.thresholds[place] + lower) / 2)
