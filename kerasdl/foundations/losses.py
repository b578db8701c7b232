"""Losses and their gradients, by hand; cross-entropy as the sum of entropy and divergence.

Each loss is the mean over the examples of a batch, and its gradient that with respect to the predictions. From a
softmax or a sigmoid, take the loss over logits: their derivative cancels that of the logarithm, and what remains is the
difference of shares and targets, which neither vanishes nor overflows.

Deviations: probabilities are clipped to 1e-7 from 0 and 1, as Keras does, so that a certain mistake costs 16 and not
infinity; a clipped probability has the gradient 0 there, as in TensorFlow.
"""

from collections.abc import Callable
from functools import wraps
from typing import NamedTuple

import numpy as np

from .activations import sigmoid, softmax

CLIP = 1e-7


class Loss(NamedTuple):
    """Loss of targets and predictions of one shape (N, ...)."""

    value: Callable
    """Function of (targets, predictions) to a number."""
    gradient: Callable
    """Function of (targets, predictions) to the gradient of the predictions."""


def _of_one_shape(function: Callable) -> Callable:
    """Returns a function that takes both arguments as floats, and refuses shapes that NumPy would broadcast."""

    @wraps(function)
    def checked(targets, predictions, **settings):
        targets, predictions = np.asarray(targets, float), np.asarray(predictions, float)
        if targets.shape != predictions.shape:
            raise ValueError(f"targets must have the shape {predictions.shape}; got {targets.shape}.")
        return function(targets, predictions, **settings)

    return checked


@_of_one_shape
def mse(targets, predictions) -> float:
    """Mean squared error: that of a normal error, pulled far by an outlier."""
    return float(np.mean((predictions - targets) ** 2))


@_of_one_shape
def mse_gradient(targets, predictions):
    """2 (p - t) / number of entries."""
    return 2.0 * (predictions - targets) / np.size(predictions)


@_of_one_shape
def mae(targets, predictions) -> float:
    """Mean absolute error, whose best constant is the median."""
    return float(np.mean(np.abs(predictions - targets)))


@_of_one_shape
def mae_gradient(targets, predictions):
    """sign(p - t) / number of entries."""
    return np.sign(predictions - targets) / np.size(predictions)


@_of_one_shape
def huber(targets, predictions, delta: float = 1.0) -> float:
    """Squared error up to delta, linear beyond (https://doi.org/10.1214/aoms/1177703732)."""
    size = np.abs(predictions - targets)
    return float(np.mean(np.where(size <= delta, 0.5 * size**2, delta * size - 0.5 * delta**2)))


@_of_one_shape
def huber_gradient(targets, predictions, delta: float = 1.0):
    """The error, cut at delta on both sides, / number of entries."""
    return np.clip(predictions - targets, -delta, delta) / np.size(predictions)


@_of_one_shape
def hinge(targets, predictions) -> float:
    """max(0, 1 - t p) of labels -1 and 1: no loss beyond the margin."""
    return float(np.mean(np.maximum(0.0, 1.0 - _signs(targets) * predictions)))


@_of_one_shape
def hinge_gradient(targets, predictions):
    """-t inside the margin, 0 beyond, / number of entries."""
    return np.where(_signs(targets) * predictions < 1.0, -targets, 0.0) / np.size(predictions)


def _signs(targets: np.ndarray) -> np.ndarray:
    if not np.isin(targets, (-1, 1)).all():
        raise ValueError(f"labels of a hinge must be -1 or 1; got {np.unique(targets)[:5]}. Take 2 * y - 1.")
    return targets


@_of_one_shape
def bce(targets, predictions) -> float:
    """Binary cross-entropy of probabilities: -t log p - (1 - t) log(1 - p)."""
    p = np.clip(predictions, CLIP, 1.0 - CLIP)
    return float(-np.mean(targets * np.log(p) + (1.0 - targets) * np.log1p(-p)))


@_of_one_shape
def bce_gradient(targets, predictions):
    """(p - t) / (p (1 - p)) / number of entries: it grows without bound towards a certain mistake."""
    p = np.clip(predictions, CLIP, 1.0 - CLIP)
    inside = (predictions >= CLIP) & (predictions <= 1.0 - CLIP)
    return np.where(inside, (p - targets) / (p * (1.0 - p)), 0.0) / np.size(predictions)


