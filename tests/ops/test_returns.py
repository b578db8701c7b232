"""Returns and advantages against the loops of their definitions, and closed forms."""

import numpy as np
import pytest

from kerasdl import ops
from kerasdl.errors import ArgumentError

T, N, DISCOUNT, DECAY = 23, 4, 0.9, 0.8


@pytest.fixture(scope="module")
def rollout():
    """rewards, values, next_values, terminated, ended: random, with ends of both kinds."""
    rng = np.random.default_rng(0)
    rewards, values, next_values = rng.normal(size=(3, T, N)).astype("float32")
    terminated = rng.random((T, N)) < 0.1
    ended = terminated | (rng.random((T, N)) < 0.1)
    assert terminated.any()
    assert (ended & ~terminated).any()
    return rewards, values, next_values, terminated, ended


def by_loop(step):
    """Returns y of y[t] = step(t, is y[t + 1] of the same episode, y[t + 1]), from the last step on."""
    result = np.zeros((T, N))
    for t in reversed(range(T)):
        result[t] = step(t, result[t + 1] if t + 1 < T else None)
    return result


def test_lambda_returns_are_their_recursion(rollout):
    rewards, _, next_values, terminated, ended = rollout

    def step(t, later):
        cut = ended[t] if later is not None else np.ones(N, bool)
        later = np.where(cut, next_values[t], 0.0 if later is None else later)
        return rewards[t] + DISCOUNT * ~terminated[t] * ((1 - DECAY) * next_values[t] + DECAY * later)

    found = ops.lambda_returns(rewards, next_values, terminated, ended, discount=DISCOUNT, decay=DECAY)
    np.testing.assert_allclose(found, by_loop(step), rtol=1e-5, atol=1e-5)


def test_advantages_are_lambda_returns_without_the_values(rollout):
    rewards, values, next_values, terminated, ended = rollout
    settings = {"discount": DISCOUNT, "decay": DECAY}
    # The recursion of advantages takes V(s[t + 1]) from `values`, so both agree where next_values are those values.
    joined = np.concatenate([values[1:], next_values[-1:]])
    joined = np.where(ended, next_values, joined)
    found = ops.generalized_advantages(rewards, values, joined, terminated, ended, **settings)
    returns = ops.lambda_returns(rewards, joined, terminated, ended, **settings)
    np.testing.assert_allclose(found, returns - values, rtol=1e-4, atol=1e-5)


def test_advantages_are_discounted_sums_of_differences(rollout):
    rewards, values, next_values, terminated, ended = rollout
    differences = rewards + DISCOUNT * ~terminated * next_values - values
    expected = np.zeros((T, N))
    for n in range(N):
        for t in range(T):
            for later in range(t, T):
                expected[t, n] += (DISCOUNT * DECAY) ** (later - t) * differences[later, n]
                if ended[later, n]:
                    break
    found = ops.generalized_advantages(*rollout, discount=DISCOUNT, decay=DECAY)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_discounted_returns_of_a_constant_reward_are_the_geometric_series():
    zeros = np.zeros(50)
    end = zeros.astype(bool)
    end[-1] = True
    found = ops.discounted_returns(np.ones(50), zeros, end, end, discount=0.9)
    np.testing.assert_allclose(found, (1 - 0.9 ** np.arange(50, 0, -1)) / 0.1, rtol=1e-5)


def test_a_cut_episode_has_the_value_of_its_successor_and_a_terminated_one_has_not():
    ones, no, yes = np.ones(1), np.array([False]), np.array([True])
    cut = ops.discounted_returns(ones, 10 * ones, no, yes, discount=0.5)
    terminated = ops.discounted_returns(ones, 10 * ones, yes, yes, discount=0.5)
    assert (float(cut[0]), float(terminated[0])) == (6.0, 1.0)


@pytest.mark.parametrize("steps", [1, 3, 40])
def test_n_step_returns_sum_n_rewards(rollout, steps):
    rewards, _, next_values, terminated, ended = rollout
    expected = np.zeros((T, N))
    for n in range(N):
        for t in range(T):
            for later in range(t, min(t + steps, T)):
                expected[t, n] += DISCOUNT ** (later - t) * rewards[later, n]
                last = later == min(t + steps, T) - 1
                if ended[later, n] or last:
                    follows = DISCOUNT ** (later - t + 1) * next_values[later, n]
                    expected[t, n] += 0.0 if terminated[later, n] else follows
                    break
    found = ops.n_step_returns(rewards, next_values, terminated, ended, discount=DISCOUNT, steps=steps)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_v_trace_of_the_same_policy_is_the_discounted_return():
    rng = np.random.default_rng(1)
    values = rng.normal(size=T + 1).astype("float32")
    rewards, no = rng.normal(size=T), np.zeros(T, bool)
    found, advantages = ops.v_trace(rewards, values[:-1], values[1:], no, no, np.zeros(T), discount=DISCOUNT)
    expected = ops.discounted_returns(rewards, values[1:], no, no, discount=DISCOUNT)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(advantages, expected - values[:-1], rtol=1e-4, atol=1e-5)


def test_v_trace_is_the_sum_of_the_paper(rollout):
    rewards, values, next_values, terminated, ended = rollout
    ratios = np.random.default_rng(2).uniform(0.2, 2.0, (T, N))
    differences = np.minimum(1.0, ratios) * (rewards + DISCOUNT * ~terminated * next_values - values)
    expected = values.astype(float)
    for n in range(N):
        for t in range(T):
            traces = 1.0
            for later in range(t, T):
                expected[t, n] += DISCOUNT ** (later - t) * traces * differences[later, n]
                traces *= min(0.7, ratios[later, n])
                if ended[later, n]:
                    break
    found, _ = ops.v_trace(*rollout, np.log(ratios), discount=DISCOUNT, largest_trace=0.7)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_settings_outside_their_range_are_refused():
    ones, no = np.ones(2), np.zeros(2, bool)
    with pytest.raises(ArgumentError, match="discount must be a number from"):
        ops.discounted_returns(ones, ones, no, no, discount=1.1)
    with pytest.raises(ArgumentError, match="decay must be a number from"):
        ops.generalized_advantages(ones, ones, ones, no, no, discount=0.9, decay=-0.1)
    with pytest.raises(ArgumentError, match="steps must be an integer"):
        ops.n_step_returns(ones, ones, no, no, discount=0.9, steps=0)
    with pytest.raises(ArgumentError, match="largest_step must be above 0"):
        ops.v_trace(ones, ones, ones, no, no, ones, discount=0.9, largest_step=0.0)
