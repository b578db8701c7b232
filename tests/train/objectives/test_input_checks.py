"""Data that do not fit the model are refused in one line by all that trains it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError, DataError, KerasdlError, TrainingError
from kerasdl.data import as_dataset, load
from kerasdl.train import RunConfig, find_batch_size, find_learning_rate, fit, profile_step

QUIET = {"progress": "off", "strategy": None, "epochs": 1, "batch_size": 8}
SPARSE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def coloured():
    tensor = keras.Input((32, 32, 3))
    return keras.Model(tensor, keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(tensor)))


def test_grey_digits_into_a_net_of_colours_are_refused_with_both_shapes():
    grey, right = load("digits").take(16), load("digits", image_shape=(32, 32, 3)).take(16)
    calls = {
        "fit": lambda: fit(coloured(), grey, config=RunConfig(**QUIET)),
        "validation": lambda: fit(coloured(), right, validation=grey, config=RunConfig(**QUIET)),
        "rate": lambda: find_learning_rate(coloured(), grey),
        "batch": lambda: find_batch_size(coloured(), grey),
        "profile": lambda: profile_step(coloured(), grey),
    }
    for name, call in calls.items():
        with pytest.raises(ArgumentError, match=r"32, 32, 3.*got.*32, 32, 1.*image_shape=") as caught:
            call()
        assert "\n" not in str(caught.value), name
        assert ("validation" in str(caught.value)) == (name == "validation")


def dense():
    tensor = keras.Input((4,))
    return keras.Model(tensor, keras.layers.Dense(2)(tensor))


def test_inputs_that_are_not_finite_are_refused_unless_the_model_fills_them():
    x, y = np.random.default_rng(0).normal(size=(16, 4)), np.arange(16) % 2
    x[5, 1], x[9, 0] = np.nan, np.inf
    with pytest.raises(TrainingError, match="not finite at step"):
        fit(dense(), (x, y), loss=SPARSE, config=RunConfig(**QUIET))
    words = "validation data must be finite; 2 of 16 examples hold NaN or infinity, number 5 first"
    with pytest.raises(DataError, match=words):
        fit(dense(), (x[:5], y[:5]), validation=(x, y), loss=SPARSE, config=RunConfig(**QUIET))

    @keras.saving.register_keras_serializable("tests")
    class Filled(keras.layers.Layer):
        """Puts 0 where a figure is missing."""

        def call(self, x):
            return keras.ops.where(keras.ops.isfinite(x), x, 0.0)

    tensor = keras.Input((4,))
    model = keras.Model(tensor, keras.layers.Dense(2)(Filled()(tensor)))
    run = fit(model, (x, y), validation=(x, y), loss=SPARSE, config=RunConfig(**QUIET))
    assert np.isfinite(run.history["val_loss"][0])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((np.zeros((3, 4)), np.zeros(2, int)), "one length.*3 and 2"),
        ((np.zeros((0, 4)), np.zeros(0, int)), "1 or more; got 0 and 0"),
        ((np.zeros((3, 4)), 1), "one length.*no length"),
        ((np.zeros((3, 4)), ["cat", "dog", "cat"]), "must be numbers.*np.unique"),
        ((np.zeros((3, 4)), np.array(["cat", "dog", "cat"], object)), "must be numbers.*np.unique"),
        ((np.zeros((3, 4)), [0, None, 1]), "labels must be numbers.*NoneType"),
        ((np.array([[1, None], [2, 3]], object), [0, 1]), "inputs must be numbers.*NoneType"),
        (({"a": np.zeros((3, 4))}, np.zeros(3, int)), "by name where every input"),
        (([np.zeros((3, 4)), np.zeros((3, 2))], np.zeros(3, int)), "must have 1 input for"),
        ((np.zeros((3, 4)), [np.zeros(3), np.zeros((3, 1))]), "one for each of the 1 outputs"),
        ((np.zeros((3, 4)), [np.zeros(3), np.zeros((3, 2))]), "one for each of the 1 outputs"),
        ((np.zeros((3, 4)), [np.array([1.0, None], object), np.zeros(3)]), "differ in their length alone"),
        ((np.zeros((3, 4)), np.zeros(3, int), np.ones(2)), "one length.*3 and 3 and 2"),
        (tf.data.Dataset.from_tensor_slices(np.zeros((8, 4))).batch(4), "must have labels"),
        (tf.data.Dataset.from_tensor_slices((np.zeros((8, 4)), np.zeros(8, int))), "batch"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_arrays_that_are_no_examples_are_refused_in_a_line(data, words):
    with pytest.raises(KerasdlError, match=words) as caught:
        fit(dense(), data, loss=SPARSE, config=RunConfig(**QUIET))
    assert "\n" not in str(caught.value)


def test_whole_numbers_beyond_32_bits_are_kept():
    labels = np.array([1, 2**40])  # no name for each up to there
    assert as_dataset((np.zeros((2, 1)), labels)).source.labels.tolist() == labels.tolist()
    assert as_dataset((np.zeros((2, 1)), np.arange(2))).source.labels.dtype == np.int32


@pytest.mark.parametrize("part", ["inputs", "labels"])
def test_validation_pipelines_that_are_not_finite_are_refused(part):
    x, y = np.zeros((8, 4), "float32"), np.zeros((8, 2), "float32")
    train = tf.data.Dataset.from_tensor_slices((x.copy(), y.copy())).batch(4)
    (x if part == "inputs" else y)[5, 1] = np.nan
    held = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    with pytest.raises(DataError, match="validation data must be finite; batch 1 holds NaN"):
        fit(dense(), train, validation=held, loss="mse", config=RunConfig(**QUIET))
    fit(dense(), train, validation=held, loss="mse", config=RunConfig(**QUIET, validation_steps=1))


class Rivals(keras.Model):
    """Two networks, an optimizer for each and none in common, as in Keras's guide to GANs."""

    def __init__(self):
        super().__init__()
        self.maker, self.judge = dense(), dense()
        self.maker.build((None, 4))
        self.judge.build((None, 4))

    def compile(self, maker_optimizer, judge_optimizer):
        super().compile()
        self.maker_optimizer, self.judge_optimizer = maker_optimizer, judge_optimizer

    def call(self, x):
        return self.maker(x)

    def train_step(self, data):
        losses = []
        for net, optimizer in ((self.maker, self.maker_optimizer), (self.judge, self.judge_optimizer)):
            with tf.GradientTape() as tape:
                losses.append(tf.reduce_mean(tf.square(net(data[0]))))
            optimizer.apply(tape.gradient(losses[-1], net.trainable_weights), net.trainable_weights)
        return {"g_loss": losses[0], "d_loss": losses[1]}


