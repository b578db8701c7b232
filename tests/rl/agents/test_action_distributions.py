"""Distributions of actions against scipy, sums over all actions, and drawn frequencies."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from kerasdl import rl
from kerasdl.errors import ArgumentError
from kerasdl.rl.agents.policies.distributions import distribution_of

SPACES = [rl.Discrete(3), rl.MultiDiscrete((2, 3)), rl.Box(-1.0, 1.0, (2,))]


def parameters(law, seed=0):
    size = 2 * law.width if hasattr(law, "width") else sum(law.sizes)
    return tf.constant(np.random.default_rng(seed).normal(size=(1, size)), tf.float32)


def all_actions(space):
    if isinstance(space, rl.Discrete):
        return np.arange(space.n, dtype="int32")
    return np.stack(np.meshgrid(*map(np.arange, space.sizes), indexing="ij"), -1).reshape(-1, 2).astype("int32")


@pytest.mark.parametrize("space", SPACES[:2])
def test_probabilities_of_whole_numbers_sum_to_1_and_give_entropy_and_divergence(space):
    law, actions = distribution_of(space), all_actions(space)
    old, new = (tf.repeat(parameters(law, seed), len(actions), 0) for seed in (0, 1))
    logs, new_logs = (law.log_probability(each, actions).numpy() for each in (old, new))
    assert np.exp(logs).sum() == pytest.approx(1.0, abs=1e-5)
    assert float(law.entropy(old)[0]) == pytest.approx(scipy.stats.entropy(np.exp(logs)), abs=1e-5)
    assert float(law.divergence(old, new)[0]) == pytest.approx(
        scipy.stats.entropy(np.exp(logs), np.exp(new_logs)), abs=1e-5
    )
    assert tuple(law.mode(old)[0].numpy().ravel()) == tuple(np.ravel(actions[logs.argmax()]))


@pytest.mark.parametrize("space", SPACES[:2])
def test_drawn_whole_numbers_have_their_probabilities(space):
    law, actions, count = distribution_of(space), all_actions(space), 20_000
    given = tf.repeat(parameters(law), count, 0)
    noise = tf.random.stateless_uniform((count, law.noise_size), (0, 0))
    drawn = law.sample(given, noise).numpy().reshape(count, -1)
    shares = [(drawn == np.ravel(action)).all(-1).sum() for action in actions]
    expected = np.exp(law.log_probability(given[: len(actions)], actions).numpy().astype(float)) * count
    assert scipy.stats.chisquare(shares, expected * np.sum(shares) / expected.sum()).pvalue > 1e-3


def test_normal_numbers_agree_with_scipy():
    law = distribution_of(SPACES[2])
    old, new = parameters(law), parameters(law, 1)
    (mean, log), (new_mean, new_log) = (np.split(each.numpy()[0].astype(float), 2) for each in (old, new))
    actions = np.array([[0.3, -2.0]], "float32")
    expected = scipy.stats.norm(mean, np.exp(log))
    assert float(law.log_probability(old, actions)[0]) == pytest.approx(expected.logpdf(actions[0]).sum(), rel=1e-5)
    assert float(law.entropy(old)[0]) == pytest.approx(expected.entropy().sum(), rel=1e-5)
    x = np.linspace(-30, 30, 200_001)[:, None]
    density = expected.pdf(x)
    apart = density * (expected.logpdf(x) - scipy.stats.norm(new_mean, np.exp(new_log)).logpdf(x))
    assert float(law.divergence(old, new)[0]) == pytest.approx(np.trapezoid(apart, x, axis=0).sum(), rel=1e-3)
    noise = tf.random.stateless_uniform((20_000, 2), (0, 0))
    drawn = law.sample(tf.repeat(old, 20_000, 0), noise).numpy()
    assert scipy.stats.kstest((drawn[:, 0] - mean[0]) / np.exp(log[0]), "norm").pvalue > 1e-3


def test_a_masked_action_is_never_drawn_and_adds_no_entropy():
    law = distribution_of(rl.Discrete(3))
    masked = law.masked(tf.constant([[5.0, 0.0, 0.0]]), tf.constant([[False, True, True]]))
    drawn = law.sample(tf.repeat(masked, 1000, 0), tf.random.stateless_uniform((1000, 3), (0, 0)))
    assert set(drawn.numpy()) == {1, 2}
    assert float(law.entropy(masked)[0]) == pytest.approx(np.log(2), abs=1e-5)
    assert law.masked(masked, None) is masked


def test_a_mask_of_real_numbers_is_refused():
    law = distribution_of(SPACES[2])
    with pytest.raises(ArgumentError, match="needs whole-number actions"):
        law.masked(parameters(law), tf.constant([[True]]))
    with pytest.raises(ArgumentError, match="action_space must be"):
        distribution_of("left")
