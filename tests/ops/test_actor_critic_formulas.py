"""Formulas of actor-critics in float64 against integrals, closed forms and cases by hand."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from kerasdl import ops
from kerasdl.errors import ArgumentError


def log_density(unsquashed, mean, log_deviation):
    return np.asarray(ops.tanh_normal_log_density(*(np.asarray(each) for each in (unsquashed, mean, log_deviation))))


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (0.7, 0.3), (-2.0, 2.5)])
def test_density_is_the_slope_of_the_distribution_and_integrates_to_1(mean, deviation):
    action = np.linspace(-0.999, 0.999, 101)
    share = scipy.stats.norm(mean, deviation).cdf
    width = 1e-6 * (1 - np.abs(action))
    slope = (share(np.arctanh(action + width)) - share(np.arctanh(action - width))) / (2 * width)
    u = np.arctanh(action)[:, None]
    found = log_density(u, np.full((1, 1), mean), np.full((1, 1), np.log(deviation)))
    assert found.dtype == "float64"
    np.testing.assert_allclose(np.exp(found), slope, rtol=1e-5, atol=1e-7)
    u = np.linspace(mean - 12 * deviation, mean + 12 * deviation, 40_001)
    density = np.exp(log_density(u[:, None], np.full((1, 1), mean), np.full((1, 1), np.log(deviation))))
    assert np.trapezoid(density * (1 - np.tanh(u) ** 2), u) == pytest.approx(1.0, abs=1e-9)


def test_density_of_several_entries_is_the_sum():
    rng = np.random.default_rng(0)
    u, mean, log = rng.normal(size=(3, 5, 2))
    parts = [log_density(u[:, [each]], mean[:, [each]], log[:, [each]]) for each in (0, 1)]
    np.testing.assert_allclose(log_density(u, mean, log), parts[0] + parts[1], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_density_is_exact_where_tanh_rounds_to_1(dtype):
    u = np.array([[-60.0], [60.0]], dtype)
    assert (np.abs(np.tanh(u)) == 1).all()
    zero = np.zeros((1, 1), dtype)
    expected = -0.5 * 60.0**2 - 0.5 * np.log(2 * np.pi) - 2 * (np.log(2.0) - 60.0)
    np.testing.assert_allclose(log_density(u, zero, zero), expected, rtol=1e-6)


def test_the_gradient_of_the_density_is_finite_and_right_in_the_tails():
    u = tf.constant([[-40.0], [0.5], [40.0]], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(u)
        total = tf.reduce_sum(ops.tanh_normal_log_density(u, tf.zeros_like(u), tf.zeros_like(u)))
    np.testing.assert_allclose(tape.gradient(total, u), -u + 2 * np.tanh(u), rtol=1e-9)


def test_smoothed_actions_by_hand():
    actions, noise = np.array([[0.0, 0.9, -0.95, 0.1]]), np.array([[10.0, 1.0, -1.0, -0.5]])
    found = ops.smooth_actions(actions, noise, deviation=0.2, largest=0.5)
    np.testing.assert_allclose(found, [[0.5, 1.0, -1.0, 0.0]], atol=1e-12)
    np.testing.assert_array_equal(ops.smooth_actions(actions, noise, deviation=0.0, largest=0.5), actions)


def test_averages_leave_a_geometric_share_of_the_first_weights():
    target = np.array([1.0, -2.0])
    for _ in range(50):
        target = np.asarray(ops.polyak_average(target, np.array([5.0, 3.0]), 0.1))
    left = 0.9**50
    np.testing.assert_allclose(target, left * np.array([1.0, -2.0]) + (1 - left) * np.array([5.0, 3.0]), rtol=1e-12)
    np.testing.assert_array_equal(ops.polyak_average(target, np.zeros(2), 1.0), np.zeros(2))
    np.testing.assert_array_equal(ops.polyak_average(target, np.zeros(2), 0.0), target)


def test_soft_values_are_largest_at_the_softmax():
    rng = np.random.default_rng(1)
    values, alpha = rng.normal(size=(6, 4)), 0.7
    best = np.asarray(ops.soft_values(values, scipy.special.log_softmax(values / alpha, -1), alpha))
    np.testing.assert_allclose(best, alpha * scipy.special.logsumexp(values / alpha, -1), rtol=1e-12)
    for _ in range(20):
        logs = scipy.special.log_softmax(values / alpha + rng.normal(size=(6, 4)), -1)
        assert (np.asarray(ops.soft_values(values, logs, alpha)) < best).all()
    never = np.array([[0.0, -1e8]])  # a masked action
    assert float(ops.soft_values(np.array([[2.0, 9.0]]), never, alpha)[0]) == 2.0


def test_the_temperature_falls_by_the_surplus_of_entropy():
    log = tf.Variable(0.3, dtype=tf.float64)
    with tf.GradientTape() as tape:
        loss = ops.temperature_loss(log, np.array([0.5, -0.1]), -1.0)
    assert float(loss) == pytest.approx(0.3 * 1.2)
    assert float(tape.gradient(loss, log)) == pytest.approx(1.2)


@pytest.mark.parametrize("wrong", [-0.1, 1.5, float("nan"), None])
def test_rates_outside_0_to_1_are_refused(wrong):
    with pytest.raises(ArgumentError, match="rate must be a number from"):
        ops.polyak_average([1.0], [1.0], wrong)
    if wrong != 1.5:
        with pytest.raises(ArgumentError, match="deviation must be a number from"):
            ops.smooth_actions([0.0], [0.0], deviation=wrong, largest=0.5)
        with pytest.raises(ArgumentError, match="largest must be a number from"):
            ops.smooth_actions([0.0], [0.0], deviation=0.2, largest=wrong)
