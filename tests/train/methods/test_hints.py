"""Hints: the regression by hand, what it moves, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError
from kerasdl.train import FeatureDistiller, RunConfig, distill_features, fit


def settings(**more):
    return RunConfig(**{"epochs": 2, "batch_size": 8, "progress": "off", **more})


def test_a_step_is_the_regression_by_hand(toy):
    x, y = toy.data(24)
    student, teacher = toy.model(width=6), toy.model(width=9)
    pupil = FeatureDistiller(student, teacher, "hidden", "hidden")
    hidden, regressor = student.get_layer("hidden"), pupil.main.get_layer("hint_regressor")
    weights = tf.constant(np.where(y == 1, 3.0, 0.5), tf.float32)
    with tf.GradientTape() as tape:
        missing = teacher.get_layer("hidden")(x) - regressor(hidden(x))
        loss = tf.reduce_mean(weights * tf.reduce_mean(missing**2, -1))
    parts = [hidden.kernel, hidden.bias, regressor.kernel, regressor.bias]
    wanted = [part - 0.1 * slope for part, slope in zip(parts, tape.gradient(loss, parts), strict=True)]
    config = settings(steps=1, batch_size=24, optimizer="sgd", learning_rate=0.1, class_weights={0: 0.5, 1: 3.0})
    fit(pupil, (x, y), loss=keras.losses.MeanSquaredError(), metrics=[], config=config)
    for part, expected in zip(parts, wanted, strict=True):
        np.testing.assert_allclose(part.numpy(), expected, atol=1e-6)


def test_a_weight_counts_for_its_example_and_not_for_columns():
    keras.utils.set_random_seed(0)
    tensor = keras.Input((5, 5, 1))
    student, teacher = (keras.Model(tensor, keras.layers.Conv2D(n, 3, name="conv")(tensor)) for n in (2, 3))
    pupil = FeatureDistiller(student, teacher, "conv", "conv")
    x, weights = tf.random.normal((4, 5, 5, 1), seed=0), np.float32([1, 2, 0, 5])
    pupil.compile("sgd", loss="mse")
    given = pupil.compute_loss(x, None, pupil(x), weights)
    squares = np.square(teacher(x).numpy() - pupil(x).numpy()).mean((1, 2, 3))
    assert float(given) == pytest.approx((weights * squares).mean(), rel=1e-5)


def test_a_student_comes_to_know_its_teachers_features(toy):
    student, teacher = toy.model(width=16), toy.model(width=8)
    before, known = toy.digest(teacher), student.get_layer("head").kernel.numpy()
    config = settings(epochs=40, learning_rate=0.02)
    run = distill_features(
        student, teacher, toy.data(128), guided="hidden", hint="hidden", validation=toy.data(64, seed=1), config=config
    )
    assert run.model is student
    assert run.history["val_loss"][-1] < 0.1 * run.history["val_loss"][0]
    assert toy.digest(teacher) == before
    np.testing.assert_array_equal(student.get_layer("head").kernel, known)


def test_what_gives_no_hint_is_refused(toy):
    student, teacher, data = toy.model(), toy.model(), toy.data()
    with pytest.raises(ArgumentError, match="guided must name a layer"):
        distill_features(student, teacher, data, guided="conv", hint="hidden")
    with pytest.raises(ArgumentError, match="hint must name a layer"):
        distill_features(student, teacher, data, guided="hidden", hint="conv")
    with pytest.raises(ArgumentError, match="share no weight"):
        distill_features(student, student, data, guided="hidden", hint="hidden")
    tensor = keras.Input((4, 4, 1))
    pictures = keras.Model(tensor, keras.layers.Conv2D(3, 3, name="conv")(tensor))
    with pytest.raises(ArgumentError, match="but for the last axis"):
        distill_features(student, pictures, data, guided="hidden", hint="conv")
