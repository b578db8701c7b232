"""Rolling-origin evaluation and its baselines against plain loops."""

import json

import numpy as np
import pytest

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.data.series import TimeSeries, random_walks, seasonal_series, window_series
from kerasdl.sequence import (
    Forecaster,
    backtest,
    drift_forecast,
    ets_forecast,
    naive_forecast,
    seasonal_naive_forecast,
)
from kerasdl.sequence.series.baselines import has_statsmodels

HISTORY = np.array([[np.nan, 2.0], [1.0, 4.0], [3.0, np.nan], [5.0, 6.0]])


def test_baselines_are_their_formulas_and_fill_gaps_from_the_past():
    np.testing.assert_array_equal(naive_forecast(HISTORY, 2), [[5, 6], [5, 6]])
    np.testing.assert_array_equal(seasonal_naive_forecast(HISTORY, 3, 2), [[3, 4], [5, 6], [3, 4]])
    np.testing.assert_allclose(drift_forecast(HISTORY, 2), [[5 + 4 / 3, 6 + 4 / 3], [5 + 8 / 3, 6 + 8 / 3]])
    with pytest.raises(ArgumentError, match="season of 9"):
        seasonal_naive_forecast(HISTORY, 3, 9)
    with pytest.raises(ArgumentError, match="value in each column"):
        naive_forecast(np.full((3, 1), np.nan), 2)


@pytest.mark.skipif(not has_statsmodels(), reason="ETS needs statsmodels")
def test_ets_follows_a_season():
    values = seasonal_series(120, noise=0.0, trend=0.0)[0].values()
    np.testing.assert_allclose(ets_forecast(values[:-12], 12, 12), values[-12:], atol=0.05)


@pytest.mark.skipif(has_statsmodels(), reason="statsmodels is installed")
def test_without_statsmodels_ets_is_refused_by_name():
    with pytest.raises(ArgumentError, match="pip install statsmodels"):
        ets_forecast(HISTORY, 2)


def test_figures_are_those_of_a_loop_over_origins():
    series = seasonal_series(200, count=2, seed=3)
    holes = series[1].columns["value"].copy()
    holes[[170, 181]] = np.nan
    series[1] = TimeSeries(series[1].times, {"value": holes}, ("value",), name="holes")
    data = window_series(series, 24, 5)
    network = kerasdl.build("dlinear", length=24, horizon=5, kernel=12)
    table = backtest({"net": Forecaster(network, scaling=data.scaling)}, data, period=12, step=3, ets=False)
    assert [*table.figures] == ["net", "naive", "seasonal naive", "drift"]
    scaled, absolute, squared, relative = ({name: [] for name in table.figures} for _ in range(4))
    for each in series:
        values = each.values()
        history = values[:120, 0]
        unit = np.nanmean(np.abs(history[12:] - history[:-12]))
        for origin in range(160, 196, 3):
            window = data.scaling.scaled(values[None, origin - 24 : origin]).astype("float32")
            forecasts = {
                "net": data.scaling.unscaled(network(window))[0],
                "naive": naive_forecast(values[:origin], 5),
                "seasonal naive": seasonal_naive_forecast(values[:origin], 5, 12),
                "drift": drift_forecast(values[:origin], 5),
            }
            for name, forecast in forecasts.items():
                truth = values[origin : origin + 5]
                known = ~np.isnan(truth)
                error = np.abs(truth - forecast)[known]
                scaled[name].extend(error / unit)
                absolute[name].extend(error)
                squared[name].extend(error**2)
                relative[name].extend(200 * error / (np.abs(truth) + np.abs(forecast))[known])
    for name, figures in table.figures.items():
        assert figures["MASE"] == pytest.approx(np.mean(scaled[name]), rel=1e-4)
        assert figures["MAE"] == pytest.approx(np.mean(absolute[name]), rel=1e-4)
        assert figures["RMSE"] == pytest.approx(np.mean(squared[name]) ** 0.5, rel=1e-4)
        assert figures["sMAPE"] == pytest.approx(np.mean(relative[name]), rel=1e-4)
    assert json.loads(table.to_json())["figures"]["net"]["coverage"] is None
    assert len(table.table().splitlines()) == 5


def test_origins_of_each_series_begin_at_its_own():
    series = [each.part(0, size) for each, size in zip(seasonal_series(200, count=2), (200, 83), strict=True)]
    found = backtest({}, window_series(series, 12, 3), step=30, ets=False)
    assert "from each of 3 origins" in found.title  # 160 and 190 of the first, 66 of the second
    second = backtest({}, window_series(series[1:] * 2, 12, 3), step=30, ets=False)
    first = backtest({}, window_series(series[:1] * 2, 12, 3), step=30, ets=False)
    shares = (2 * first.figures["naive"]["MAE"] + second.figures["naive"]["MAE"]) / 3
    assert found.figures["naive"]["MAE"] == pytest.approx(shares)


def test_on_a_random_walk_nothing_beats_the_last_value():
    data = window_series(random_walks(3000, seed=1)[0], 20, 5)
    figures = backtest({}, data, ets=False).figures
    assert [*figures] == ["naive", "drift"]
    shrunk = backtest({"half way": lambda h, n: np.repeat((h[-1:] + h[-20:].mean()) / 2, n, axis=0)}, data, ets=False)
    assert figures["naive"]["MASE"] < shrunk.figures["half way"]["MASE"]


def test_intervals_are_counted_and_wrong_forecasters_refused():
    data = window_series(seasonal_series(200)[0], 24, 5)
    settings = dict(length=24, horizon=5, filters=4, depth=2)
    network = kerasdl.build("tcn_forecaster", **settings, distribution=(0.1, 0.5, 0.9))
    table = backtest({"tcn": Forecaster(network, scaling=data.scaling)}, data, ets=False)
    assert 0 <= table.figures["tcn"]["coverage"] <= 1
    with pytest.raises(ArgumentError, match="another name"):
        backtest({"naive": naive_forecast}, data)
    with pytest.raises(ArgumentError, match="finite numbers"):
        backtest({"short": lambda history, horizon: history[-2:]}, data, ets=False)
    constant = TimeSeries(np.arange(100), {"x": np.arange(100.0) % 4}, ("x",))
    with pytest.raises(ArgumentError, match="must differ from itself"):
        backtest({}, window_series(constant, 8, 4), period=4, ets=False)
