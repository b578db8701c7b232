"""Behaviour cloning and DAgger: what is asked of the expert, what is learnt, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdl import rl
from kerasdl.errors import ArgumentError, UnknownNameError

QUICK = rl.CloningConfig(updates=300, hidden=(16,), learning_rate=0.02)


def balancing(seen):
    """Pushes below the falling pole: balances for some hundred steps, a random policy for 22."""
    return (seen[:, 2] + seen[:, 3] > 0).astype("int32")


def test_demonstrations_are_the_steps_of_the_expert():
    shown = rl.collect_demonstrations("cartpole", balancing, 20, environments=4, seed=3)
    assert (shown.observations.shape, shown.actions.shape) == ((20, 4), (20,))
    np.testing.assert_array_equal(shown.actions, balancing(shown.observations))
    vectors = rl.VectorEnvironment(rl.make("cartpole"), 4)
    state = vectors.reset(3)
    for step in range(5):
        np.testing.assert_allclose(shown.observations[4 * step : 4 * step + 4], state.observation, atol=1e-6)
        state, _ = vectors.step(state, balancing(np.asarray(state.observation)))
    assert len(rl.collect_demonstrations("cartpole", balancing, 3).actions) == 3


def test_allowed_actions_are_shown_to_the_expert():
    seen = []

    def expert(observations, mask):
        seen.append(np.asarray(mask).shape)
        return np.argmax(mask, -1)

    rl.collect_demonstrations("taxi", expert, 6, environments=3)
    assert seen == [(3, 6)] * 2


@pytest.mark.slow
def test_a_cloned_policy_balances_as_its_expert():
    shown = rl.collect_demonstrations("cartpole", balancing, 1024)
    player = rl.clone_policy("cartpole", shown, QUICK)
    fresh = rl.collect_demonstrations("cartpole", balancing, 256, seed=9)
    assert (player.act(fresh.observations) == fresh.actions).mean() > 0.95
    assert player.evaluate(10, most_steps=150).mean > 75
    again = rl.clone_policy("cartpole", shown, QUICK)
    other = rl.clone_policy("cartpole", shown, QUICK, seed=1)
    for one, same, different in zip(*(each.policy.get_weights() for each in (player, again, other)), strict=True):
        np.testing.assert_array_equal(one, same)
        assert (one != different).any()


def test_real_actions_are_learnt_as_numbers():
    seen = np.random.default_rng(0).uniform(-1, 1, (512, 3)).astype("float32")
    done = np.clip(seen[:, :1] - seen[:, 1:2], -2, 2)
    player = rl.clone_policy("pendulum", (seen, done), QUICK)
    assert np.abs(player.act(seen) - done).mean() < 0.1


class Recorder:
    """Expert that keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, observations):
        self.asked.append(observations)
        return balancing(observations)


@pytest.mark.slow
def test_the_expert_is_asked_where_the_learner_goes():
    expert = Recorder()
    found = rl.dagger("cartpole", expert, QUICK, rounds=2, steps=64, mixing=0.0, episodes=2, seed=4)
    np.testing.assert_array_equal(found.demonstrations.observations, np.concatenate(expert.asked))
    np.testing.assert_array_equal(found.demonstrations.actions, balancing(found.demonstrations.observations))
    first = rl.collect_demonstrations("cartpole", balancing, 64, seed=4)
    np.testing.assert_array_equal(found.demonstrations.observations[:64], first.observations)
    learner = rl.clone_policy("cartpole", first, QUICK, seed=4)  # as it was after the first round
    vectors = rl.VectorEnvironment(rl.make("cartpole"), 8)
    state, step = vectors.reset(5), tf.function(vectors.step, autograph=False)
    for asked in expert.asked[8:]:
        np.testing.assert_allclose(asked, state.observation, atol=1e-6)
        state, _ = step(state, tf.constant(learner.act(asked)))
    assert np.isnan(found.agreement[0])
    later = found.demonstrations.observations[64:]
    assert found.agreement[1] == (learner.act(later) == balancing(later)).mean()
    assert "2 rounds, 128 labels" in repr(found)


@pytest.mark.slow
def test_dagger_comes_to_act_as_its_expert():
    found = rl.dagger("cartpole", balancing, QUICK, rounds=4, steps=256, episodes=10)
    assert found.agreement[-1] > 0.95
    assert found.returns[-1] > 100


SEEN = np.zeros((2, 4), "float32")


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        ((SEEN, [0, 2]), "actions must lie in Discrete"),
        ((SEEN, [0.0, 1.0]), "actions must lie in Discrete"),
        ((SEEN, [0]), r"actions must be \(2,\)"),
        ((SEEN[:, :3], [0, 1]), r"observations must be \(B, 4\)"),
        ((SEEN[:0], []), r"observations must be \(B, 4\)"),
        ((SEEN * np.nan, [0, 1]), "must be finite"),
        ([SEEN, [0, 1]], "a pair of observations"),
        (SEEN, "a pair of observations"),
    ],
)
def test_demonstrations_that_do_not_fit_are_refused(shown, reason):
    with pytest.raises(ArgumentError, match=reason):
        rl.clone_policy("cartpole", shown, QUICK)


def test_wrong_arguments_of_imitation_are_refused():
    with pytest.raises(ArgumentError, match="config must be a CloningConfig"):
        rl.clone_policy("cartpole", (SEEN, [0, 1]), {"updates": 3})
    with pytest.raises(ArgumentError, match="seed must be"):
        rl.clone_policy("cartpole", (SEEN, [0, 1]), QUICK, seed=-1)
    with pytest.raises(UnknownNameError, match="unknown environment"):
        rl.collect_demonstrations("cartpoel", balancing)
    with pytest.raises(ArgumentError, match="env must be a name"):
        rl.dagger(3, balancing)
    with pytest.raises(ArgumentError, match="steps must be"):
        rl.collect_demonstrations("cartpole", balancing, 0)
    with pytest.raises(ArgumentError, match="actions must lie in Discrete"):
        rl.collect_demonstrations("cartpole", lambda seen: np.full(len(seen), 5), 8)
    with pytest.raises(ArgumentError, match="actions must be"):
        rl.collect_demonstrations("cartpole", lambda seen: 1, 8)
    for wrong in ({"rounds": 0}, {"mixing": 1.5}, {"steps": 0}):
        with pytest.raises(ArgumentError, match=f"{next(iter(wrong))} must be"):
            rl.dagger("cartpole", balancing, QUICK, **wrong)
    for name, value in {"updates": 0, "batch_size": 0, "learning_rate": -1.0, "activation": "step"}.items():
        with pytest.raises(ArgumentError, match=f"{name} must be"):
            rl.CloningConfig(**{name: value})
