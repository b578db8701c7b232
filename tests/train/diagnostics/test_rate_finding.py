"""`find_learning_rate`: its rule on curves with a known answer, what it finds, and that it leaves no trace."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError, DataError, TrainingError
from kerasdl.train import RunConfig, fit
from kerasdl.train.diagnostics import learning_rate_finder
from kerasdl.train.diagnostics.learning_rate_finder import find_learning_rate, scale_learning_rate

LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
NOTHING = np.zeros((8, 2), "float32"), np.zeros(8, "float32")


class Squares(keras.Model):
    """A trainer with a `train_step` of its own: half the squared norm of one weight."""

    def __init__(self, optimizer=None):
        super().__init__()
        self.weight = self.add_weight(shape=(3,), initializer="ones", name="weight")
        self.total = keras.metrics.Mean(name="loss")
        self.compile(optimizer or keras.optimizers.SGD(0.25))

    def train_step(self, data):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(self.weight**2) / 2
        self.optimizer.apply(tape.gradient(loss, [self.weight.value]), [self.weight])
        self.total.update_state(loss)
        return {"loss": loss}


def test_rates_rise_by_one_factor(toy, task):
    found = find_learning_rate(toy.model(), toy.data(), low=1e-6, high=1e-3, steps=31, task=task)
    np.testing.assert_allclose(found.rates, 1e-6 * 10 ** (np.arange(31) / 10), rtol=1e-9)
    assert found.ended == "finished"


def test_losses_are_those_of_gradient_descent_on_a_parabola():
    found = find_learning_rate(
        Squares(), (np.zeros((8, 2), "float32"), np.zeros(8, "float32")), low=1e-3, high=1.0, steps=40
    )
    weight, losses = 1.0, []
    for rate in found.rates:
        losses.append(1.5 * weight**2)
        weight *= 1 - rate
    np.testing.assert_allclose(found.losses, losses, rtol=1e-5)
    powers = 0.9 ** np.arange(40)
    smoothed = [np.dot(powers[: k + 1][::-1], losses[: k + 1]) / powers[: k + 1].sum() for k in range(40)]
    np.testing.assert_allclose(found.smoothed, smoothed, rtol=1e-5)


def test_suggestions_lie_where_a_known_curve_is_steepest_and_lowest():
    logs = np.linspace(-7, 0, 141)
    curve = 2 - 1 / (1 + np.exp(-4 * (logs + 3)))  # steepest at 1e-3
    curve[logs > -1.5] += 3 * (logs[logs > -1.5] + 1.5)
    steepest, tenth = learning_rate_finder.suggested_rates(10**logs, curve, curve, smoothing=0.0)
    assert np.log10(steepest) == pytest.approx(-3, abs=0.06)
    assert np.log10(tenth) == pytest.approx(logs[curve.argmin()] - 1)


def test_the_lag_of_the_smoothing_is_taken_off():
    logs = np.linspace(-7, 0, 141)
    curve = 2 - 1 / (1 + np.exp(-4 * (logs + 3)))
    mean = np.array([learning_rate_finder._exponential_mean(list(curve[: k + 1]), 0.9) for k in range(141)])
    steepest, _ = learning_rate_finder.suggested_rates(10**logs, curve, mean, smoothing=0.9)
    assert np.log10(steepest) == pytest.approx(-3, abs=0.15)  # 0.45 later without


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_is_no_fall(seed):
    losses = 2 + 0.3 * np.random.default_rng(seed).normal(size=100)
    mean = np.array([learning_rate_finder._exponential_mean(list(losses[: k + 1]), 0.9) for k in range(100)])
    assert learning_rate_finder.suggested_rates(np.logspace(-7, 0, 100), losses, mean, 0.9) == (None, None)


@pytest.mark.parametrize(
    ("losses", "over"), [([1, 0.5, 2.1], True), ([1, 0.5, 1.9], False), ([-2, 3.9], False), ([-2, 4.1], True)]
)
def test_it_diverged_over_four_times_the_lowest(losses, over):
    assert learning_rate_finder.has_diverged(losses) is over


def test_ends_early_where_the_loss_diverges_and_suggests_less(toy, task):
    found = find_learning_rate(toy.model(), toy.data(256), task=task, optimizer="sgd", high=1e4)
    assert found.ended in ("diverged", "not finite")
    assert len(found.rates) == len(found.losses) < 100
    assert 1e-3 < found.suggestion < found.rates[-1] / 3
    assert f"learning rate {found.suggestion:.2g}" in str(found)


def test_what_it_suggests_trains_well(toy, task):
    data = toy.data(256)
    model = toy.model()
    found = find_learning_rate(model, data, task=task)
    losses = {}
    for rate in (found.suggestion / 1000, found.suggestion, 100 * found.suggestion):
        clone = keras.models.clone_model(model)
        clone.set_weights(model.get_weights())
        config = RunConfig(epochs=4, learning_rate=rate, progress="off")
        losses[rate] = fit(clone, data, task=task, config=config).history["loss"][-1]
    assert losses[found.suggestion] == min(losses.values())


def test_it_says_where_the_search_was_too_short(toy, task):
    found = find_learning_rate(toy.model(), toy.data(256), task=task, optimizer="sgd", high=0.1)
    assert found.ended == "finished"
    assert str(found).endswith("still fell at the end: pass a higher high")


def test_it_leaves_no_trace(toy, task):
    """Training afterwards gives the very weights that it gives without, dropout and batch norm included."""
    models = [toy.model(dropout=0.5, norm=True) for _ in range(2)]
    models[1].set_weights(models[0].get_weights())
    seeds = [variable for model in models for variable in model.variables if "seed" in variable.path]
    seeds[1].assign(seeds[0])
    for model in models:
        model.compile("sgd", "mse")
    optimizer, before = models[0].optimizer, toy.digest(models[0])
    first = find_learning_rate(models[0], toy.data(), steps=20, task=task)
    assert toy.digest(models[0]) == before
    assert models[0].optimizer is optimizer
    assert models[0].loss == "mse"
    assert not optimizer.built
    second = find_learning_rate(models[0], toy.data(), steps=20, task=task)
    np.testing.assert_array_equal(first.losses, second.losses)
    for model in models:
        fit(model, toy.data(), task=task, config=RunConfig(epochs=2, progress="off"))
    assert toy.digest(models[0]) == toy.digest(models[1])


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_it_leaves_no_trace_when_it_is_interrupted(toy, task, monkeypatch, error):
    model = toy.model(dropout=0.5, norm=True)
    before, seen = toy.digest(model), []

    def interrupting(values, original=learning_rate_finder._loss_of):
        seen.append(toy.digest(model))
        if len(seen) == 5:
            raise error
        return original(values)

    monkeypatch.setattr(learning_rate_finder, "_loss_of", interrupting)
    with pytest.raises(error):
        find_learning_rate(model, toy.data(), task=task, low=1e-3)
    assert seen[-1] != before
    assert toy.digest(model) == before


def test_an_adapted_normalization_is_kept(task):
    """Statistics that a clone with the same weights would lose."""
    data = np.random.default_rng(0).normal(50, 9, (64, 4)).astype("float32")
    norm = keras.layers.Normalization()
    norm.adapt(data)
    tensor = keras.Input((4,))
    model = keras.Model(tensor, keras.layers.Dense(2)(norm(tensor)))
    before = model(data).numpy()
    labels = (data[:, 0] > 50).astype("int32")
    found = find_learning_rate(model, (data, labels), task=task, optimizer="sgd", high=1e3)
    np.testing.assert_array_equal(model(data), before)
    assert found.losses[:10].mean() == pytest.approx(float(LOGITS(labels, before)), rel=0.2)


@pytest.mark.parametrize("schedule", [None, keras.optimizers.schedules.CosineDecay(0.1, 10)])
def test_a_trainer_keeps_its_optimizer(schedule):
    optimizer = keras.optimizers.SGD(schedule or 0.25)
    model = Squares(optimizer)
    find_learning_rate(model, NOTHING, steps=20)
    assert model.optimizer is optimizer
    assert not optimizer.built
    np.testing.assert_array_equal(model.weight, 1)
    assert float(model.total.result()) == 0


def test_models_with_a_call_of_their_own_and_sequential_ones(task):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.drop, self.head = keras.layers.Dropout(0.3), keras.layers.Dense(2)

        def call(self, x, training=None):
            return self.head(self.drop(x, training=training))

    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    y = (x[:, 0] > 0).astype("int32")
    own, plain = Own(), keras.Sequential([keras.layers.Dense(2)])
    with pytest.raises(ArgumentError, match="must be built"):
        find_learning_rate(own, (x, y), task=task)
    for model in (own, plain):
        model(x)
        before = model.get_weights()
        assert find_learning_rate(model, (x, y), task=task, optimizer="sgd", high=10).suggestion > 1e-3
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


def test_refusals(toy, task):
    model, data = toy.model(), toy.data()
    for settings in ({"low": 1.0, "high": 0.1}, {"steps": 5}, {"low": 0}, {"smoothing": 1.0}, {"optimizer": "sdg"}):
        with pytest.raises((ArgumentError, LookupError)):
            find_learning_rate(model, data, task=task, **settings)
    uncompiled = Squares()
    uncompiled.compiled = False
    with pytest.raises(ArgumentError, match="must be compiled"):
        find_learning_rate(uncompiled, data)
    with pytest.raises(ArgumentError, match="loss None"):
        find_learning_rate(Squares(), data, loss="mse")
    with pytest.raises(ArgumentError, match="must be of the shape of the outputs"):
        find_learning_rate(model, (data[0], np.zeros((len(data[0]), 2, 2), np.float32)))
    with pytest.raises(DataError, match="no batches"):
        find_learning_rate(model, tf.data.Dataset.from_tensor_slices(data).batch(8).take(0), loss=LOGITS)
    with pytest.raises(TrainingError, match="not finite before any update"):
        find_learning_rate(model, (data[0] * np.nan, data[1]), task=task)


def test_an_endless_and_a_short_pipeline(toy, task):
    pipeline = tf.data.Dataset.from_tensor_slices(toy.data(12)).batch(4)
    for given in (pipeline, pipeline.repeat()):
        assert len(find_learning_rate(toy.model(), given, loss=LOGITS, steps=10).rates) == 10


def test_plot(toy, task, tmp_path):
    found = find_learning_rate(toy.model(), toy.data(256), task=task, optimizer="sgd", high=100)
    axes = found.plot(tmp_path / "rates.png").axes[0]
    assert (tmp_path / "rates.png").stat().st_size > 5000
    np.testing.assert_allclose(axes.lines[1].get_xdata(), found.rates)
    assert f"{found.suggestion:.2g}" in axes.texts[0].get_text()
    low, high = axes.get_ylim()
    assert low < found.smoothed.min() < high


def test_scale_learning_rate():
    assert scale_learning_rate(0.1, 256, 8192) == pytest.approx(3.2)  # Goyal et al. 2017, figure 1
    assert scale_learning_rate(1e-3, 256, 64, rule="sqrt") == pytest.approx(5e-4)
    for rule in ("linear", "sqrt"):
        there = scale_learning_rate(0.3, 48, 160, rule=rule)
        assert scale_learning_rate(there, 160, 48, rule=rule) == pytest.approx(0.3)
    with pytest.raises(ArgumentError, match="rule must be one of"):
        scale_learning_rate(0.1, 1, 2, rule="cubic")
    with pytest.raises(ArgumentError, match="batch_size"):
        scale_learning_rate(0.1, 0, 2)