@_of_one_shape
def bce_from_logits(targets, logits) -> float:
    """Binary cross-entropy of sigmoid(z) without overflow: max(z, 0) - t z + log(1 + e^-|z|)."""
    return float(np.mean(np.maximum(logits, 0.0) - targets * logits + np.log1p(np.exp(-np.abs(logits)))))


@_of_one_shape
def bce_from_logits_gradient(targets, logits):
    """(sigmoid(z) - t) / number of entries."""
    return (sigmoid(logits) - targets) / np.size(logits)


@_of_one_shape
def ce(targets, predictions) -> float:
    """Cross-entropy of shares (N, K) and probabilities that sum to 1: -sum t log p, the mean over N."""
    return float(-np.mean((targets * np.log(np.clip(predictions, CLIP, 1.0 - CLIP))).sum(axis=-1)))


@_of_one_shape
def ce_gradient(targets, predictions):
    """-t / p / N, of probabilities taken as numbers of their own."""
    p = np.clip(predictions, CLIP, 1.0 - CLIP)
    inside = (predictions >= CLIP) & (predictions <= 1.0 - CLIP)
    return np.where(inside, -targets / p, 0.0) * p.shape[-1] / np.size(p)


@_of_one_shape
def ce_from_logits(targets, logits) -> float:
    """Cross-entropy of softmax(z): log sum e^z - sum t z."""
    most = np.max(logits, axis=-1, keepdims=True)
    log_sum = np.log(np.exp(logits - most).sum(axis=-1)) + most[..., 0]
    return float(np.mean(np.sum(targets, axis=-1) * log_sum - (targets * logits).sum(axis=-1)))


@_of_one_shape
def ce_from_logits_gradient(targets, logits):
    """(softmax(z) - t) / N, where the targets of an example sum to 1."""
    shares = softmax(logits) * np.sum(targets, axis=-1, keepdims=True)
    return (shares - targets) * np.shape(logits)[-1] / np.size(logits)


@_of_one_shape
def kl(targets, predictions) -> float:
    """Divergence of Kullback and Leibler of shares (N, K) from probabilities: sum t log(t / p), the mean over N."""
    t, p = np.clip(targets, CLIP, 1.0), np.clip(predictions, CLIP, 1.0)
    return float(np.mean((t * np.log(t / p)).sum(axis=-1)))


@_of_one_shape
def kl_gradient(targets, predictions):
    """-t / p / N: that of cross-entropy, since the entropy of the targets does not depend on p."""
    t, p = np.clip(targets, CLIP, 1.0), np.clip(predictions, CLIP, 1.0)
    inside = (predictions >= CLIP) & (predictions <= 1.0)
    return np.where(inside, -t / p, 0.0) * p.shape[-1] / np.size(p)


LOSSES = {
    "mse": Loss(mse, mse_gradient),
    "mae": Loss(mae, mae_gradient),
    "huber": Loss(huber, huber_gradient),
    "hinge": Loss(hinge, hinge_gradient),
    "bce": Loss(bce, bce_gradient),
    "bce_from_logits": Loss(bce_from_logits, bce_from_logits_gradient),
    "ce": Loss(ce, ce_gradient),
    "ce_from_logits": Loss(ce_from_logits, ce_from_logits_gradient),
    "kl": Loss(kl, kl_gradient),
}


def loss(name: str) -> Loss:
    """Returns a loss and its gradient by name, one of `LOSSES`.

    Raises:
        ValueError: there is no such loss.

    Example:
        >>> float(loss("mse").value(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
        2.0
    """
    if name not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}; got {name!r}.")
    return LOSSES[name]


def entropy(shares) -> float:
    """Entropy -sum t log t in nats of shares (N, K), the mean over N; 0 log 0 is 0.

    Cross-entropy is entropy plus divergence: a net can lower the second part alone, and no net gets below the first.

    Example:
        >>> shares, predicted = np.array([[0.5, 0.5]]), np.array([[0.9, 0.1]])
        >>> bool(np.isclose(ce(shares, predicted), entropy(shares) + kl(shares, predicted)))
        True
    """
    shares = np.asarray(shares, float)
    logarithms = np.log(np.where(shares > 0, shares, 1.0))
    return float(-np.mean((shares * logarithms).sum(axis=-1)))
