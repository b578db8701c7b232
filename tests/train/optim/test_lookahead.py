"""Lookahead against a NumPy loop, in mixed precision's wrapper, in files, and through a run that is broken off."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError, UnknownNameError
from kerasdl.train import RunConfig, fit, schedules
from kerasdl.train.optim.lookahead import Lookahead
from kerasdl.train.optim.optimizers import make_optimizer

RATE, EVERY, SHARE, DECAY = 0.1, 3, 0.3, 0.8


class Sgd:
    def __init__(self):
        self.velocity = 0.0

    def change(self, gradient):
        self.velocity = 0.9 * self.velocity - RATE * gradient
        return self.velocity


class Adam:
    def __init__(self):
        self.first, self.second, self.count = 0.0, 0.0, 0

    def change(self, gradient):
        self.count += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        scale = np.sqrt(1 - 0.999**self.count) / (1 - 0.9**self.count)
        return -RATE * scale * self.first / (np.sqrt(self.second) + 1e-7)


INNER = {
    "sgd": (lambda **more: keras.optimizers.SGD(RATE, momentum=0.9, **more), Sgd),
    "adam": (lambda **more: keras.optimizers.Adam(RATE, **more), Adam),
}


def by_hand(start, gradients, rule):
    """Returns weights, slow weights and their moving average after updates by the paper's algorithm."""
    weights, slow, average = start, start, None
    for number, gradient in enumerate(gradients, 1):
        weights = weights + rule.change(gradient)
        if number % EVERY == 0:
            slow = slow + SHARE * (weights - slow)
            weights = slow
        average = weights if average is None else DECAY * average + (1 - DECAY) * weights
    return weights, slow, average


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", INNER)
def test_equals_the_algorithm_of_the_paper(name, compiled):
    make, rule = INNER[name]
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(3, 2)), rng.normal(size=(11, 3, 2))
    optimizer = Lookahead(make(use_ema=True, ema_momentum=DECAY), EVERY, SHARE)
    weight = keras.Variable(start, dtype="float32")
    optimizer.build([weight])

    def update(gradient):
        optimizer.apply([gradient], [weight])

    update = tf.function(update) if compiled else update
    for gradient in gradients:
        update(tf.constant(gradient, tf.float32))
    weights, slow, average = by_hand(start, gradients, rule())
    np.testing.assert_allclose(weight.numpy(), weights, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(optimizer.slow[0].numpy(), slow, rtol=1e-5, atol=1e-6)
    optimizer.finalize_variable_values([weight])
    np.testing.assert_allclose(weight.numpy(), average, rtol=1e-5, atol=1e-6)
    assert int(optimizer.iterations) == 11


def test_slow_weights_start_where_the_first_update_starts():
    """Whatever was loaded after the optimizer was built."""
    optimizer, weight = Lookahead(keras.optimizers.SGD(0.0), 2), keras.Variable([1.0])
    optimizer.build([weight])
    weight.assign([5.0])
    for _ in range(4):
        optimizer.apply([tf.ones(1)], [weight])
    assert weight.numpy() == [5.0]


def test_a_constraint_holds_after_a_meeting():
    weight = keras.layers.Dense(1, kernel_constraint=keras.constraints.UnitNorm(axis=0))
    weight.build((None, 2))
    optimizer = Lookahead(keras.optimizers.SGD(0.9), 2)
    for _ in range(4):
        optimizer.apply([tf.constant([[1.0], [-2.0]]), tf.zeros(1)], weight.trainable_weights)
    assert np.linalg.norm(weight.kernel.numpy()) == pytest.approx(1.0, abs=1e-5)


def test_a_weight_without_a_gradient_stays():
    optimizer, weights = Lookahead("sgd", 2), [keras.Variable([0.1]), keras.Variable([0.7])]
    optimizer.build(weights)
    for _ in range(4):
        with pytest.warns(UserWarning, match="Gradients do not exist"):
            optimizer.apply([tf.ones(1), None], weights)
    assert weights[1].numpy() == np.float32([0.7])
    assert weights[0].numpy() < 0.1


def test_rate_and_iterations_are_those_inside():
    optimizer = Lookahead(keras.optimizers.SGD(0.5))
    outer = keras.optimizers.LossScaleOptimizer(optimizer)
    outer.learning_rate = 0.25
    assert float(optimizer.learning_rate) == float(optimizer.inner_optimizer.learning_rate) == 0.25
    assert optimizer.iterations is optimizer.inner_optimizer.iterations is outer.iterations
    optimizer = make_optimizer(optimizer, {"learning_rate": keras.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)})
    weight = keras.Variable([0.0])
    for _ in range(3):
        optimizer.apply([tf.ones(1)], [weight])
    assert float(optimizer.learning_rate) == 0.125


