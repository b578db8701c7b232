"""PPO, A2C, REINFORCE and TRPO: each learns, and each of its parts does what its paper says."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl import rl
from kerasdl.rl.agents.policies.on_policy import Statistics
from kerasdl.rl.agents.trpo import conjugate_gradients, flat

SMALL = {"environments": 8, "rollout_steps": 16, "hidden": (16,), "discount": 0.9, "jit_compile": False}


class Match(rl.Environment):
    """One step an episode: reward 1 for the action that the observation asks for, less the farther it is away."""

    name, noise_size, time_limit = "match", 1, 5
    observation_space = rl.Box(0.0, 1.0, (1,))

    def __init__(self, action_space, mask=None):
        self.action_space, self.mask = action_space, mask

    def start(self, noise):
        return {"side": tf.round(noise)}

    def step(self, state, action, noise):
        actions = tf.reshape(tf.cast(action, tf.float32), (tf.shape(state["side"])[0], -1))
        apart = tf.abs(actions - state["side"])
        reward = 1.0 - tf.reduce_mean(apart, -1)
        return state, reward, tf.ones_like(reward, tf.bool)

    def observe(self, state):
        return state["side"]

    def action_mask(self, state):
        return None if self.mask is None else tf.tile([self.mask], (tf.shape(state["side"])[0], 1))


BOX = rl.Box(-1.0, 1.0, (2,))
RATE = {"learning_rate": 0.03}
CASES = {
    "ppo": (rl.PPO, {"minibatch_size": 64, **RATE}, rl.Discrete(3), None),
    "ppo_box": (rl.PPO, {"minibatch_size": 64, "initial_log_deviation": -1.0, "learning_rate": 0.003}, BOX, None),
    "ppo_penalty": (
        rl.PPO,
        {"minibatch_size": 64, "objective": "penalty", "target_divergence": 0.02, **RATE},
        rl.MultiDiscrete((2, 3)),
        None,
    ),
    "a2c": (rl.A2C, {"iterations_per_call": 5, **RATE}, rl.MultiDiscrete((2, 2)), None),
    "reinforce": (rl.REINFORCE, {"value_rate": 0.03, **RATE}, rl.Discrete(3), [True, True, False]),
    "trpo": (rl.TRPO, {"largest_divergence": 0.05}, BOX, None),
}


QUICK = ("ppo_penalty", "reinforce")


@pytest.mark.parametrize(
    "case", [pytest.param(each, marks=() if each in QUICK else pytest.mark.slow) for each in CASES]
)
def test_each_method_learns_which_action_an_observation_asks_for(case):
    kind, settings, space, mask = CASES[case]
    agent = kind(Match(space, mask), kind.config_class(**{**SMALL, **settings}))
    before = agent.evaluate(64).mean
    record = agent.train(128 * 40, progress="off")
    after = agent.evaluate(64).mean
    assert after > 0.85, (before, after)
    assert record.returns[-1] > record.returns[0]
    if mask is not None:  # a forbidden action would have been worse by far than the first returns say
        drawn = agent.act(np.zeros((200, 1)), deterministic=False, mask=[mask] * 200)
        assert set(drawn) <= {0, 1}


@pytest.mark.slow
def test_ppo_learns_to_balance():
    settings = {**rl.preset("PPO", "cartpole").config, "jit_compile": False}
    agent = rl.PPO("cartpole", rl.PPOConfig(**settings), seed=0)
    agent.train(15_000, progress="off")
    assert agent.evaluate(20).mean > 100  # a random policy has 22


@pytest.fixture(scope="module")
def trpo():
    """A TRPO agent, and a batch of its policy."""
    agent = rl.TRPO(Match(BOX), rl.TRPOConfig(**SMALL, damping=0.0))
    _, rollout = agent.collect(agent.vectors.reset(0), tf.constant(0))
    return agent, agent.batch_of(rollout)


def test_a_step_of_trpo_stays_within_its_bound_and_gains(trpo):
    agent, batch = trpo
    before, at_start = agent._losses(batch)
    assert float(at_start) == pytest.approx(0.0, abs=1e-6)
    _, gain, divergence, share = agent._step(batch)
    after, apart = agent._losses(batch)
    assert 0.002 < float(apart) <= 0.01
    assert float(divergence) == pytest.approx(float(apart), rel=1e-4)
    assert float(gain) == pytest.approx(float(before - after), abs=1e-5)
    assert float(gain) > 0
    assert 0.1 < float(share) <= 1


def test_trpo_leaves_the_policy_where_no_length_is_good(trpo):
    agent, batch = trpo
    start = agent.policy.get_weights()
    batch = batch._replace(advantages=tf.zeros_like(batch.advantages))  # nothing can be gained
    _, gain, divergence, share = agent._step(batch)
    assert (float(gain), float(divergence), float(share)) == (0.0, 0.0, 0.0)
    for old, new in zip(start, agent.policy.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_curvature_of_trpo_is_the_change_of_the_gradient(trpo):
    agent, batch = trpo
    batch = batch._replace(parameters=agent.parameters_of(batch.observations))
    variables = agent.policy_variables
    vector = tf.random.stateless_normal(flat([each.value for each in variables]).shape, (0, 0))
    start = [each.numpy() for each in variables]

    def gradient(length):
        sizes = [each.size for each in start]
        for variable, old, part in zip(variables, start, tf.split(vector, sizes), strict=True):
            variable.assign(old + length * tf.reshape(part, old.shape))
        with tf.GradientTape() as tape:
            divergence = agent._losses(batch)[1]
        return flat(tape.gradient(divergence, [each.value for each in variables])).numpy()

    expected = (gradient(1e-2) - gradient(-1e-2)) / 2e-2
    for variable, old in zip(variables, start, strict=True):
        variable.assign(old)
    found = agent._curvature(batch, vector).numpy()
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.02 * np.abs(expected).max())


def test_conjugate_gradients_solve_a_system():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(8, 8))
    matrix, target = (root @ root.T + np.eye(8)).astype("float32"), rng.normal(size=8).astype("float32")
    found = conjugate_gradients(lambda x: tf.linalg.matvec(matrix, x), tf.constant(target), 20)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, target), rtol=1e-3, atol=1e-4)


def updates_of(**settings):
    agent = rl.PPO(Match(rl.Discrete(3)), rl.PPOConfig(**SMALL, minibatch_size=32, epochs=4, **settings, **RATE))
    record = agent.train(128, progress="off")
    return int(agent.optimizers["all"].iterations), {name: each[0] for name, each in record.figures.items()}


def test_a_divergence_above_its_target_ends_the_updates_of_a_rollout():
    made, figures = updates_of(target_divergence=1e-6)
    assert 2 <= made < 16
    assert figures["divergence"] > 0


def test_the_penalty_follows_the_divergence():
    assert updates_of(objective="penalty", target_divergence=1e-6)[1]["penalty"] == 2.0
    made, figures = updates_of(objective="penalty", target_divergence=100.0)
    assert (made, figures["penalty"]) == (16, 0.5)


def test_rates_fall_to_zero_where_they_are_annealed():
    config = rl.A2CConfig(**SMALL, anneal=True, iterations_per_call=1, learning_rate=0.01)
    agent = rl.A2C(Match(rl.Discrete(2)), config)
    rates = agent.train(128 * 4, log_every=128, progress="off").figures["learning_rate"]
    np.testing.assert_allclose(rates, [0.01, 0.0075, 0.005, 0.0025], rtol=1e-5)


def test_normalized_observations_have_the_statistics_of_all_rollouts_and_are_saved_with_the_policy(tmp_path):
    config = rl.REINFORCEConfig(**SMALL, normalize_observations=True, value_updates=1)
    agent, seen = rl.REINFORCE("mountain_car_continuous", config), []
    state = agent.vectors.reset(0)
    for iteration in range(2):
        state, rollout = agent.collect(state, tf.constant(iteration))
        agent.statistics.add(agent.batch_of(rollout).observations)
        seen.append(rollout.transition.observation.numpy().reshape(-1, 2))
    seen = np.concatenate(seen)
    layer = agent.policy.get_layer("normalize")
    np.testing.assert_allclose(layer.moving_mean, seen.mean(0), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, seen.var(0), rtol=1e-2, atol=1e-6)
    agent.policy.save(tmp_path / "policy.keras")
    loaded = keras.models.load_model(tmp_path / "policy.keras")
    np.testing.assert_array_equal(loaded(seen), agent.policy(seen))


def test_statistics_of_rows_are_those_of_their_entries():
    space = rl.Box(-np.inf, np.inf, (2, 2))
    networks = [rl.policy_network(space, rl.Discrete(2), hidden=(4,), normalize=True) for _ in range(2)]
    seen = np.random.default_rng(0).normal([[1, 2], [3, 4]], 2.0, (50, 2, 2)).astype("float32")
    Statistics(networks).add(tf.constant(seen))
    for network in networks:
        layer = network.get_layer("normalize")
        np.testing.assert_allclose(layer.moving_mean, seen.mean(0).ravel(), rtol=1e-4)
        np.testing.assert_allclose(layer.moving_variance, seen.var(0).ravel(), rtol=1e-3)
