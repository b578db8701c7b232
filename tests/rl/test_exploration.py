"""Exploration: laws in closed form, draws by them, masks."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from kerasdl.core.errors import ArgumentError
from kerasdl.rl.agents.exploration import draw_actions, exploration_law, linear_schedule

VALUES = tf.constant([[1.0, 2.0, 2.0, -1.0], [0.0, 0.5, 3.0, 1.0]])
MASK = tf.constant([[True, False, True, True], [True, True, False, True]])


def test_epsilon_greedy_shares_the_rest_among_the_best():
    np.testing.assert_allclose(
        exploration_law(VALUES, 0.4, "epsilon_greedy"), [[0.1, 0.4, 0.4, 0.1], [0.1, 0.1, 0.7, 0.1]], atol=1e-6
    )
    law = exploration_law(VALUES, 0.3, "epsilon_greedy", MASK)
    np.testing.assert_allclose(law, [[0.1, 0.0, 0.8, 0.1], [0.1, 0.1, 0.0, 0.8]], atol=1e-6)


def test_boltzmann_is_the_softmax_of_values_over_temperature():
    powers = np.exp(VALUES.numpy() / 0.7)
    law = exploration_law(VALUES, 0.7, "boltzmann")
    np.testing.assert_allclose(law, powers / powers.sum(-1, keepdims=True), rtol=1e-5)
    powers *= MASK.numpy()
    law = exploration_law(VALUES, 0.7, "boltzmann", MASK)
    np.testing.assert_allclose(law, powers / powers.sum(-1, keepdims=True), rtol=1e-5)


def test_draws_follow_the_law():
    law = exploration_law(VALUES, 0.4, "epsilon_greedy", MASK)[:1]
    noise = tf.constant(np.random.default_rng(0).random(20_000), tf.float32)
    counts = np.bincount(draw_actions(tf.repeat(law, 20_000, 0), noise), minlength=4)
    assert counts[1] == 0
    expected = law.numpy()[0, [0, 2, 3]].astype(float)
    assert stats.chisquare(counts[[0, 2, 3]], 20_000 * expected / expected.sum()).pvalue > 0.001
    edges = draw_actions(tf.constant([[0.0, 1.0, 0.0]] * 2), tf.constant([0.0, 1.0]))
    assert edges.numpy().tolist() == [1, 1]


def test_schedule_is_a_line_and_then_stays():
    at = tf.constant([0.0, 0.1, 0.2, 1.0])
    np.testing.assert_allclose(linear_schedule(at, 1.0, 0.5, 0.2), [1.0, 0.75, 0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(linear_schedule(at, 1.0, 0.5, 0.0), 0.5)
    with pytest.raises(ArgumentError, match="one of"):
        exploration_law(VALUES, 0.1, "greedy")
