"""Players and tasks of control: the same actions and returns as the agent, raw input, bundles, refusals."""

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl import rl
from kerasdl.core import get_task
from kerasdl.errors import ArgumentError, BundleError, UnknownNameError

SMALL = {"environments": 4, "rollout_steps": 8, "hidden": (8,), "jit_compile": False, "iterations_per_call": 1}
CONFIG = rl.A2CConfig(**SMALL)
SEEN = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")


def shifted(model):
    """The model with a last layer that tells actions apart."""
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel * 100, bias])
    return model


@pytest.mark.parametrize("env", [pytest.param("cartpole", marks=pytest.mark.slow), "pendulum", "taxi"])
def test_a_player_acts_as_the_agent_that_trained_its_policy(env):
    agent = rl.A2C(env, CONFIG, seed=2)
    player = rl.PolicyPlayer(shifted(agent.policy), env)
    observations = rl.collect_observations(agent, 24)
    mask = None
    if env == "taxi":
        mask = np.random.default_rng(1).random((24, 6)) < 0.5
        mask[:, 0] |= ~mask.any(1)
        assert (agent.act(observations) != agent.act(observations, mask=mask)).any()
    np.testing.assert_array_equal(player.act(observations, mask), agent.act(observations, mask=mask))
    assert player.act(observations[0]).shape == agent.act(observations[0]).shape
    one, other = player.evaluate(5, seed=3, most_steps=40), agent.evaluate(5, seed=3, most_steps=40)
    np.testing.assert_allclose(one.returns, other.returns, rtol=1e-5)
    np.testing.assert_array_equal(one.lengths, other.lengths)


class Switches(rl.Environment):
    """Two numbers to choose at once."""

    name, noise_size, time_limit = "switches", 1, 3
    observation_space, action_space = rl.Box(0.0, 1.0, (1,)), rl.MultiDiscrete((2, 3))

    def start(self, noise):
        return {"at": noise}

    def step(self, state, action, noise):
        return state, keras.ops.cast(action[:, 0] + 2 * action[:, 1], "float32"), state["at"][:, 0] > 2

    def observe(self, state):
        return state["at"]


def test_a_player_chooses_each_of_several_numbers():
    policy = rl.policy_network(Switches.observation_space, Switches.action_space, hidden=(4,))
    policy.layers[-1].set_weights([np.zeros((4, 5)), np.array([0.0, 1.0, 0.0, 0.5, 2.0])])
    player = rl.PolicyPlayer(policy, Switches())
    np.testing.assert_array_equal(player.act([[0.3]]), [[1, 2]])
    assert player.evaluate(2).mean == 15.0
    with pytest.raises(ArgumentError, match="one whole number, or a vector"):
        rl.control_settings(Switches())


def test_a_policy_that_does_not_fit_is_refused():
    policy = rl.policy_network(rl.Box(-1.0, 1.0, (4,)), rl.Discrete(2), hidden=(4,))
    with pytest.raises(ArgumentError, match=r"observations of the shape \(3,\)"):
        rl.PolicyPlayer(policy, "pendulum")
    with pytest.raises(ArgumentError, match="2 outputs for Discrete"):
        rl.PolicyPlayer(rl.value_network(rl.Box(-1.0, 1.0, (4,))), "cartpole")
    with pytest.raises(ArgumentError, match="one input and one output"):
        rl.PolicyPlayer(lambda x: x, "cartpole")
    with pytest.raises(UnknownNameError, match="unknown environment"):
        rl.PolicyPlayer(policy, "cartpoel")
    with pytest.raises(ArgumentError, match="env must be a name"):
        rl.PolicyPlayer(policy, 7)
    with pytest.raises(ArgumentError, match="one agent"):
        rl.PolicyPlayer(policy, "spread")
    player = rl.PolicyPlayer(policy, "cartpole")
    with pytest.raises(ArgumentError, match="observations must be of the shape"):
        player.act(np.zeros(3))
    with pytest.raises(ArgumentError, match="must be finite numbers"):
        player.act(np.full(4, np.nan))
    with pytest.raises(ArgumentError, match="episodes must be"):
        player.evaluate(0)