def test_an_update_that_overflows_is_left_out():
    optimizer = keras.optimizers.LossScaleOptimizer(Lookahead(keras.optimizers.SGD(1.0), 2), initial_scale=8.0)
    weight = keras.Variable([0.0])
    optimizer.build([weight])
    apply = tf.function(lambda gradient: optimizer.apply([gradient], [weight]))
    seen = []
    for gradient in (8.0, np.inf, 4.0, 2.0):  # scaled by 8, then by 4
        apply(tf.constant([gradient]))
        seen.append(float(weight.numpy()[0]))
    # -1; left out; -2, which meets at half the way; -1.5 again
    assert seen == [-1.0, -1.0, -1.0, -1.5]


def test_a_loss_scale_of_the_inner_optimizer_counts_once():
    optimizer = Lookahead(keras.optimizers.SGD(1.0, loss_scale_factor=4.0))
    weight = keras.Variable([0.0])
    assert float(optimizer.scale_loss(tf.constant(1.0))) == 4.0
    optimizer.apply([tf.constant([4.0])], [weight])
    assert weight.numpy() == [-1.0]
    keras.optimizers.LossScaleOptimizer(optimizer)
    assert optimizer.inner_optimizer.loss_scale_factor is None


def test_a_model_comes_back_from_a_file_with_its_state(toy, tmp_path):
    x, y = toy.data(32)
    model = toy.model()
    model.compile(Lookahead("adam", sync_period=4, slow_step_size=0.2), "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    found = again.optimizer
    assert (type(found), found.sync_period, found.slow_step_size, found.inner_optimizer.name) == (
        Lookahead,
        4,
        0.2,
        "adam",
    )
    for ours, theirs in zip(model.optimizer.variables, found.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    again.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    for ours, theirs in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


class StopAt(keras.callbacks.Callback):
    """Breaks a run off after so many steps, as a crash would: nothing is saved by it."""

    def __init__(self, step):
        super().__init__()
        self.steps = iter(range(1, step))

    def on_train_batch_end(self, batch, logs=None):
        if next(self.steps, None) is None:
            raise ZeroDivisionError


def test_a_run_that_is_broken_off_ends_with_the_weights_of_an_undisturbed_one(toy, task, tmp_path):
    data, start = toy.data(40), toy.model().get_weights()

    def run(folder, callbacks=()):
        model = toy.model()
        model.set_weights(start)
        optimizer = Lookahead("adam", sync_period=4)
        schedule = schedules.Warmup(0.1, "cosine")
        settings = {"learning_rate": 0.02, "schedule": schedule, "save_every": 3, "folder": folder, "progress": "off"}
        config = RunConfig(epochs=3, batch_size=8, optimizer=optimizer, **settings)
        return fit(model, data, task=task, callbacks=callbacks, config=config)

    whole = run(tmp_path / "whole", [StopAt(99)])
    with pytest.raises(ZeroDivisionError):
        run(tmp_path / "broken", [StopAt(8)])
    resumed = run(tmp_path / "broken", [StopAt(99)])
    assert (resumed.resumed, resumed.steps) == (True, 15)
    assert toy.digest(resumed.model) == toy.digest(whole.model)
    for ours, theirs in zip(resumed.model.optimizer.variables, whole.model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_a_plateau_lowers_the_rate_inside(toy, task):
    config = RunConfig(
        epochs=3,
        optimizer=Lookahead("sgd"),
        learning_rate=0.5,
        schedule=schedules.Plateau(factor=0.5, patience=1, min_delta=1e3),
        monitor=("loss", "min"),
        progress="off",
    )
    run = fit(toy.model(), toy.data(32), task=task, config=config)
    assert run.history["learning_rate"] == [0.5, 0.5, 0.25]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Lookahead("adam", sync_period=1), "sync_period must be an integer of 2"),
        (lambda: Lookahead("adam", slow_step_size=0.0), "slow_step_size must be a number from 1e-06"),
        (lambda: Lookahead("adan"), "unknown optimizer 'adan'"),
        (lambda: Lookahead(0.1), "Lookahead must be given a name or a Keras optimizer; got 0.1"),
        (lambda: Lookahead(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())), "Put the loss scaling around"),
        (lambda: Lookahead(keras.optimizers.SGD(gradient_accumulation_steps=2)), "accumulation=..."),
        (lambda: Lookahead("sgd").apply([tf.ones(1)]), "must be given variables"),
    ],
)
def test_wrong_settings_are_refused(make, text):
    with pytest.raises((ArgumentError, UnknownNameError), match=text):
        make()


def test_configs_keep_the_keys_of_saved_models():
    config = Lookahead("sgd", sync_period=3, slow_step_size=0.25).get_config()
    assert (config["every"], config["share"]) == (3, 0.25)
    loaded = Lookahead.from_config(config)
    assert (loaded.sync_period, loaded.slow_step_size) == (3, 0.25)
