"""Optimizers by name: weight decay and what is exempt from it, clipping, and settings that reach inside wrappers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError
from kerasdl.layers import ClassToken, PositionEmbedding
from kerasdl.train.optim.lookahead import Lookahead
from kerasdl.train.optim.optimizers import OPTIMIZERS, exempt_from_decay, make_optimizer, schedule_of
from kerasdl.train.optim.sharpness_aware import SharpnessAware
from kerasdl.train.optim.sparse_gradients import sum_repeated_rows

WRAPPERS = {"lookahead": lambda: Lookahead("adamw"), "sharpness_aware": lambda: SharpnessAware(Lookahead("sgd"))}
DECAYED = {
    "words/embeddings",
    *(f"attention/{part}/kernel" for part in ("query", "key", "value", "attention_output")),
    *(f"recurrent/gru_cell/{part}" for part in ("kernel", "recurrent_kernel")),
    "head/kernel",
}


def every_kind_of_weight():
    """A net that has vectors, biases and scales of 2 dimensions, tokens, and what decays."""
    tensor = keras.Input((5,), dtype="int32")
    x = keras.layers.Embedding(7, 6, name="words")(tensor)
    x = ClassToken(name="token")(x)
    x = PositionEmbedding(name="position")(x)
    x = keras.layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    x = keras.layers.LayerNormalization(axis=(1, 2), name="wide_norm")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.PReLU(name="slopes")(x)
    x = keras.layers.GRU(4, name="recurrent")(x)
    return keras.Model(tensor, keras.layers.Dense(2, name="head")(x))


@pytest.fixture(scope="module")
def net():
    return every_kind_of_weight()


def moved(optimizer, model, gradient=0.0):
    """Returns the paths of the weights that an update with equal gradients everywhere changes."""
    for weight in model.trainable_weights:
        weight.assign(tf.ones(weight.shape))
    optimizer.apply([tf.fill(weight.shape, gradient) for weight in model.trainable_weights], model.trainable_weights)
    return {weight.path for weight in model.trainable_weights if np.any(weight.numpy() != 1.0)}


@pytest.mark.parametrize("name", [*OPTIMIZERS, *WRAPPERS])
def test_an_update_without_gradients_moves_what_decays_and_nothing_else(name, net):
    source = WRAPPERS[name]() if name in WRAPPERS else name
    optimizer = make_optimizer(source, {"learning_rate": 0.5, "weight_decay": 0.1})
    left_out = exempt_from_decay(optimizer, net)
    assert moved(optimizer, net) == DECAYED
    assert {weight.path for weight in left_out} == {weight.path for weight in net.trainable_weights} - DECAYED
    for weight in net.trainable_weights:
        expected = 0.95 if weight.path in DECAYED else 1.0
        np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "muon", "lion"])
def test_without_the_rule_every_weight_decays_alike(name, net):
    optimizer = make_optimizer(name, {"learning_rate": 0.5, "weight_decay": 0.1})
    assert moved(optimizer, net) == {weight.path for weight in net.trainable_weights}
    assert {round(float(weight.numpy().ravel()[0]), 6) for weight in net.trainable_weights} == {0.95}


def test_the_rule_holds_in_a_compiled_step(net):
    optimizer = make_optimizer("adamw", {"learning_rate": 0.5, "weight_decay": 0.1})
    exempt_from_decay(optimizer, net)
    for weight in net.trainable_weights:
        weight.assign(tf.ones(weight.shape))
    optimizer.build(net.trainable_weights)
    zeros = [tf.zeros(weight.shape) for weight in net.trainable_weights]
    tf.function(lambda: optimizer.apply(zeros, net.trainable_weights))()
    assert {weight.path for weight in net.trainable_weights if np.any(weight.numpy() != 1.0)} == DECAYED


def test_the_rule_needs_a_model_that_is_built():
    with pytest.raises(ArgumentError, match="must be built before weights are exempted from decay"):
        exempt_from_decay(keras.optimizers.AdamW(), keras.Sequential([keras.layers.Dense(2)]))


GRADIENTS = [np.array([[3.0, -4.0], [0.0, 12.0]], np.float32), np.array([0.5, -84.0], np.float32)]
NORMS = [13.0, np.hypot(0.5, 84.0)]
CLIPPED = {
    "clipvalue": [np.clip(gradient, -2, 2) for gradient in GRADIENTS],
    "clipnorm": [gradient * 2 / norm for gradient, norm in zip(GRADIENTS, NORMS, strict=True)],
    "global_clipnorm": [gradient * 2 / np.hypot(*NORMS) for gradient in GRADIENTS],
}


@pytest.mark.parametrize("wrap", [lambda name: name, Lookahead, lambda name: SharpnessAware(Lookahead(name))])
@pytest.mark.parametrize("way", CLIPPED)
def test_clipping(way, wrap):
    optimizer = make_optimizer(wrap("sgd"), {"learning_rate": 1.0, way: 2.0})
    weights = [keras.Variable(np.zeros_like(gradient)) for gradient in GRADIENTS]
    optimizer.apply([tf.constant(gradient) for gradient in GRADIENTS], weights)
    for weight, expected in zip(weights, CLIPPED[way], strict=True):
        np.testing.assert_allclose(-weight.numpy(), expected, rtol=1e-5)
    optimizer = make_optimizer(wrap("sgd"), {"learning_rate": 1.0, way: 2e3})
    optimizer.apply([tf.constant(gradient) for gradient in GRADIENTS], weights)
    for weight, expected, gradient in zip(weights, CLIPPED[way], GRADIENTS, strict=True):
        np.testing.assert_allclose(-weight.numpy(), expected + gradient, rtol=1e-5)


@pytest.mark.parametrize("way", [None, *CLIPPED])
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_an_id_that_occurs_twice_counts_by_the_sum_of_its_slices(name, way):
    """Each update with folded slices is that with the dense gradient; without folding, Keras makes another one."""
    values, ids = [[[3.0, 0.0], [-1.0, 0.0], [0.0, 3.0]], [[3.0, 0.0], [-2.0, 0.0], [0.0, 3.0]]], [1, 1, 3]

    def after(prepare):
        table = keras.Variable(np.zeros((4, 2), np.float32))
        optimizer = make_optimizer(name, {"learning_rate": 0.1, **({way: 1.0} if way else {})})
        for value in values:
            optimizer.apply(
                [prepare(tf.IndexedSlices(tf.constant(value), tf.constant(ids), tf.constant([4, 2])))], [table]
            )
        return table.numpy()

    np.testing.assert_allclose(after(sum_repeated_rows), after(tf.convert_to_tensor), rtol=1e-5)
    if name == "adam" or way:
        assert np.abs(after(lambda slices: slices) - after(tf.convert_to_tensor)).max() > 1e-3


@pytest.mark.parametrize(
    ("source", "settings", "text"),
    [
        ("sgd", {"clipnorm": 1.0, "clipvalue": 1.0}, "at most one of"),
        (keras.optimizers.SGD(clipnorm=1.0), {"global_clipnorm": 1.0}, "at most one of"),
        (Lookahead(keras.optimizers.SGD(clipnorm=1.0)), {"clipvalue": 1.0}, "at most one of"),
        (keras.optimizers.SGD(use_ema=True), {}, r"use_ema=False; got True. Use RunConfig\(ema=...\)"),
        (Lookahead(keras.optimizers.SGD(use_ema=True)), {}, "use_ema=False"),
        (keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), {}, "must not scale the loss"),
        ("adam", {"momentum": 0.9}, "momentum must be None for Adam"),
        (Lookahead("adam"), {"momentum": 0.9}, "momentum must be None for Adam"),
    ],
)
def test_wrong_settings_are_refused(source, settings, text):
    with pytest.raises(ArgumentError, match=text):
        make_optimizer(source, settings)


def test_settings_reach_the_optimizer_inside():
    source = SharpnessAware(Lookahead("adamw", sync_period=3, slow_step_size=0.25), rho=0.1, adaptive=True)
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    settings = {"learning_rate": schedule, "global_clipnorm": 1.5, "use_ema": True, "ema_momentum": 0.9}
    made = make_optimizer(source, settings)
    inner = made.inner_optimizer.inner_optimizer
    assert (made.rho, made.adaptive, made.inner_optimizer.sync_period, made.inner_optimizer.slow_step_size) == (
        0.1,
        True,
        3,
        0.25,
    )
    assert (inner.global_clipnorm, inner.use_ema, inner.ema_momentum) == (1.5, True, 0.9)
    assert schedule_of(made).initial_learning_rate == 0.1
    assert schedule_of(keras.optimizers.LossScaleOptimizer(made)).decay_steps == 10
    assert schedule_of(source) is None
    assert source.inner_optimizer.inner_optimizer.global_clipnorm is None


def test_averages_are_switched_off_by_name():
    source = Lookahead(keras.optimizers.SGD(use_ema=True))
    assert make_optimizer(source, {"use_ema": False}).inner_optimizer.use_ema is False


def test_muon_takes_the_weight_decay_for_all_it_updates():
    made = make_optimizer("muon", {"weight_decay": 0.0})
    assert (made.weight_decay, made.adam_weight_decay) == (0.0, 0.0)
    assert make_optimizer("muon", {}).adam_weight_decay == 0.004
