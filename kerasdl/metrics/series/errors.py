"""Errors of forecasts: MASE, sMAPE, quantile score and coverage, equal to their formulas."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from kerasdl.core import checks


def seasonal_naive_error(history: np.ndarray, period: int = 1) -> np.ndarray:
    """Mean absolute error of the seasonal naive forecast one step ahead within a series, the unit of MASE.

    Source: Hyndman and Koehler 2006, https://doi.org/10.1016/j.ijforecast.2006.03.001, section 2.5.

    Args:
        history: (T,) or (T, C), the train part of a series; pairs with a missing value do not count.
        period: steps of a season; 1 compares with the last value.

    Returns:
        (C,) float64.

    Raises:
        ArgumentError: the history is shorter than a season and a step, or a column repeats itself, so that MASE would
            divide by zero.

    Example:
        >>> seasonal_naive_error(np.array([1.0, 2.0, 4.0]))
        array([1.5])
    """
    values = np.asarray(history, np.float64)
    values = values[:, np.newaxis] if values.ndim == 1 else values
    checks.at_least("period", period, 1)
    if values.ndim != 2 or len(values) <= period:
        checks.refuse(f"history must be (T,) or (T, C) of more than {period} steps", values.shape)
    changes = np.abs(values[period:] - values[:-period])
    counts = (~np.isnan(changes)).sum(axis=0)
    errors = np.where(counts, np.nansum(changes, axis=0) / np.maximum(counts, 1), np.nan)
    if not (errors > 0).all():
        place = int(np.flatnonzero(~(errors > 0))[0])
        hint = "MASE divides by that error; take MAE for such a series."
        rule = f"column {place} of the history must differ from itself {period} steps before"
        checks.refuse(rule, f"a mean difference of {errors[place]}", hint)
    return errors


class _MeanOfForecasts(keras.metrics.Metric):
    """Base class: weighted mean over the steps, of which those with a missing label, NaN, do not count."""

    def __init__(self, name: str, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_weight(name="total", shape=(), initializer="zeros", dtype="float64")
        self.count = self.add_weight(name="count", shape=(), initializer="zeros", dtype="float64")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch.

        Args:
            y_true: labels (B, H, C); NaN is a missing one.
            y_pred: predictions, as the class says.
            sample_weight: weights (B,), (B, H) or (B, H, C), or None.

        Raises:
            ArgumentError: the shapes do not fit.
        """
        y_true = ops.cast(ops.convert_to_tensor(y_true), "float64")
        y_pred = ops.cast(ops.convert_to_tensor(y_pred), "float64")
        self.check_shapes(tuple(y_true.shape), tuple(y_pred.shape))
        known = ops.logical_not(ops.isnan(y_true))
        weights = ops.cast(known, "float64")
        if sample_weight is not None:
            given = ops.cast(ops.convert_to_tensor(sample_weight), "float64")
            weights = weights * ops.reshape(given, (*given.shape, *[1] * (len(y_true.shape) - len(given.shape))))
        terms = self.terms(ops.where(known, y_true, ops.zeros_like(y_true)), y_pred)
        self.total.assign_add(ops.sum(terms * weights))
        self.count.assign_add(ops.sum(weights))

    def check_shapes(self, labels: tuple, predictions: tuple) -> None:
        """Checks shapes of labels and predictions; raises `ArgumentError`."""
        pairs = zip(labels, predictions, strict=False)
        if len(labels) != len(predictions) or any(None not in pair and pair[0] != pair[1] for pair in pairs):
            checks.refuse(f"predictions must have the shape {labels} of the labels", predictions)

    def terms(self, y_true, y_pred):
        """Returns the value of each label, of the shape of the labels."""
        raise NotImplementedError

    def result(self):
        """Returns the mean, a scalar; NaN if nothing was measured."""
        return ops.cast(self.total / self.count, self.dtype)


