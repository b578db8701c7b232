"""Environments against Gymnasium's: 10,000 random transitions of each, and whole tables of outcomes."""

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from kerasdl import rl

COUNT = 10_000


def states_of(name, rng):
    """Returns states spread over where episodes go, and beyond their ends."""
    low, high = {
        "cartpole": ((-2.5, -3, -0.23, -3), (2.5, 3, 0.23, 3)),
        "acrobot": ((-np.pi, -np.pi, -12.5, -28), (np.pi, np.pi, 12.5, 28)),
        "mountain_car": ((-1.2, -0.07), (0.6, 0.07)),
        "mountain_car_continuous": ((-1.2, -0.07), (0.6, 0.07)),
        "pendulum": ((-np.pi, -8), (np.pi, 8)),
    }[name]
    return rng.uniform(low, high, (COUNT, len(low))).astype("float32")


def stepped(env, states, actions):
    """Returns observations, rewards and ends of Gymnasium's environment from each state."""
    env = env.unwrapped
    env.reset(seed=0)
    found = []
    for state, action in zip(states, actions, strict=True):
        env.state = state.astype("float64")
        if hasattr(env, "steps_beyond_terminated"):
            env.steps_beyond_terminated = None
        found.append(env.step(action)[:3])
    observations, rewards, ends = zip(*found, strict=True)
    return np.array(observations, "float64"), np.array(rewards, "float64"), np.array(ends)


# The margin: states so near to an end that float32 may fall on its other side, counted and few.
@pytest.mark.parametrize(
    ("name", "theirs", "tolerance", "reward_tolerance"),
    [
        ("cartpole", "CartPole-v1", 3e-7, 0),
        ("mountain_car", "MountainCar-v0", 3e-7, 0),
        ("mountain_car_continuous", "MountainCarContinuous-v0", 3e-7, 1e-5),
        ("pendulum", "Pendulum-v1", 1e-6, 2e-6),
        ("acrobot", "Acrobot-v1", 2e-3, 0),
    ],
)
def test_steps_are_those_of_gymnasium(name, theirs, tolerance, reward_tolerance):
    env, rng = rl.make(name), np.random.default_rng(0)
    states = states_of(name, rng)
    space = env.action_space
    if isinstance(space, rl.Discrete):
        actions = rng.integers(space.n, size=COUNT).astype("int32")
    else:  # beyond the bounds too, where actions are cut
        actions = rng.uniform(1.5 * space.low, 1.5 * space.high, (COUNT, 1)).astype("float32")
    names = list(env.start(tf.zeros((1, env.noise_size))))
    state = {each: tf.constant(states[:, column]) for column, each in enumerate(names)}
    after, reward, terminated = env.step(state, tf.constant(actions), tf.zeros((COUNT, 0)))
    observations, rewards, ends = stepped(gymnasium.make(theirs, disable_env_checker=True), states, actions)
    ours = env.observe(after).numpy()
    errors = np.abs(ours - observations) / np.maximum(1, np.abs(observations))
    assert errors.max() < tolerance
    assert np.quantile(errors.max(1), 0.99) < 2e-5, "only the highest speeds of the acrobot magnify rounding"
    differs = terminated.numpy() != ends
    assert differs.mean() < 5e-4
    assert np.max(np.abs(reward.numpy() - rewards)[~differs]) <= reward_tolerance
    if name != "pendulum":
        assert 0.01 < ends.mean() < 0.99, "both kinds of steps are compared"


def test_truncation_and_starts_are_those_of_gymnasium():
    for name, theirs in {
        **{"cartpole": "CartPole-v1", "acrobot": "Acrobot-v1", "pendulum": "Pendulum-v1"},
        **{"mountain_car": "MountainCar-v0", "mountain_car_continuous": "MountainCarContinuous-v0"},
        **{"frozen_lake": "FrozenLake-v1", "taxi": "Taxi-v4"},
    }.items():
        env, spec = rl.make(name), gymnasium.spec(theirs)
        assert env.time_limit == spec.max_episode_steps
        assert env.reward_bar == spec.reward_threshold
        space = gymnasium.make(theirs).observation_space
        if isinstance(env.observation_space, rl.Box):
            np.testing.assert_allclose(np.float32(env.observation_space.low), space.low)
            np.testing.assert_allclose(np.float32(env.observation_space.high), space.high)


def table_of(env):
    """Returns {(state, action, next state, reward, terminated): probability} of Gymnasium's table."""
    found = {}
    for state, actions in env.unwrapped.P.items():
        for action, outcomes in actions.items():
            for probability, after, reward, ended in outcomes:
                key = (state, action, int(after), float(reward), bool(ended))
                found[key] = found.get(key, 0.0) + probability
    return found


def own_table(table):
    found = {}
    for state, action, outcome in np.ndindex(table.next_state.shape):
        each = (state, action, outcome)
        key = (state, action, int(table.next_state[each]), float(table.reward[each]), bool(table.terminated[each]))
        found[key] = found.get(key, 0.0) + table.probability[each]
    return found


@pytest.mark.parametrize(
    ("env", "theirs", "settings"),
    [
        (rl.make("frozen_lake"), "FrozenLake-v1", {}),
        (rl.make("frozen_lake", slippery=False), "FrozenLake-v1", {"is_slippery": False}),
        (rl.make("frozen_lake", size=8), "FrozenLake8x8-v1", {}),
        (rl.make("taxi"), "Taxi-v4", {}),
        (rl.make("cliff_walking"), "CliffWalking-v1", {}),
        (rl.make("cliff_walking", slippery=True), "CliffWalking-v1", {"is_slippery": True}),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_tables_are_those_of_gymnasium(env, theirs, settings):
    peer = gymnasium.make(theirs, **settings)
    ours, expected = own_table(env.table), table_of(peer)
    if "Cliff" in theirs:  # nothing goes on from the goal here; Gymnasium's table has steps from it
        ours, expected = ({key: p for key, p in each.items() if key[0] != 47} for each in (ours, expected))
    assert set(ours) == set(expected)
    assert max(abs(ours[key] - expected[key]) for key in ours) < 1e-6
    np.testing.assert_allclose(env.table.start, peer.unwrapped.initial_state_distrib, atol=1e-6)


def test_masks_of_taxi_are_those_of_gymnasium():
    peer = gymnasium.make("Taxi-v4").unwrapped
    masks = rl.make("taxi").action_mask({"place": tf.range(500)}).numpy()
    np.testing.assert_array_equal(masks, [peer.action_mask(state).astype(bool) for state in range(500)])
