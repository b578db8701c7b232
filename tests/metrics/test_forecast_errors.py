"""Errors of forecasts against their formulas; constants, zeros and missing labels by name."""

import keras
import numpy as np
import pytest

from kerasdl.core import ArgumentError
from kerasdl.metrics import MASE, SMAPE, IntervalCoverage, QuantileScore, seasonal_naive_error

RNG = np.random.default_rng(0)
LABELS, FORECASTS = RNG.normal(size=(2, 6, 3, 2)) + 5
WEIGHTS = RNG.uniform(size=(6, 3))
QUANTILES = np.sort(RNG.normal(size=(6, 3, 2, 3)) + 5)
LEVELS = np.array([0.1, 0.5, 0.9])


def pinball(labels, quantiles):
    errors = labels[..., None] - quantiles
    return np.where(errors > 0, LEVELS * errors, (LEVELS - 1) * errors).mean(axis=-1)


# metric: how it is made, value of each label by NumPy, predictions
CASES = {
    "MASE": (lambda: MASE([0.5, 2.0]), lambda y, f: np.abs(y - f) / [0.5, 2.0], FORECASTS),
    "SMAPE": (SMAPE, lambda y, f: 200 * np.abs(y - f) / (np.abs(y) + np.abs(f)), FORECASTS),
    "QuantileScore": (lambda: QuantileScore(LEVELS), pinball, QUANTILES),
    "IntervalCoverage": (IntervalCoverage, lambda y, f: (f[..., 0] <= y) & (y <= f[..., 1]), QUANTILES[..., ::2]),
}


@pytest.mark.parametrize("name", CASES)
def test_metric_is_its_formula_over_batches_with_weights_and_missing_labels(name):
    make, formula, forecasts = CASES[name]
    labels = LABELS.copy()
    labels[0, 1, 0] = labels[5, 2, 1] = np.nan
    metric, values = make(), formula(LABELS, forecasts)
    for part in (slice(0, 4), slice(4, 6)):
        metric.update_state(labels[part], forecasts[part], WEIGHTS[part])
    weights = np.where(np.isnan(labels), 0, WEIGHTS[..., None])
    assert float(metric.result()) == pytest.approx((values * weights).sum() / weights.sum(), rel=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    again.update_state(LABELS, forecasts)
    assert float(again.result()) == pytest.approx(values.mean(), rel=1e-6)
    again.reset_state()
    assert np.isnan(float(again.result()))
    with pytest.raises(ArgumentError, match="predictions must have the shape"):
        make().update_state(LABELS, forecasts[:, :2])


def test_the_naive_error_is_that_of_the_formula_and_missing_pairs_do_not_count():
    history = RNG.normal(size=(40, 2))
    np.testing.assert_allclose(seasonal_naive_error(history, 7), np.abs(history[7:] - history[:-7]).mean(axis=0))
    history[3, 0] = np.nan
    known = [abs(history[k, 0] - history[k - 1, 0]) for k in range(1, 40) if k not in (3, 4)]
    assert seasonal_naive_error(history)[0] == pytest.approx(np.mean(known))


@pytest.mark.parametrize(
    ("history", "period"),
    [(np.ones(20), 1), (np.arange(20) % 4, 4), (np.full(9, np.nan), 1), (np.arange(3.0), 3)],
)
def test_a_series_that_repeats_itself_or_is_too_short_is_refused(history, period):
    with pytest.raises(ArgumentError, match=r"must differ from itself|more than 3 steps"):
        seasonal_naive_error(history, period)


def test_scales_of_zero_and_other_numbers_of_targets_are_refused():
    with pytest.raises(ArgumentError, match="above 0"):
        MASE(0.0)
    with pytest.raises(ArgumentError, match="3 targets last"):
        MASE([1, 2, 3]).update_state(LABELS, FORECASTS)
    with pytest.raises(ArgumentError, match="a level"):
        QuantileScore([1.5])


def test_both_zero_is_no_error():
    metric = SMAPE()
    metric.update_state(np.zeros((2, 1, 1)), np.zeros((2, 1, 1)))
    assert float(metric.result()) == 0.0
