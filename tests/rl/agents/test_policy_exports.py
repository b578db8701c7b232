"""Policies as files: TFLite and ONNX act as the agent does, on raw observations that it meets."""

import numpy as np
import pytest

import kerasdl
from kerasdl import rl
from kerasdl.errors import ArgumentError

SMALL = {"environments": 4, "rollout_steps": 16, "hidden": (16,), "jit_compile": False}
PLAIN = rl.A2CConfig(**SMALL, iterations_per_call=1)
NORMALIZED = rl.A2CConfig(**SMALL, iterations_per_call=1, normalize_observations=True)
VALUES = rl.RainbowConfig(capacity=256, rollout_steps=16, learning_starts=8, hidden=(16,), jit_compile=False)
CASES = {
    "raw_numbers": (rl.A2C, "acrobot", NORMALIZED),
    "real_actions": (rl.A2C, "pendulum", NORMALIZED),
    "pixels": (rl.A2C, "catch", PLAIN),
    "masks": (rl.A2C, "taxi", PLAIN),
    "distributions": (rl.Rainbow, "cartpole", VALUES),
}


def agent_of(case):
    kind, env, config = CASES[case]
    agent = kind(env, config, seed=1)
    if config is NORMALIZED:
        agent.train(128, progress="off")
    if kind is rl.A2C:  # tells actions apart, as a trained policy does
        kernel, bias = agent.policy.get_layer("actions").get_weights()
        agent.policy.get_layer("actions").set_weights([100 * kernel, bias])
    return agent


def actions_of(agent, outputs):
    """Actions by the rule of docs/reinforcing.md."""
    space = agent.env.action_space
    if isinstance(space, rl.Box):
        return np.clip(outputs, space.low, space.high)
    return np.argmax(outputs, -1)


def check_file(agent, path, observations):
    """Asserts that the only output of a file gives the actions of the agent, but where the best two are equal."""
    (outputs,) = kerasdl.deploy.run_exported(path, observations).values()
    np.testing.assert_allclose(outputs, agent.policy.predict(observations, verbose=0), atol=1e-4)
    acted = agent.act(observations)
    if isinstance(agent.env.action_space, rl.Box):
        np.testing.assert_allclose(actions_of(agent, outputs), acted, atol=1e-4)
    else:
        first, second = np.sort(outputs, -1)[:, ::-1][:, :2].T
        clear = first - second > 2e-4
        assert clear.mean() > 0.5
        np.testing.assert_array_equal(actions_of(agent, outputs)[clear], acted[clear])


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_file_acts_as_its_agent_on_raw_observations(case, tmp_path):
    agent = agent_of(case)
    observations = rl.collect_observations(agent, 64)
    for name, export in {"p.tflite": kerasdl.deploy.export_tflite, "p.onnx": kerasdl.deploy.export_onnx}.items():
        assert export(agent.policy, tmp_path / name, representative=observations).worst_absolute <= 1e-4
        check_file(agent, tmp_path / name, observations)


def test_the_statistics_of_observations_are_in_the_file(tmp_path):
    agent = agent_of("real_actions")
    observations = rl.collect_observations(agent, 32)
    before = agent.policy.get_layer("normalize").get_weights()
    kerasdl.deploy.export_tflite(agent.policy, tmp_path / "p.tflite", representative=observations)
    check_file(agent, tmp_path / "p.tflite", observations)
    agent.policy.get_layer("normalize").set_weights([each + 1.0 for each in before])
    with pytest.raises(AssertionError, match="Not equal"):
        check_file(agent, tmp_path / "p.tflite", observations)


@pytest.mark.slow
def test_int8_takes_its_ranges_from_episodes(tmp_path):
    """Ranges of noise cut off most of the speeds of a pendulum of two joints."""
    agent, errors = agent_of("raw_numbers"), {}
    observations = rl.collect_observations(agent, 256)
    exact = agent.policy.predict(observations, verbose=0)
    noise = np.random.default_rng(0).normal(size=observations.shape).astype("float32") * 0.3
    for name, ranges in {"episodes": observations, "noise": noise}.items():
        path = tmp_path / f"{name}.tflite"
        kerasdl.deploy.export_tflite(agent.policy, path, quantize="int8", representative=ranges)
        (outputs,) = kerasdl.deploy.run_exported(path, observations).values()
        errors[name] = np.abs(outputs - exact).mean()
    assert 0 < errors["episodes"] < errors["noise"] / 2


def test_observations_are_those_that_the_policy_meets():
    agent = rl.A2C("cartpole", PLAIN)
    seen = rl.collect_observations(agent, 30, seed=5)
    assert seen.shape == (30, 4)
    assert seen.dtype == "float32"
    vectors = rl.VectorEnvironment(agent.env, 8)
    state = vectors.reset(5)
    np.testing.assert_array_equal(seen[:8], state.observation)
    state, _ = vectors.step(state, agent.act(seen[:8]))
    np.testing.assert_array_equal(seen[8:16], state.observation)
    assert rl.collect_observations(agent, 3).shape == (3, 4)
    with pytest.raises(ArgumentError, match="count must be"):
        rl.collect_observations(agent, 0)
    with pytest.raises(ArgumentError, match="seed must be"):
        rl.collect_observations(agent, 4, seed=-1)


def test_observations_of_gymnasium_are_collected():
    pytest.importorskip("gymnasium")
    with rl.GymnasiumEnvironments("CartPole-v1", count=4) as envs:
        assert rl.collect_observations(rl.A2C(envs, PLAIN), 20).shape == (20, 4)
