"""SAM and ASAM against their closed forms: their displacement, what an update is, and that weights come back."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasdl.core.errors import ArgumentError
from kerasdl.train.optim.lookahead import Lookahead
from kerasdl.train.optim.sharpness_aware import SharpnessAware, sharpness_of

CURVATURE = np.diag([4.0, 1.0, 0.25])
RATE = 0.1


def top(weights, gradient, rho, adaptive):
    size = np.abs(weights) + 0.01 if adaptive else np.ones_like(weights)
    return weights + rho * size**2 * gradient / np.linalg.norm(size * gradient)


@pytest.mark.parametrize("scale", [1.0, 1024.0])
@pytest.mark.parametrize("adaptive", [False, True])
def test_updates_on_a_quadratic(adaptive, scale):
    """The loss x A x / 2 has the gradient A x; a loss scale changes nothing but itself."""
    rho = 0.5 if adaptive else 0.05
    inner = keras.optimizers.SGD(RATE, momentum=0.5, loss_scale_factor=scale)
    optimizer = SharpnessAware(inner, rho=rho, adaptive=adaptive)
    start = np.array([1.0, -2.0, 3.0])
    weights = [keras.Variable(part, dtype="float32") for part in (start[:1], start[1:].reshape(2, 1))]
    optimizer.build(weights)
    matrix = tf.constant(CURVATURE, tf.float32)

    def gradients():
        with tf.GradientTape() as tape:
            x = tf.concat([tf.reshape(weight, [-1]) for weight in weights], 0)
            loss = optimizer.scale_loss(tf.tensordot(x, tf.linalg.matvec(matrix, x), 1) / 2)
        return tape.gradient(loss, weights)

    @tf.function
    def step():
        first = gradients()
        kept = optimizer.move(weights, optimizer.displacements(first, weights))
        second = gradients()
        optimizer.restore(weights, kept)
        optimizer.apply(second, weights)

    x, velocity = start, 0.0
    for _ in range(5):
        step()
        velocity = 0.5 * velocity - RATE * CURVATURE @ top(x, CURVATURE @ x, rho, adaptive)
        x = x + velocity
    found = np.concatenate([weight.numpy().ravel() for weight in weights])
    np.testing.assert_allclose(found, x, rtol=1e-5)
    assert int(optimizer.iterations) == 5


@given(st.integers(0, 10_000), st.booleans(), st.booleans())
@settings(max_examples=12, deadline=None)
def test_weights_come_back_bit_for_bit(seed, adaptive, compiled):
    """Adding and taking away again would not do: most sums round."""
    rng = np.random.default_rng(seed)
    values = [np.float32(rng.normal(size=size) * 10.0 ** rng.integers(-6, 6)) for size in (7, (5, 3))]
    weights = [keras.Variable(value) for value in values]
    gradients = [tf.constant(rng.normal(size=value.shape), tf.float32) for value in values]
    optimizer = SharpnessAware("sgd", rho=0.3, adaptive=adaptive)

    def there_and_back():
        with optimizer.displaced(gradients, weights):
            return [tf.identity(weight.value) for weight in weights]

    there = (tf.function(there_and_back) if compiled else there_and_back)()
    for weight, value, displaced in zip(weights, values, there, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
        assert np.any(displaced.numpy() != value)


def test_an_error_inside_brings_the_weights_back_too():
    weight = keras.Variable([0.1, 0.2])
    with pytest.raises(ZeroDivisionError), SharpnessAware("sgd").displaced([tf.ones(2)], [weight]):
        raise ZeroDivisionError
    np.testing.assert_array_equal(weight.numpy(), np.float32([0.1, 0.2]))


def test_gradients_of_zero_none_and_rows():
    weights = [keras.Variable([1.0, 2.0]), keras.Variable(np.ones((3, 1), np.float32)), keras.Variable([1.0])]
    optimizer = SharpnessAware("sgd", rho=1.0)
    steps = optimizer.displacements([tf.zeros(2), tf.zeros((3, 1)), tf.zeros(1)], weights)
    assert all(not step.numpy().any() for step in steps)
    rows = tf.IndexedSlices(tf.constant([[1.0], [2.0]]), tf.constant([2, 2]), tf.constant([3, 1]))
    first, second, third = optimizer.displacements([tf.constant([0.0, 4.0]), rows, None], weights)
    assert third is None
    np.testing.assert_allclose(first.numpy(), [0.0, 0.8], rtol=1e-6)
    np.testing.assert_allclose(second.numpy().ravel(), [0.0, 0.0, 0.6], rtol=1e-6)


def test_it_is_found_inside_wrappers_and_comes_back_from_its_config():
    inner = SharpnessAware("adam", rho=0.2, adaptive=True)
    outer = keras.optimizers.LossScaleOptimizer(Lookahead(inner))
    assert sharpness_of(outer) is inner
    assert sharpness_of(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())) is sharpness_of(None) is None
    again = keras.optimizers.deserialize(keras.optimizers.serialize(outer))
    found = sharpness_of(again)
    assert (found.rho, found.adaptive, type(found.inner_optimizer)) == (0.2, True, keras.optimizers.Adam)


def test_it_does_not_stay_in_a_sharp_valley():
    """On min(60 (x + 0.1)^2, (x - 2)^2 / 4 + 0.02), whose sharp valley ends at 0.03: plain descent stays in it."""

    def end(optimizer, sharpness):
        weight = keras.Variable(-0.2)
        optimizer.build([weight])

        def gradients():
            with tf.GradientTape() as tape:
                loss = tf.minimum(60 * (weight + 0.1) ** 2, (weight - 2) ** 2 / 4 + 0.02)
            return tape.gradient(loss, [weight])

        @tf.function
        def step():
            found = gradients()
            if sharpness is not None:
                with sharpness.displaced(found, [weight]):
                    found = gradients()
            optimizer.apply(found, [weight])

        for _ in range(600):
            step()
        return float(weight.numpy())

    plain, wary = keras.optimizers.SGD(0.01), SharpnessAware(keras.optimizers.SGD(0.01), rho=0.3)
    assert end(plain, None) == pytest.approx(-0.1, abs=0.01)
    assert end(wary, wary) > 0.1


def test_wrong_settings_are_refused():
    with pytest.raises(ArgumentError, match="rho must be a number from 1e-12"):
        SharpnessAware("sgd", rho=0.0)