def rivals():
    model = Rivals()
    model.compile(keras.optimizers.Adam(0.1), keras.optimizers.Adam(0.2))
    model(np.zeros((1, 4), "float32"))
    return model, (np.ones((8, 4), "float32"), np.zeros(8, int))


def test_each_of_two_optimizers_is_built_for_its_own_network():
    model, data = rivals()
    before = [weight.numpy() for weight in model.judge.trainable_weights]
    run = fit(model, data, config=RunConfig(**QUIET | {"epochs": 2, "strategy": None}))
    assert len(model.maker_optimizer.variables) == 2 + 2 * len(model.maker.trainable_weights)  # not for both networks
    assert not model.optimizer.built
    assert set(run.history) == {"g_loss", "d_loss"}  # and no learning rate of an optimizer that is not used
    assert any(np.any(weight.numpy() != old) for weight, old in zip(model.judge.trainable_weights, before, strict=True))


def test_two_optimizers_that_are_not_built_are_refused_in_parts():
    model, data = rivals()
    with pytest.raises(ArgumentError, match="several optimizers must be built for its own variables"):
        fit(model, data, config=RunConfig(**QUIET | {"accumulation": 2, "strategy": None}))


@pytest.mark.parametrize("name", ["loss_scale", "lossless", "dloss"])
def test_what_may_be_a_loss_or_not_is_refused_in_parts(name):
    class Named(keras.Model):
        def train_step(self, data):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(self(data[0])))
            self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
            return {"g_loss": loss, name: loss}

    tensor = keras.Input((4,))
    model = Named(tensor, keras.layers.Dense(2)(tensor))
    model.compile("sgd")
    with pytest.raises(ArgumentError, match=f"must be called 'loss' or '..._loss'; got .'{name}'"):
        fit(model, rivals()[1], config=RunConfig(**QUIET | {"accumulation": 2, "strategy": None}))


def test_alternating_updates_are_refused_in_parts():
    model, data = rivals()
    model.maker_optimizer.build(model.maker.trainable_weights)
    model.judge_optimizer.build(model.judge.trainable_weights)
    model.optimizer = None
    with pytest.raises(
        ArgumentError, match="makes one update, or computes all gradients before the first; got 'a second"
    ):
        fit(model, data, config=RunConfig(**QUIET | {"accumulation": 2, "strategy": None}))
