"""Anomalies: scores by loops, figures by scikit-learn, planted anomalies found above chance."""

import keras
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.data.series import plant_anomalies, seasonal_series, window_series
from kerasdl.sequence import Forecaster, forecast_error_scores, measure_anomalies, reconstruction_scores
from kerasdl.train import RunConfig, fit


def test_count_is_the_sum_of_the_convolutions():
    encoder = (5 * 1 * 32 + 32) + (5 * 32 * 16 + 16) + (5 * 16 * 8 + 8)
    decoder = (5 * 8 * 8 + 8) + (5 * 8 * 16 + 16) + (5 * 16 * 32 + 32) + (5 * 32 * 1 + 1)
    assert kerasdl.spec("series_autoencoder").params == encoder + decoder


def test_figures_are_those_of_scikit_learn_step_by_step():
    rng = np.random.default_rng(0)
    labels = (rng.uniform(size=300) < 0.2).astype(int)
    scores = rng.normal(size=300) + labels
    found = measure_anomalies(np.append(scores, np.nan), np.append(labels, 1), threshold=0.7)
    assert found.pr_auc == pytest.approx(average_precision_score(labels, scores))
    assert found.f1 == pytest.approx(f1_score(labels, scores >= 0.7))
    assert found.share == pytest.approx(labels.mean())
    one_of_a_range = np.array([0, 1, 0, 0, 0, 0])
    assert measure_anomalies(one_of_a_range, np.array([0, 1, 1, 1, 1, 0]), threshold=1).recall == 0.25  # not adjusted
    for wrong, words in ((np.zeros(300), "0 and 1"), (labels[:9], "one shape"), (labels * 2, "0 and 1")):
        with pytest.raises(ArgumentError, match=words):
            measure_anomalies(scores, wrong, threshold=1)


def test_scores_are_those_of_loops():
    data = window_series(seasonal_series(120)[0], 16, 2)
    series = data.series[0]
    values = series.values()
    network = kerasdl.build("dlinear", length=16, horizon=2, kernel=4)
    forecaster = Forecaster(network, scaling=data.scaling)
    scores = forecast_error_scores(forecaster, series)
    assert np.isnan(scores[:16]).all()
    for step in (16, 40, 119):
        forecast = forecaster.forecast(values[None, step - 16 : step]).values[0, 0, 0]
        assert scores[step] == pytest.approx(((forecast - values[step, 0]) / data.scaling.std[0]) ** 2, rel=1e-3)
    autoencoder = kerasdl.build("series_autoencoder", length=16, filters=(4,))
    scores = reconstruction_scores(autoencoder, series, data.scaling)
    for step in (0, 5, 60, 119):
        errors = []
        for start in range(max(0, step - 15), min(step, 120 - 16) + 1):
            window = data.scaling.scaled(values[None, start : start + 16]).astype("float32")
            errors.append(float((autoencoder(window)[0, step - start, 0] - window[0, step - start, 0]) ** 2))
        assert scores[step] == pytest.approx(np.mean(errors), rel=1e-3)


def test_planted_anomalies_are_found_and_random_scores_are_not():
    clean = seasonal_series(900, noise=0.05, trend=0.0)[0]
    data = window_series(clean, 24, 1)
    planted, labels = plant_anomalies(clean, 3, start=720, length=4, size=3.0)
    keras.utils.set_random_seed(0)
    network = kerasdl.build("dlinear", length=24, horizon=1, kernel=12)
    forecaster = Forecaster(network, scaling=data.scaling)
    fit(forecaster, data.train, config=RunConfig(epochs=15, learning_rate=1e-2, seed=0, progress="off", strategy=None))
    threshold = np.nanquantile(forecast_error_scores(forecaster, clean.part(540, 720)), 0.999)
    found = measure_anomalies(forecast_error_scores(forecaster, planted)[720:], labels[720:], threshold=threshold)
    everything = 2 * found.share / (1 + found.share)  # F1 of a detector that marks every step
    assert found.pr_auc > 4 * found.share
    assert found.f1 > 2 * everything
    chance = measure_anomalies(np.random.default_rng(0).uniform(size=180), labels[720:], threshold=0.9)
    assert chance.pr_auc < found.share + 0.15


def test_networks_that_do_not_fit_are_refused():
    data = window_series(seasonal_series(120)[0], 16, 2)
    network = kerasdl.build("dlinear", length=16, horizon=2, kernel=4)
    with pytest.raises(ArgumentError, match="must have a scaling"):
        forecast_error_scores(Forecaster(network), data.series[0])
    with pytest.raises(ArgumentError, match="an autoencoder must give"):
        reconstruction_scores(network, data.series[0], data.scaling)
    with pytest.raises(ArgumentError, match="2 channels"):
        autoencoder = kerasdl.build("series_autoencoder", length=16, channels=2, filters=(4,))
        reconstruction_scores(autoencoder, data.series[0], data.scaling)
    with pytest.raises(ArgumentError, match="multiple of 8"):
        kerasdl.build("series_autoencoder", length=20)
    with pytest.raises(ArgumentError, match="longer than a window"):
        forecast_error_scores(Forecaster(network, scaling=data.scaling), data.series[0].part(0, 10))
