"""Divergence of shares by its formula, and Jacobian norms of a linear map and a network by their entries."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core import ArgumentError
from kerasdl.ops import jacobian_norms, share_divergence


def test_divergence_is_that_of_two_coins():
    shares = np.array([0.05, 0.2, 0.9])
    expected = 0.05 * np.log(0.05 / shares) + 0.95 * np.log(0.95 / (1 - shares))
    np.testing.assert_allclose(share_divergence(shares, 0.05), expected, rtol=1e-12)
    assert abs(float(share_divergence(shares, 0.05)[0])) < 1e-12
    assert np.isfinite(share_divergence(np.array([0.0, 1.0]), 0.05)).all()
    with pytest.raises(ArgumentError, match="target"):
        share_divergence(shares, 0.0)


def test_a_basis_gives_the_frobenius_norm():
    rng = np.random.default_rng(0)
    matrix, x = rng.normal(size=(5, 3)), rng.normal(size=(4, 5))
    basis = np.repeat(np.eye(5)[:, None], 4, axis=1)  # (K, B, D)

    def squared(each):
        return tf.square(each @ matrix)

    jacobian = 2 * (x @ matrix)[:, :, None] * matrix.T[None]
    np.testing.assert_allclose(jacobian_norms(squared, x, basis), np.square(jacobian).sum((1, 2)), rtol=1e-12)


def test_random_signs_give_it_on_the_average_and_the_gradient_flows():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 3))
    matrix = tf.Variable(rng.normal(size=(3, 4)))
    signs = rng.choice([-1.0, 1.0], (4000, 1, 3)) * np.ones((1, 2, 1))
    with tf.GradientTape() as tape:
        found = jacobian_norms(lambda each: each @ matrix, x, signs[:40])
        total = tf.reduce_sum(found)
    expected = 2 * sum(np.outer(each, each @ matrix.numpy()) for each in signs[:40].reshape(-1, 3))
    np.testing.assert_allclose(tape.gradient(total, matrix), expected, rtol=1e-10)
    every = np.square(signs[:, 0] @ matrix.numpy()).sum(1).mean()
    assert every == pytest.approx(np.square(matrix.numpy()).sum(), rel=0.05)


def test_a_function_without_effect_and_other_shapes():
    assert jacobian_norms(lambda each: tf.zeros_like(each), tf.ones((2, 3)), tf.ones((1, 2, 3))).numpy().tolist() == [
        0,
        0,
    ]
    convolution = keras.layers.Conv2D(2, 3, padding="same")
    assert jacobian_norms(convolution, tf.ones((2, 4, 4, 1)), tf.ones((2, 2, 4, 4, 1))).shape == (2,)
    with pytest.raises(ArgumentError, match="directions must be"):
        jacobian_norms(tf.identity, tf.ones((2, 3)), tf.ones((2, 3)))
