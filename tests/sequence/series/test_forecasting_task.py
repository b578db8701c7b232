"""Forecasting task and trainer: raw in and raw out, covariates, gaps, recursion, intervals, a bundle's life."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from regularized import check_regularizers_count

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.core import ArgumentError, DataError, get_task
from kerasdl.data import as_dataset
from kerasdl.data.series import TimeSeries, load_series, seasonal_series, window_series
from kerasdl.sequence import Forecaster
from kerasdl.sequence.series.forecaster import read_outputs
from kerasdl.train import RunConfig, fit

QUIET = {"progress": "off", "schedule": "constant", "strategy": None}


def sales(steps=240, seed=0):
    """Series whose target follows a price that is known in advance, and a season; the noise is 0.1."""
    rng = np.random.default_rng(seed)
    price, wind = rng.normal(size=(2, steps))
    t = np.arange(steps)
    sold = 100 + 20 * (np.sin(2 * np.pi * t / 12) - 1.5 * price + 0.1 * rng.normal(size=steps))
    columns = {"sold": sold, "wind": wind, "price": price}
    return TimeSeries(t, columns, ("sold",), ("wind",), ("price",), {"size": 3.0}, name="shop")


@pytest.fixture(scope="module")
def data():
    return window_series(seasonal_series(300, noise=0.1)[0], 24, 6)


@pytest.fixture(scope="module")
def trained(data):
    keras.utils.set_random_seed(0)
    network = kerasdl.build("dlinear", length=24, horizon=6, kernel=12, anchor="last")
    config = RunConfig(epochs=20, learning_rate=1e-2, seed=0, **QUIET)
    run = fit(Forecaster(network), data.train, validation=data.validation, config=config)
    return run.model


def bundle_of(network, data, name="season"):
    return Bundle.of(network, name=name, task="forecasting", preprocess=data.settings, labels=data.series[0].target)


def test_a_bundle_takes_raw_windows_and_gives_raw_forecasts(trained, data, tmp_path):
    bundle = bundle_of(trained, data)
    values = data.series[0].values()
    raw = np.stack([values[k : k + 24] for k in (250, 260, 270)])
    answers = np.array([each["forecast"]["value"] for each in bundle.predict(raw)])
    np.testing.assert_allclose(
        answers, Forecaster(trained, scaling=data.scaling).forecast(raw).values[..., 0], rtol=1e-5
    )
    truth = np.stack([values[k + 24 : k + 30, 0] for k in (250, 260, 270)])
    assert np.abs(answers - truth).mean() < 0.4  # the season alone moves by 1.3
    loaded = kerasdl.load_bundle(bundle.save(tmp_path / "season.zip"))
    again = [each["forecast"]["value"] for each in loaded.predict(np.concatenate([raw - 9, raw], axis=1))]
    np.testing.assert_allclose(again, answers, rtol=1e-6)
    raw_to_raw = bundle.deployable((24, 1))(raw.astype("float32"))
    np.testing.assert_allclose(raw_to_raw[..., 0], answers, rtol=1e-4)
    row = bundle.task.table(bundle.predict(raw)[0])[0]
    assert row == {"step": 1, "value": answers[0, 0]}
    gaps = raw.copy()
    gaps[0, 5] = np.nan
    filled = raw.copy()
    filled[0, 5] = raw[0, 4]
    np.testing.assert_allclose(
        bundle.predict(gaps)[0]["forecast"]["value"], bundle.predict(filled)[0]["forecast"]["value"], rtol=1e-5
    )


def test_figures_are_in_the_unit_of_the_series_whatever_scaling_the_data_have(trained, data):
    bundle = bundle_of(trained, data)
    values, places = data.series[0].values(), data.origins["test"][:, 1]
    raw = np.stack([values[k - 24 : k] for k in places])
    labels = np.stack([values[k : k + 6] for k in places])
    error = np.abs(Forecaster(trained, scaling=data.scaling).forecast(raw).values - labels).mean()
    other = window_series(data.series[0], 24, 6, shares=(0.3, 0.5, 0.2)).test
    assert other.feature_mean != data.test.feature_mean
    for given in (data.test, (raw, labels), as_dataset((raw, labels)), other):
        figures = bundle.evaluate(given)
        assert figures["mae"] == pytest.approx(error, rel=1e-3)
    assert set(figures) == {"loss", "mae", "rmse", "smape"}


@pytest.mark.slow
def test_a_bundle_is_tuned_and_exported(trained, data, tmp_path):
    bundle = bundle_of(trained, data)
    shifted = TimeSeries(np.arange(300), {"value": 40 + 5 * data.series[0].columns["value"]}, ("value",))
    other = window_series(shifted, 24, 6)
    settings = RunConfig(progress="off", strategy=None)
    tuned = bundle.finetune(other.train, other.validation, epochs=1, config=settings)
    assert tuned.labels == ("value",)
    assert not np.array_equal(tuned.model.get_weights()[0], trained.get_weights()[0])
    report = bundle.export(tmp_path / "season.tflite", representative=data.train)
    assert report.worst_relative < 1e-4


def test_regularizers_of_the_network_count(data):
    forecaster = Forecaster(kerasdl.build("dlinear", length=24, horizon=6))
    x, y = data.train.take(8).arrays()[:2]
    check_regularizers_count(forecaster, lambda: forecaster.compute_loss(x, y, forecaster(x)))


def test_missing_labels_teach_nothing_and_count_nowhere(data):
    series = data.series[0]
    holes = series.columns["value"].copy()
    holes[30:200:7] = np.nan
    given = window_series(TimeSeries(series.times, {"value": holes}, ("value",)), 24, 6)
    network = kerasdl.build("dlinear", length=24, horizon=6)
    forecaster = Forecaster(network)
    (x, y), weights = given.train.arrays(), given.train.source.weights
    loss = float(forecaster.compute_loss(x, y, network(x), weights))
    wrong = np.where(weights[..., None] > 0, y, 1e6).astype("float32")
    assert float(forecaster.compute_loss(x, wrong, network(x), weights)) == pytest.approx(loss)
    bundle = bundle_of(network, given)
    truth = np.where(weights[..., None] > 0, given.scaling.unscaled(y), np.nan)
    found = given.scaling.unscaled(network(x))
    assert bundle.evaluate(given.train)["mae"] == pytest.approx(np.nanmean(np.abs(truth - found)), rel=1e-4)


@pytest.mark.slow
def test_a_price_known_in_advance_is_used():
    data = window_series(sales(), 12, 3)
    errors = {}
    for future in (1, 0):
        keras.utils.set_random_seed(0)
        settings = dict(length=12, horizon=3, channels=4, units=8, depth=1)
        network = kerasdl.build("gru_forecaster", **settings, future=future)
        parts = [getattr(data, split) for split in ("train", "test")]
        if not future:
            parts = [as_dataset((each.arrays()[0]["window"], each.arrays()[1])) for each in parts]
        forecaster = Forecaster(network)
        fit(forecaster, parts[0], config=RunConfig(epochs=30, learning_rate=2e-2, seed=0, **QUIET))
        forecaster.compile()
        errors[future] = forecaster.evaluate(parts[1].batches(64), verbose=0, return_dict=True)["mae"]
    assert errors[1] < 0.7 * errors[0], errors


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gaussian", "quantiles"])
def test_intervals_of_known_noise_cover_their_share(name):
    """Of pure noise the interval of 80 % is known: 1.28 standard deviations to each side of the mean."""
    rng = np.random.default_rng(1)
    series = TimeSeries(np.arange(1500), {"x": 5 + 2 * rng.normal(size=1500)}, ("x",))
    data = window_series(series, 4, 2)
    keras.utils.set_random_seed(0)
    distribution = "gaussian" if name == "gaussian" else (0.1, 0.5, 0.9)
    network = kerasdl.build(
        "lstm_forecaster", length=4, horizon=2, units=4, depth=1, anchor=None, distribution=distribution
    )
    forecaster = Forecaster(network, scaling=data.scaling)
    fit(forecaster, data.train, config=RunConfig(epochs=12, learning_rate=2e-2, seed=0, **QUIET))
    low, high = forecaster.forecast(series.values()[None, :4]).interval(0.8)
    np.testing.assert_allclose([low[0, 0, 0], high[0, 0, 0]], [5 - 2 * 1.2816, 5 + 2 * 1.2816], atol=0.5)
    bundle = bundle_of(network, data)
    assert 0.72 < bundle.evaluate(data.test)["coverage"] < 0.88
    answer = bundle.predict(series.values()[None, :4])[0]
    assert set(answer) == {"forecast", "std" if name == "gaussian" else "quantiles"}
    json.dumps(answer)
    if name == "quantiles":
        with pytest.raises(ArgumentError, match="needs the quantiles"):
            forecaster.forecast(series.values()[None, :4]).interval(0.5)


def test_a_longer_horizon_feeds_forecasts_back(trained, data):
    forecaster = Forecaster(trained, scaling=data.scaling)
    raw = data.series[0].values()[None, 100:124]
    first = forecaster.forecast(raw).values
    second = forecaster.forecast(np.concatenate([raw[:, 6:], first], axis=1)).values
    longer = forecaster.forecast(raw, horizon=10)
    np.testing.assert_allclose(longer.values, np.concatenate([first, second], axis=1)[:, :10], rtol=1e-6)
    np.testing.assert_allclose(forecaster.forecast(raw, horizon=4).values, first[:, :4])


def test_weights_of_windows_are_not_those_of_steps(trained, data):
    forecaster, raw = Forecaster(trained), data.train.arrays()
    x, y = raw[0][:6], raw[1][:6]  # as many windows as steps to forecast
    weights = np.array([0, 0, 0, 2, 0, 0], "float32")
    error = np.abs(y - trained(x).numpy()).mean(axis=2)
    for given in (weights, weights[:, None], np.repeat(weights[:, None], 6, axis=1)):
        found = forecaster.compute_loss(x, y, trained(x), given)
        assert float(found) == pytest.approx((error * weights[:, None]).mean(), rel=1e-5)
        forecaster.error.reset_state()
        mae = forecaster.compute_metrics(x, y, trained(x), given)["mae"]
        assert float(mae) == pytest.approx(error[3].mean(), rel=1e-5)
    with pytest.raises(ArgumentError, match=r"\(B,\) or \(B, 6\)"):
        forecaster.compute_loss(x, y, trained(x), np.ones((6, 6, 1), "float32"))


def test_missing_labels_weigh_nothing_beside_given_weights(trained, data):
    x, y = np.ones((3, 24, 1)), np.ones((3, 6, 1))
    y[1, 2] = np.nan
    for weights in (np.array([1, 2, 3]), np.repeat([[1], [2], [3]], 6, axis=1)):
        found = kerasdl.core.get_task("forecasting").ready(as_dataset((x, y, weights)), data.settings).source.weights
        np.testing.assert_array_equal(found[:, 0], [1, 2, 3])
        np.testing.assert_array_equal(found[1], [2, 2, 0, 2, 2, 2])


def test_masked_values_of_a_window_are_missing(trained, data):
    raw = data.series[0].values()[None, :24].copy()
    raw[0, 20] = np.nan
    masked = np.ma.masked_invalid(raw)
    masked.data[0, 20] = -999.0
    forecaster, bundle = Forecaster(trained, scaling=data.scaling), bundle_of(trained, data)
    np.testing.assert_array_equal(forecaster.forecast(masked).values, forecaster.forecast(raw).values)
    assert bundle.predict(masked) == bundle.predict(raw)


def test_values_of_quantiles_are_their_middle_in_order():
    outputs = np.array([[[[3.0, 1.0, 2.0, 6.0]]]])  # crossed
    found = read_outputs(outputs, (0.1, 0.4, 0.6, 0.9), None)
    assert found.values.item() == 2.5
    assert [each.item() for each in found.quantiles.values()] == [1, 2, 3, 6]
    assert read_outputs(outputs[..., :3], (0.1, 0.5, 0.9), None).values.item() == 2
    assert read_outputs(outputs[..., :2], (0.1, 0.9), None).values.item() == 2


def test_what_does_not_fit_is_refused(trained, data):
    bundle, forecaster = bundle_of(trained, data), Forecaster(trained, scaling=data.scaling)
    raw = data.series[0].values()[None, :24]
    for wrong, words in ((raw[0, :, 0], "24 steps or more"), (raw[:, :9], "24 steps or more"), ("abc", "numbers")):
        with pytest.raises(ArgumentError, match=words):
            bundle.predict(wrong)
    with pytest.raises(ArgumentError, match="windows alone"):
        bundle.predict({"window": raw, "future": raw})
    with pytest.raises(ArgumentError, match="infinity"):
        bundle.predict(raw + np.inf)
    with pytest.raises(DataError, match="infinity"):
        forecaster.forecast(raw + np.inf)
    with pytest.raises(ArgumentError, match="shape"):
        forecaster.forecast(raw[:, :9])
    with pytest.raises(ArgumentError, match="future must be passed"):
        forecaster.forecast(raw, np.zeros((1, 6, 1)))
    with pytest.raises(ArgumentError, match="needs the quantiles"):
        forecaster.forecast(raw).interval()
    with pytest.raises(ArgumentError, match="labels of a forecast"):
        fit(Forecaster(trained), (raw, raw[:, :5]), config=RunConfig(epochs=1, **QUIET))
    exogenous = window_series(sales(), 24, 6)
    network = kerasdl.build("lstm_forecaster", length=24, horizon=6, channels=4, future=1, units=4)
    with pytest.raises(ArgumentError, match="without covariates"):
        Forecaster(network).forecast(np.zeros((1, 24, 4)), np.zeros((1, 6, 1)), horizon=9)
    with pytest.raises(ArgumentError, match="4 channels"):
        Forecaster(network, scaling=data.scaling)
    knowing, windows = Forecaster(network, scaling=exogenous.scaling), np.ones((2, 24, 4))
    assert knowing.forecast(windows, np.ones((2, 6, 1))).values.size
    for wrong in (np.ones((2, 5, 1)), np.ones((1, 6, 1)), np.ones((6, 1))):
        with pytest.raises(ArgumentError, match="future must have the shape"):
            knowing.forecast(windows, wrong)
    with pytest.raises(DataError, match="future must be finite"):
        knowing.forecast(windows, np.full((2, 6, 1), np.inf))
    other = dataclasses.replace(exogenous.scaling, future=())
    with pytest.raises(ArgumentError, match="must name the places"):
        Forecaster(network, scaling=other).forecast(windows, np.ones((2, 6, 1)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"length": 20}, "length must be the 24"),
        ({"horizon": 5}, "horizon must be one of"),
        ({"targets": 2}, "targets must be one of"),
        ({"mean": [1.0, 2.0]}, "mean must be a list"),
        ({"std": [0.0]}, "a value of std"),
        ({"channels": ["a", "b"]}, "channels must name"),
        ({"future": ["value"]}, "future must name"),
    ],
)
def test_wrong_settings_of_a_bundle_are_refused(trained, data, change, words):
    with pytest.raises(kerasdl.core.BundleError, match=words):
        Bundle.of(trained, name="x", task="forecasting", preprocess={**data.settings, **change}, labels=("value",))


def test_settings_of_a_window_are_those_of_json(data):
    assert json.loads(json.dumps(data.settings)) == data.settings
    assert dataclasses.asdict(data.scaling)["targets"] == data.settings["targets"]


def test_scaling_of_the_data_is_that_of_the_forecasts():
    data = window_series(load_series("sunspots"), 33, 11)
    config = RunConfig(epochs=1, progress="off", strategy=None)
    run = fit(Forecaster(kerasdl.build("dlinear", length=33, horizon=11, kernel=11)), data.train, config=config)
    raw = data.scaling.unscaled(data.test.arrays()[0][:2])
    learnt = run.trainer.forecast(raw).values
    stated = Forecaster(run.model, scaling=data.scaling).forecast(raw).values
    np.testing.assert_allclose(learnt, stated, rtol=1e-6)
    assert np.abs(learnt - Forecaster(run.model).forecast(raw).values).max() > 1.0


def test_windows_without_a_value_and_channels_in_another_order_are_refused():
    data = window_series(load_series("sunspots"), 33, 11)
    network = kerasdl.build("dlinear", length=33, horizon=11, kernel=11)
    with pytest.raises(DataError, match="window 1 has none in channel 0"):
        Forecaster(network, scaling=data.scaling).forecast(np.stack([np.ones((33, 1)), np.full((33, 1), np.nan)]))
    other = dataclasses.replace(data.test, feature_names=("moonspots",))
    with pytest.raises(ArgumentError, match="data must have the channels"):
        get_task("forecasting").ready(other, data.settings)