@keras.saving.register_keras_serializable("kerasdl")
class MASE(_MeanOfForecasts):
    """Mean absolute scaled error: the absolute error over that of the seasonal naive forecast within the history.

    Below 1 a forecast is nearer than that one is on average one step ahead.

    Source: Hyndman and Koehler 2006, https://doi.org/10.1016/j.ijforecast.2006.03.001, section 2.5.

    Args:
        naive_error: error of the naive forecast of each target, from `seasonal_naive_error` of the train part, or one
            number for all; above 0, in the unit of the labels.
        name: as in Keras.
        dtype: as in Keras.

    Raises:
        ArgumentError: the error is not above 0, or the shapes do not fit.

    Example:
        >>> metric = MASE(seasonal_naive_error(np.array([1.0, 2.0, 4.0])))
        >>> metric.update_state(np.array([[[6.0], [5.0]]]), np.array([[[3.0], [5.0]]]))
        >>> float(metric.result())
        1.0
    """

    def __init__(self, naive_error: float | Sequence[float], name="mase", dtype=None):
        super().__init__(name, dtype)
        errors = np.atleast_1d(np.asarray(naive_error, np.float64))
        if errors.ndim != 1 or not (np.isfinite(errors) & (errors > 0)).all():
            checks.refuse("naive_error must be above 0, a number for each target", naive_error)
        self.naive_error = errors

    def terms(self, y_true, y_pred):
        if len(self.naive_error) not in (1, y_true.shape[-1]):
            checks.refuse(f"labels must have the {len(self.naive_error)} targets last", tuple(y_true.shape))
        return ops.abs(y_true - y_pred) / ops.convert_to_tensor(self.naive_error, dtype="float64")

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype, "naive_error": self.naive_error.tolist()}


@keras.saving.register_keras_serializable("kerasdl")
class SMAPE(_MeanOfForecasts):
    """Symmetric mean absolute percentage error from 0 to 200: the mean of 200 |y - f| / (|y| + |f|).

    A step whose label and forecast are both 0 counts as 0.

    Source: Makridakis 1993, https://doi.org/10.1016/0169-2070(93)90079-3, in the form of the M4 competition.

    Args:
        name: as in Keras.
        dtype: as in Keras.

    Raises:
        ArgumentError: the shapes do not fit.

    Example:
        >>> metric = SMAPE()
        >>> metric.update_state(np.array([[[3.0], [0.0]]]), np.array([[[1.0], [0.0]]]))
        >>> float(metric.result())
        50.0
    """

    def __init__(self, name="smape", dtype=None):
        super().__init__(name, dtype)

    def terms(self, y_true, y_pred):
        sizes = ops.abs(y_true) + ops.abs(y_pred)
        is_zero = sizes == 0
        return 200.0 * ops.abs(y_true - y_pred) / ops.where(is_zero, ops.ones_like(sizes), sizes)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


@keras.saving.register_keras_serializable("kerasdl")
class QuantileScore(_MeanOfForecasts):
    """Quantile score: the mean pinball loss over steps, targets and levels; the lower the better.

    Source: Gneiting and Raftery 2007, https://doi.org/10.1198/016214506000001437, section 6.1.

    Args:
        quantiles: rising levels between 0 and 1.
        name: as in Keras.
        dtype: as in Keras.

    Raises:
        ArgumentError: a level is not between 0 and 1, or predictions are not (B, H, C, levels).

    Example:
        >>> metric = QuantileScore([0.9])
        >>> metric.update_state(np.array([[[3.0]]]), np.array([[[[1.0]]]]))
        >>> round(float(metric.result()), 4)
        1.8
    """

    def __init__(self, quantiles: Sequence[float], name="quantile_score", dtype=None):
        super().__init__(name, dtype)
        self.quantiles = tuple(checks.within("a level of quantiles", each, 1e-6, 1 - 1e-6) for each in quantiles)

    def check_shapes(self, labels, predictions):
        super().check_shapes((*labels, len(self.quantiles)), predictions)

    def terms(self, y_true, y_pred):
        levels = ops.convert_to_tensor(self.quantiles, dtype="float64")
        errors = ops.expand_dims(y_true, -1) - y_pred
        return ops.mean(ops.maximum(levels * errors, (levels - 1) * errors), axis=-1)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype, "quantiles": list(self.quantiles)}


@keras.saving.register_keras_serializable("kerasdl")
class IntervalCoverage(_MeanOfForecasts):
    """Coverage of intervals: the share of labels from the lower to the upper bound.

    An interval of the quantiles 0.1 and 0.9 is calibrated if it covers 0.8.

    Args:
        name: as in Keras.
        dtype: as in Keras.

    Raises:
        ArgumentError: predictions are not (B, H, C, 2), the lower bound first.

    Example:
        >>> metric = IntervalCoverage()
        >>> metric.update_state(np.array([[[3.0], [9.0]]]), np.array([[[[1.0, 4.0]], [[1.0, 4.0]]]]))
        >>> float(metric.result())
        0.5
    """

    def __init__(self, name="interval_coverage", dtype=None):
        super().__init__(name, dtype)

    def check_shapes(self, labels, predictions):
        super().check_shapes((*labels, 2), predictions)

    def terms(self, y_true, y_pred):
        inside = ops.logical_and(y_true >= y_pred[..., 0], y_true <= y_pred[..., 1])
        return ops.cast(inside, "float64")

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}
