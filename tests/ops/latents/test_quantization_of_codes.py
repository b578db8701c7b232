"""Nearest entries by loops, gradients straight through, every code of finite scalars once, perplexities by hand."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core import ArgumentError
from kerasdl.ops import code_perplexity, finite_scalar_indices, finite_scalars, nearest_codes, straight_through


def test_nearest_codes_are_those_of_loops():
    rng = np.random.default_rng(0)
    vectors, codebook = rng.normal(size=(3, 5, 4)), rng.normal(size=(7, 4))
    distances = np.square(vectors[:, :, None] - codebook).sum(-1)
    assert np.array_equal(nearest_codes(vectors, codebook), distances.argmin(-1))
    assert nearest_codes(np.zeros((1, 2)), np.array([[1.0, 0], [-1, 0]])).numpy().tolist() == [0]  # as near: the first


def test_gradients_pass_unchanged():
    vectors = tf.Variable([0.2, -0.7], dtype=tf.float64)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(straight_through(tf.round(vectors), vectors) * [3.0, 5.0])
    assert value.numpy() == -5
    np.testing.assert_allclose(tape.gradient(value, vectors), [3, 5])


@pytest.mark.parametrize("levels", [(2,), (3, 4), (5, 2, 8)])
def test_every_code_is_reached_and_has_its_own_number(levels):
    x = np.stack([each.ravel() for each in np.meshgrid(*[np.linspace(-6, 6, 121)] * len(levels))], axis=1)
    codes = finite_scalars(x, levels)
    numbers = finite_scalar_indices(codes, levels).numpy()
    assert sorted(set(numbers)) == list(range(int(np.prod(levels))))
    assert len(set(map(tuple, np.round(codes.numpy(), 6)))) == np.prod(levels)
    for place, each in enumerate(levels):
        expected = (np.arange(each) - each // 2) / (each // 2)
        np.testing.assert_allclose(sorted(set(np.round(codes.numpy()[:, place], 6))), expected, atol=1e-6)
    by_hand = [digits[::-1] for digits in itertools.product(*[range(each) for each in levels[::-1]])]
    for number, code in zip(numbers[:50], codes.numpy()[:50], strict=True):
        half = np.array(levels) // 2
        np.testing.assert_allclose(code * half + half, by_hand[number], atol=1e-6)


def test_bounded_numbers_give_their_gradient():
    x = tf.Variable([[0.3]], dtype=tf.float64)
    with tf.GradientTape() as tape:
        value = finite_scalars(x, (3,))
    assert value.numpy().item() == pytest.approx(0, abs=1e-12)
    assert tape.gradient(value, x).numpy().item() == pytest.approx((1 - np.tanh(0.3) ** 2) * 0.999)
    for wrong in ((1,), (3, 3), ()):
        with pytest.raises(ArgumentError):
            finite_scalars(x, wrong)


def test_perplexities_by_hand():
    assert code_perplexity(np.full(8, 3.0)).numpy() == pytest.approx(8)
    assert code_perplexity(np.array([9.0, 0, 0])).numpy() == pytest.approx(1)
    assert code_perplexity(np.zeros(4)).numpy() == pytest.approx(1)
    assert code_perplexity(np.array([3.0, 1.0])).numpy() == pytest.approx(4 / 3**0.75)
