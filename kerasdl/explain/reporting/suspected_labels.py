"""Suspected label errors by confident learning (https://arxiv.org/abs/1911.00068)."""

from typing import NamedTuple

import numpy as np

from kerasdl.core import checks


class SuspectedLabels(NamedTuple):
    """Examples whose label is likely wrong, the most doubtful first."""

    places: np.ndarray
    """(M,) places in the data."""
    likelier: np.ndarray
    """(M,) the class that they seem to have."""
    margins: np.ndarray
    """(M,) score of that class less the score of the label."""


def suspected_labels(scores: np.ndarray, labels: np.ndarray) -> SuspectedLabels:
    """Returns examples that a net takes for another class as surely as it knows the true examples of that class.

    The threshold of a class is the mean score that its examples give it. An example over the threshold of another
    class, and not over that of its label by more, is suspected. The net must not have learnt these examples: it may
    know wrong labels by heart. Cross-validation gives such scores for all.

    Source: confident learning, https://arxiv.org/abs/1911.00068, section 3.1, equations 1 and 2.

    Args:
        scores: probabilities (N, K).
        labels: the labels given (N,).

    Returns:
        Places, likelier classes and margins.

    Raises:
        ArgumentError: shapes or numbers do not fit.

    Example:
        >>> scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.95, 0.05]])
        >>> suspected_labels(scores, np.array([0, 0, 1, 1, 1])).places
        array([4])
    """
    scores, labels = np.asarray(scores, float), np.asarray(labels)
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or not np.isfinite(scores).all():
        checks.refuse("scores must be finite (N, K), and labels (N,)", (scores.shape, labels.shape))
    if scores.size and (scores.min() < 0 or scores.max() > 1 + 1e-6):
        checks.refuse("scores must be probabilities from 0 to 1", (scores.min(), scores.max()), "Take the softmax.")
    if labels.dtype.kind not in "iu" or not len(labels) or labels.min() < 0 or labels.max() >= scores.shape[1]:
        checks.refuse(f"labels must be classes from 0 to {scores.shape[1] - 1}", labels[:5])
    thresholds = np.full(scores.shape[1], np.inf)  # a class without examples takes none
    for number in np.unique(labels):
        thresholds[number] = scores[labels == number, number].mean()
    sure = np.where(scores >= thresholds, scores, -np.inf)
    likelier, own = sure.argmax(axis=1), scores[np.arange(len(labels)), labels]
    is_suspected = np.isfinite(sure.max(axis=1)) & (likelier != labels)
    margins = scores[np.arange(len(labels)), likelier] - own
    places = np.flatnonzero(is_suspected)
    places = places[np.argsort(-margins[places], kind="stable")]
    return SuspectedLabels(places, likelier[places], margins[places])
