"""Conservative Q-learning: its loss by hand, what the penalty is for, and what is refused."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from kerasdl import rl
from kerasdl.errors import ArgumentError
from kerasdl.rl.offline.cql import cql_loss
from kerasdl.rl.offline.transitions import Transitions


def test_the_loss_is_that_of_the_paper():
    rng = np.random.default_rng(0)
    now, after, frozen = rng.normal(size=(3, 4, 3))  # values of the observation, and of the next by both networks
    tables = {"values": [now, after], "target": [frozen]}
    action, reward = np.array([0, 2, 1, 1]), rng.normal(size=4)
    terminated = np.array([False, True, False, False])
    best = after.argmax(-1)
    wanted = reward + 0.9 * ~terminated * frozen[range(4), best]
    error = wanted - now[range(4), action]
    size = np.abs(error)
    differences = np.where(size <= 1, error**2 / 2, size - 0.5)
    penalty = scipy.special.logsumexp(now, -1) - now[range(4), action]

    def network(name):
        answers = [tf.constant(each) for each in tables[name]]
        return lambda observation, training: answers.pop(0)

    for weight in (0.0, 0.7):
        batch = Transitions(
            *(tf.zeros(4), tf.constant(action), tf.constant(reward), tf.zeros(4), tf.constant(terminated))
        )
        config = rl.CQLConfig(discount=0.9, conservatism=weight)
        found = float(cql_loss(network("values"), network("target"), batch, config))
        assert found == pytest.approx((differences + weight * penalty).mean(), abs=1e-12)


class Choice(rl.Environment):
    """One step: action 0 gives 1, action 1 gives 0.5, action 2 gives -1."""

    name, noise_size, time_limit = "choice", 1, 1
    observation_space, action_space = rl.Box(-1.0, 1.0, (1,)), rl.Discrete(3)

    def start(self, noise):
        return {"seen": 2 * noise - 1}

    def step(self, state, action, noise):
        reward = tf.gather(tf.constant([1.0, 0.5, -1.0]), action)
        return state, reward, tf.ones_like(reward, tf.bool)

    def observe(self, state):
        return state["seen"]


def values_of(conservatism):
    seen = np.linspace(-1, 1, 64, dtype="float32")[:, None]
    action = np.arange(64) % 2  # action 2 was never tried
    reward = (
        np.where(action == 0, 1.0, 0.5).astype("float32") - 5.0
    )  # all tried ones are bad: an untried one seems better
    made = Transitions(seen, action, reward, seen, np.ones(64, bool))
    config = rl.CQLConfig(updates=400, batch_size=32, hidden=(16,), learning_rate=0.02, conservatism=conservatism)
    return rl.conservative_values(Choice(), made, config), seen


def test_an_action_that_nobody_tried_is_not_chosen():
    plain, seen = values_of(0.0)
    assert (plain.act(seen) == 2).mean() > 0.9
    careful, seen = values_of(1.0)
    assert (careful.act(seen) == 0).mean() > 0.9


def test_transitions_are_the_steps_of_the_policy():
    made = rl.collect_transitions("cartpole", lambda seen: (seen[:, 2] > 0).astype("int32"), 400, environments=4)
    np.testing.assert_array_equal(made.action, made.observation[:, 2] > 0)
    ends = made.terminated
    assert 0 < ends.sum() < 40
    np.testing.assert_array_equal(made.next_observation[:-4][~ends[:-4]], made.observation[4:][~ends[:-4]])
    assert (made.next_observation[:-4][ends[:-4]] != made.observation[4:][ends[:-4]]).any(-1).all()
    assert set(rl.collect_transitions("cartpole", steps=50).action) == {0, 1}


GOOD = Transitions(np.zeros((2, 1)), np.array([0, 2]), np.zeros(2), np.zeros((2, 1)), np.array([True, False]))


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (GOOD._replace(action=np.array([0, 3])), "must lie in Discrete"),
        (GOOD._replace(action=np.array([0.0, 1.0])), "must lie in Discrete"),
        (GOOD._replace(reward=np.array([0.0, np.nan])), "reward of transitions must be finite"),
        (GOOD._replace(observation=np.zeros((2, 2))), "observation of transitions must be numbers"),
        (GOOD._replace(terminated=np.array([True])), "terminated of transitions"),
        (GOOD._replace(reward=np.array(["a", "b"])), "reward of transitions must be numbers"),
        (Transitions(*(each[:0] for each in GOOD)), "one or more"),
        (GOOD[:4], "a tuple of observation"),
        ("data", "a tuple of observation"),
    ],
)
def test_transitions_that_do_not_fit_are_refused(made, reason):
    with pytest.raises(ArgumentError, match=reason):
        rl.conservative_values(Choice(), made)


def test_wrong_settings_of_cql_are_refused():
    with pytest.raises(ArgumentError, match="must have Discrete actions"):
        rl.conservative_values("pendulum", GOOD)
    with pytest.raises(ArgumentError, match="config must be a CQLConfig"):
        rl.conservative_values(Choice(), GOOD, rl.CloningConfig())
    with pytest.raises(ArgumentError, match="seed must be"):
        rl.conservative_values(Choice(), GOOD, seed=-1)
    for name, value in {"updates": 0, "discount": 2.0, "conservatism": -1.0, "target_every": 0}.items():
        with pytest.raises(ArgumentError, match=f"{name} must be"):
            rl.CQLConfig(**{name: value})
    with pytest.raises(ArgumentError, match="steps must be"):
        rl.collect_transitions("cartpole", steps=0)