def bundle_of(env, **changes):
    space = rl.make(env)
    policy = shifted(rl.policy_network(space.observation_space, space.action_space, hidden=(8,)))
    task = "discrete_control" if isinstance(space.action_space, rl.Discrete) else "continuous_control"
    settings = {**rl.control_settings(env), **changes}
    return kerasdl.bundles.Bundle.of(policy, name="policy", task=task, preprocess=settings)


def test_a_bundle_names_the_action_and_plays(tmp_path):
    bundle = bundle_of("cartpole")
    bundle.save(tmp_path / "policy.zip")
    loaded = kerasdl.load_bundle(tmp_path / "policy.zip")
    player = rl.PolicyPlayer(loaded.model, loaded.preprocess["environment"])
    answers = loaded.predict(SEEN)
    assert [int(each["label"]) for each in answers] == player.act(SEEN).tolist()
    assert len({each["label"] for each in answers}) == 2
    assert answers[0]["score"] == max(answers[0]["scores"].values())


def test_a_bundle_of_real_actions_stays_within_their_bounds():
    bundle = bundle_of("pendulum")
    assert bundle.preprocess["low"] == [-2.0]
    kernel, bias = bundle.model.layers[-1].get_weights()
    bundle.model.layers[-1].set_weights([kernel * 100, bias])
    seen = SEEN[:, :3]
    actions = np.array([each["action"] for each in bundle.predict(seen)])
    assert np.abs(actions).max() == 2.0
    np.testing.assert_allclose(actions, rl.PolicyPlayer(bundle.model, "pendulum").act(seen), rtol=1e-6)


@pytest.mark.slow
def test_a_fine_tuning_is_behaviour_cloning():
    config = kerasdl.train.RunConfig(progress="off", batch_size=16)
    settings = {"epochs": 60, "freeze": "none", "learning_rate": 3e-2, "config": config}
    expert = (SEEN[:, 2] + SEEN[:, 3] > 0).astype("int32")
    tuned = bundle_of("cartpole").finetune((SEEN, expert), labels=("left", "right"), **settings)
    chosen = [("left", "right").index(each["label"]) for each in tuned.predict(SEEN)]
    assert np.mean(chosen == expert) > 0.9
    force = np.clip(SEEN[:, :1], -1.5, 1.5)
    tuned = bundle_of("pendulum").finetune((SEEN[:, :3], force), **settings)
    moved = np.array([each["action"] for each in tuned.predict(SEEN[:, :3])])
    assert np.abs(moved - force).mean() < 0.3 < np.abs(force).mean()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (np.zeros(4), "Give one observation a first axis"),
        (np.zeros((2, 3)), r"observations must be numbers \(B, 4\)"),
        (np.full((1, 4), np.nan), "must be finite"),
        (np.full((1, 4), np.inf), "must be finite"),
        ([["a"] * 4], "must be numbers"),
        ([[1.0], [1.0, 2.0]], "must be numbers"),
    ],
)
def test_raw_input_that_is_no_observation_is_refused(raw, reason):
    with pytest.raises(ArgumentError, match=reason):
        get_task("discrete_control").preprocess(raw, rl.control_settings("cartpole"))


def test_whole_numbers_stay_whole():
    settings, task = rl.control_settings("taxi"), get_task("discrete_control")
    ready, _ = task.preprocess([3, 499], settings)
    assert (ready.dtype, ready.tolist()) == (np.int32, [3, 499])
    for wrong in ([0.5], [-1]):
        with pytest.raises(ArgumentError, match="whole numbers from 0"):
            task.preprocess(wrong, settings)


@pytest.mark.parametrize(
    ("env", "changes", "reason"),
    [
        ("cartpole", {"observation_shape": [3]}, "observation_shape must be"),
        ("cartpole", {"observation_dtype": "float64"}, "observation_dtype must be"),
        ("cartpole", {"environment": ""}, "environment must be a name"),
        ("pendulum", {"low": [-2.0, 1.0]}, "low must be a list"),
        ("pendulum", {"high": None}, "high must be a list"),
        ("pendulum", {"low": [3.0]}, "low must not exceed high"),
    ],
)
def test_settings_that_do_not_fit_the_policy_are_refused(env, changes, reason):
    with pytest.raises((ArgumentError, BundleError), match=reason):
        bundle_of(env, **changes)
