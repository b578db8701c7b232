"""`GradientMonitor`: its figures against NumPy's, what it finds in sick nets and in sound ones, and its picture."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError
from kerasdl.train import RunConfig, fit
from kerasdl.train.diagnostics import gradient_monitor
from kerasdl.train.diagnostics.gradient_monitor import GradientMonitor
from kerasdl.train.loop.hooks import RunInfo, UpdateTrace

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def net(widths, activation="relu", init="glorot_uniform", bias="zeros"):
    x = tensor = keras.Input((16,))
    for k, width in enumerate(widths, 1):
        layer = keras.layers.Dense(width, activation, kernel_initializer=init, bias_initializer=bias, name=f"hidden{k}")
        x = layer(x)
    return keras.Model(tensor, keras.layers.Dense(3, name="head")(x))


def by_path(model):
    return {weight.path: weight.numpy() for weight in model.trainable_weights}


def watched(model, monitor, steps=4, optimizer=None, folder=None, saved=None):
    """Trains on a rule that can be learnt, and shows the monitor the steps that it wants; gives what it said."""
    said = []
    monitor.setup(RunInfo(model, {}, folder, said.append))
    if saved is not None:
        monitor.restore(saved)
    rng, optimizer = np.random.default_rng(0), optimizer or keras.optimizers.Adam(1e-3)

    @tf.function(autograph=False)
    def update(x, y):
        with tf.GradientTape() as tape:
            loss = LOSS(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_weights)
        optimizer.apply(gradients, model.trainable_weights)
        return gradients

    for step in range(1, steps + 1):
        x = rng.normal(size=(64, 16)).astype("float32")
        before = by_path(model)
        gradients = update(tf.constant(x), tf.constant(np.abs(x[:, :3]).argmax(axis=1)))
        if monitor.wants(step):
            named = {path: each.numpy() for path, each in zip(before, gradients, strict=True)}
            monitor.inspect(UpdateTrace(step, tf.constant(x), named, before, by_path(model)))
    return said


def kinds(monitor):
    return [each.kind for each in monitor.findings]


def test_figures_are_those_of_numpy():
    rng = np.random.default_rng(0)
    shapes = {"first/kernel": (5, 4), "first/bias": (4,), "block/query/kernel": (4, 2, 3)}
    before, change, slope = ({name: rng.normal(size=shape) for name, shape in shapes.items()} for _ in range(3))
    slope["first/kernel"][:2] = 0
    monitor = GradientMonitor()
    after = {name: before[name] - 1e-3 * change[name] for name in shapes}
    monitor.inspect(UpdateTrace(7, None, slope, before, after))
    for layer, names in {"first": ["first/kernel", "first/bias"], "block/query": ["block/query/kernel"]}.items():
        joined = [np.concatenate([part[name].ravel() for name in names]) for part in (slope, before, change)]
        norms = [np.sqrt((part**2).sum()) for part in joined]
        found = {measure: monitor.history[measure][layer] for measure in gradient_monitor.MEASURES[:4]}
        assert found["gradient_norm"] == [pytest.approx(norms[0])]
        assert found["weight_norm"] == [pytest.approx(norms[1])]
        assert found["update_ratio"] == [pytest.approx(1e-3 * norms[2] / norms[1])]
        assert found["zero_share"] == [pytest.approx(np.mean(joined[0] == 0))]
    assert monitor.steps == [7]


@pytest.mark.parametrize("kind", ["dense", "relu layer", "activation layer", "convolution"])
def test_dead_share_is_that_of_units_without_any_output(kind):
    rng = np.random.default_rng(1)
    x = tensor = keras.Input((6, 6, 2))
    own = "relu" if kind in ("dense", "convolution") else None
    make = keras.layers.Conv2D(8, 3, activation=own) if kind == "convolution" else keras.layers.Dense(8, own)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.2)(x)
    x = make(x)
    if kind == "relu layer":
        x = keras.layers.ReLU(name="rectifier")(x)
    elif kind == "activation layer":
        x = keras.layers.Activation("relu", name="rectifier")(x)
    x = keras.layers.LeakyReLU()(keras.layers.Dense(4, "tanh")(x))
    model = keras.Model(tensor, x)
    make.bias.assign(np.where(np.arange(8) < 3, -100.0, 100.0))
    names, dead = gradient_monitor.dead_share_function(model)
    before = [np.array(each.numpy()) for each in model.variables]
    assert [float(each) for each in dead(rng.normal(size=(5, 6, 6, 2)).astype("float32"))] == [3 / 8]
    assert names == ["rectifier" if own is None else make.name]
    for old, new in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, new)


def test_batch_norms_use_the_statistics_of_the_batch():
    """By its moving statistics, which stand at their start, every unit would be alive or dead at once."""
    tensor = keras.Input((8,))
    model = keras.Model(tensor, keras.layers.ReLU()(keras.layers.BatchNormalization()(tensor)))
    x = (np.random.default_rng(0).normal(size=(64, 8)) - 50).astype("float32")
    assert gradient_monitor.dead_share_function(model)[1](x)[0] == 0
    assert np.all(model(x) == 0)


def test_models_without_units_to_look_at():
    class Own(keras.Model):
        def call(self, x):
            return keras.ops.relu(x)

    own = Own()
    own(np.zeros((1, 3)))
    assert gradient_monitor.dead_share_function(own) is None
    assert gradient_monitor.dead_share_function(net((4,), "tanh")) is None
    assert (
        gradient_monitor.dead_share_function(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "relu")]))
        is not None
    )


def test_a_sound_net_is_found_sound():
    monitor = GradientMonitor(every=10)
    assert watched(net((64, 64)), monitor, steps=100) == []
    assert monitor.findings == []
    assert monitor.steps == [1, *range(10, 101, 10)]
    norms = monitor.history["gradient_norm"]
    assert 0.1 < norms["hidden1"][-1] / norms["head"][-1] < 10  # what the docstring says


@pytest.mark.parametrize(
    ("build", "rate", "wanted"),
    [
        (lambda: net((16,) * 20, "sigmoid"), 1e-3, ["vanishing"]),
        (lambda: net((16,) * 20, init=keras.initializers.RandomNormal(stddev=2)), 1e-3, ["exploding"]),
        (lambda: net((32, 32), bias=keras.initializers.Constant(-100)), 1e-3, ["dead units"]),
        (lambda: net((32, 32)), 0.1, ["large updates"]),
        (lambda: net((32, 32)), 1e-6, ["small updates"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_sick_nets(build, rate, wanted):
    monitor = GradientMonitor(every=1)
    said = watched(build(), monitor, optimizer=keras.optimizers.Adam(rate))
    assert kinds(monitor) == wanted
    assert len(said) == 1  # once, though it was seen several times
    (found,) = monitor.findings
    assert wanted[0] in said[0]
    assert found.text in said[0]
    assert found.step == (1 if wanted == ["exploding"] else 3)
    assert set(found.layers) <= {f"hidden{k}" for k in range(1, 21)} | {"head"}


def shown(monitor, ratios, layer="a"):
    """Shows updates of these ratios to a layer whose gradient and weights have a norm of 1."""
    weights = {f"{layer}/kernel": np.full((2, 2), 0.5)}
    for step, ratio in enumerate(ratios, 1):
        after = {name: (1 + ratio) * value for name, value in weights.items()}
        monitor.inspect(UpdateTrace(step, None, weights, weights, after))
    return kinds(monitor)


def test_findings_need_some_inspections_in_a_row():
    assert shown(GradientMonitor(), [0.1, 0.1, 1e-3, 0.1, 0.1]) == []
    assert shown(GradientMonitor(), [1e-3, 0.1, 0.1, 0.1]) == ["large updates"]
    assert shown(GradientMonitor(patience=1), [1e-3, 0.1]) == ["large updates"]
    assert shown(GradientMonitor(updates=(1e-4, 0.2)), [0.1] * 5) == []


def test_updates_that_become_small_with_the_rate_are_in_order():
    assert shown(GradientMonitor(), [1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8]) == []
    assert shown(GradientMonitor(), [1e-5, 1e-6, 1e-7]) == ["small updates"]


def test_vectors_are_not_judged():
    monitor, weights = GradientMonitor(patience=1), {"norm/gamma": np.ones(4)}
    monitor.inspect(UpdateTrace(1, None, {"norm/gamma": np.full(4, 1e9)}, weights, {"norm/gamma": np.full(4, 9.0)}))
    assert monitor.findings == []
    assert monitor.history["update_ratio"]["norm"] == [8]


def test_what_is_not_finite_or_missing_raises_nothing(tmp_path):
    said, weights = [], {"a/kernel": np.ones((2, 2)), "b/kernel": np.zeros((2, 2)), "c/kernel": np.ones((2, 2))}
    monitor = GradientMonitor(patience=1)
    monitor.setup(RunInfo(net((4,)), {}, tmp_path, said.append))
    slopes = {"a/kernel": np.full((2, 2), np.nan), "b/kernel": np.ones((2, 2))}
    monitor._rectified = None
    monitor.inspect(UpdateTrace(1, None, slopes, weights, weights))
    assert monitor.history["gradient_norm"]["a"] == [np.inf]
    assert np.isnan(monitor.history["gradient_norm"]["c"]).all()
    assert np.isnan(monitor.history["update_ratio"]["b"]).all()
    assert monitor.findings[0].kind == "exploding"
    assert "a" in monitor.findings[0].layers
    monitor.plot(tmp_path / "map.png")


def test_a_layer_that_comes_later_is_filled_up():
    monitor = GradientMonitor()
    shown(monitor, [1e-3, 1e-3])
    shown(monitor, [1e-3], layer="b")
    assert [len(values) for values in monitor.history["weight_norm"].values()] == [3, 3]
    np.testing.assert_array_equal(np.isnan(monitor.history["weight_norm"]["b"]), [True, True, False])
    np.testing.assert_array_equal(np.isnan(monitor.history["weight_norm"]["a"]), [False, False, True])


def test_what_it_saved_goes_on():
    model = net((64, 64))
    first, second = GradientMonitor(every=1), GradientMonitor(every=1)
    watched(model, first, optimizer=keras.optimizers.Adam(1e-6))
    saved = json.loads(json.dumps(first.saved()))
    second.restore(saved)
    assert second.findings == first.findings
    assert second.saved() == first.saved()
    assert watched(model, second, optimizer=keras.optimizers.Adam(1e-6), saved=saved) == []  # said before
    assert len(second.steps) == 2 * len(first.steps) == len(second.history["dead_share"]["hidden1"])


def test_another_run_begins_anew():
    monitor = GradientMonitor(every=1)
    assert len(watched(net((4,)), monitor, optimizer=keras.optimizers.Adam(1e-6))) == 1
    assert len(watched(net((5,)), monitor, optimizer=keras.optimizers.Adam(1e-6))) == 1
    assert monitor.steps == [1, 2, 3, 4]


def test_a_long_run_is_thinned(monkeypatch):
    monkeypatch.setattr(gradient_monitor, "MAX_INSPECTIONS", 8)
    monitor = GradientMonitor()
    shown(monitor, [1e-3] * 20)
    assert len(monitor.steps) <= 8
    assert monitor.steps[-1] >= 19
    assert {len(values) for table in monitor.history.values() for values in table.values()} == {len(monitor.steps)}


def test_fit_shows_it_what_it_wants_and_trains_the_same(toy, task, tmp_path):
    models, monitor = [toy.model(norm=True, dropout=0.5) for _ in range(2)], GradientMonitor(every=4)
    models[1].set_weights(models[0].get_weights())
    seeds = [variable for model in models for variable in model.variables if "seed" in variable.path]
    seeds[1].assign(seeds[0])
    before = by_path(models[0])
    settings = {"steps": 9, "batch_size": 16, "progress": "off"}
    fit(models[0], toy.data(), task=task, callbacks=[monitor], config=RunConfig(folder=tmp_path, **settings))
    fit(models[1], toy.data(), task=task, config=RunConfig(**settings))
    assert toy.digest(models[0]) == toy.digest(models[1])
    assert monitor.steps == [1, 4, 8]
    first = np.sqrt(sum((before[f"hidden/{name}"] ** 2).sum() for name in ("kernel", "bias")))
    assert monitor.history["weight_norm"]["hidden"][0] == pytest.approx(first)
    assert list(monitor.history["gradient_norm"]) == ["hidden", "norm", "head"]
    assert list((tmp_path / "gradients").glob("events.*"))


@pytest.mark.parametrize("given", [True, False])
def test_histograms(tmp_path, given):
    run = tmp_path / "run"
    monitor = GradientMonitor(every=2, folder=tmp_path / "mine" if given else None)
    watched(net((4,)), monitor, folder=run)
    monitor.end()
    (file,) = (tmp_path / "mine" if given else run / "gradients").glob("events.*")
    seen = {}
    for event in tf.compat.v1.train.summary_iterator(str(file)):
        for value in event.summary.value:
            seen.setdefault(value.tag, []).append((event.step, tf.make_ndarray(value.tensor)))
    assert set(seen) == {
        f"{a}/{b}/{c}" for a in ("gradients", "weights") for b in ("hidden1", "head") for c in ("kernel", "bias")
    }
    steps, buckets = zip(*seen["weights/hidden1/kernel"], strict=True)
    assert steps == (1, 2, 4)
    assert buckets[0][:, 2].sum() == 16 * 4


def test_it_writes_nothing_where_it_met_nobody(tmp_path):
    """Of several workers, those that are not the chief."""
    monitor = GradientMonitor(folder=tmp_path / "histograms")
    assert shown(monitor, [0.1] * 3) == ["large updates"]
    assert not (tmp_path / "histograms").exists()


def test_plot(tmp_path):
    monitor = GradientMonitor(every=1)
    with pytest.raises(ArgumentError, match="needs an inspected update"):
        monitor.plot()
    watched(net((8,) * 3), monitor)
    figure = monitor.plot(tmp_path / "map.png")
    maps = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert [each.shape for each in maps] == [(4, 4), (4, 4), (3, 4)]
    np.testing.assert_allclose(maps[1][0], monitor.history["update_ratio"]["hidden1"])
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["hidden1", "hidden2", "hidden3", "head"]
    assert (tmp_path / "map.png").stat().st_size > 5000


@pytest.mark.parametrize(
    "settings",
    [{"every": 0}, {"patience": 0}, {"dead": 2}, {"updates": (1, 0.1)}, {"updates": (1,)}, {"vanishing": -1}],
)
def test_refusals(settings):
    with pytest.raises(ArgumentError):
        GradientMonitor(**settings)
