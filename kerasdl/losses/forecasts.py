"""Losses of forecasts that say how sure they are: quantiles and a normal distribution."""

import itertools
import math
from collections.abc import Sequence

import keras
from keras import ops

from kerasdl.core import checks


def check_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Returns rising levels of quantiles between 0 and 1 as a tuple; raises `ArgumentError` otherwise."""
    found = tuple(checks.within("a level of quantiles", level, 1e-6, 1 - 1e-6) for level in levels)
    if not found or any(high <= low for low, high in itertools.pairwise(found)):
        checks.refuse("quantiles must be one or more rising levels between 0 and 1", levels)
    return found


def _check_shapes(y_true, y_pred, count: int, what: str) -> None:
    """Checks that predictions are `count` numbers for each label; other shapes would be broadcast to pairs."""
    labels, predictions = tuple(y_true.shape), tuple(y_pred.shape)
    pairs = zip(labels, predictions, strict=False)
    fits = len(predictions) == len(labels) + 1 and all(None in pair or pair[0] == pair[1] for pair in pairs)
    if not fits or predictions[-1] != count:
        checks.refuse(f"predictions must have the shape of the labels {labels} and {what} last", predictions)


@keras.saving.register_keras_serializable("kerasdl")
class Pinball(keras.losses.Loss):
    """Pinball loss of quantiles, least where a share q of the values lies below the quantile of level q.

    With the error e = y - f it is q e where e is positive, and (q - 1) e elsewhere; of level 0.5 it is half of the
    absolute error.

    Source: Koenker and Bassett 1978, https://doi.org/10.2307/1913643.

    Args:
        quantiles: rising levels between 0 and 1.
        reduction: as in Keras.
        name: as in Keras.
        dtype: as in Keras.

    Returns:
        Called on labels (B, ..., C) and quantiles (B, ..., C, Q), the float32 loss, the mean over C and Q.

    Raises:
        ArgumentError: the levels break their rule, or predictions have another number of quantiles or another shape.

    Example:
        >>> round(float(Pinball([0.9])(np.array([[3.0]]), np.array([[[1.0]]]))), 4)
        1.8
    """

    def __init__(self, quantiles=(0.1, 0.5, 0.9), reduction="sum_over_batch_size", name="pinball", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.quantiles = check_levels(quantiles)

    def call(self, y_true, y_pred):
        _check_shapes(y_true, y_pred, len(self.quantiles), f"the {len(self.quantiles)} quantiles")
        return ops.mean(pinball_terms(y_true, y_pred, self.quantiles), axis=(-2, -1))

    def get_config(self):
        return {**super().get_config(), "quantiles": list(self.quantiles)}


def pinball_terms(y_true, y_pred, quantiles: Sequence[float]):
    """Returns the pinball loss (..., C, Q) of each value and level."""
    levels = ops.convert_to_tensor(list(quantiles), dtype=y_pred.dtype)
    errors = ops.expand_dims(ops.cast(y_true, y_pred.dtype), -1) - y_pred
    return ops.maximum(levels * errors, (levels - 1) * errors)


@keras.saving.register_keras_serializable("kerasdl")
class GaussianNLL(keras.losses.Loss):
    """Negative log-likelihood of values under normal distributions: log s + (y - m)^2 / (2 s^2) + log(2 pi) / 2.

    Source: Nix and Weigend 1994, https://doi.org/10.1109/ICNN.1994.374138, equation 2.

    Args:
        least: the smallest standard deviation, in the unit of the labels; without it a series that repeats itself
            would have a loss without bound.
        reduction: as in Keras.
        name: as in Keras.
        dtype: as in Keras.

    Returns:
        Called on labels (B, ..., C) and (B, ..., C, 2), mean and logarithm of the standard deviation, the float32
        loss, the mean over C.

    Raises:
        ArgumentError: `least` is not above 0, or predictions are no pairs or have another shape.

    Example:
        >>> round(float(GaussianNLL()(np.array([[1.0]]), np.array([[[1.0, 0.0]]]))), 4)
        0.9189
    """

    def __init__(self, least=1e-3, reduction="sum_over_batch_size", name="gaussian_nll", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.least = checks.within("least", least, 1e-9, 1e9)

    def call(self, y_true, y_pred):
        _check_shapes(y_true, y_pred, 2, "mean and logarithm of the standard deviation")
        mean, log_std = y_pred[..., 0], ops.maximum(y_pred[..., 1], math.log(self.least))
        standard = (ops.cast(y_true, mean.dtype) - mean) * ops.exp(-log_std)
        return ops.mean(log_std + 0.5 * ops.square(standard) + 0.5 * math.log(2 * math.pi), axis=-1)

    def get_config(self):
        return {**super().get_config(), "least": self.least}
