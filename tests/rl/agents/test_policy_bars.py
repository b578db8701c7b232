"""Slow tests of policy methods: a real kill, the quickest bar, files for a device, Gymnasium's environments."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kerasdl
from kerasdl import rl

HERE = Path(__file__).parent
RECIPE = HERE.parents[2] / "docs" / "recipes" / "cartpole.py"


def run(folder, *words):
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(HERE / "killed_agent.py"), str(folder), *words]
    path = os.pathsep.join([str(HERE.parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}).returncode


@pytest.mark.slow
def test_a_killed_training_continues_bit_for_bit(tmp_path):
    assert run(tmp_path / "killed", "27") == -9
    assert run(tmp_path / "killed") == 0
    assert run(tmp_path / "whole") == 0
    killed, whole = (np.load(tmp_path / each / "weights.npz") for each in ("killed", "whole"))
    assert set(killed.files) == set(whole.files)
    for name in whole.files:
        np.testing.assert_array_equal(killed[name], whole[name], err_msg=name)


@pytest.mark.slow
def test_ppo_reaches_its_bar_and_its_file_balances(tmp_path):
    spec = importlib.util.spec_from_file_location("recipe_cartpole", RECIPE)
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    found = recipe.main(str(tmp_path / "agent"))
    assert found["return"] >= 475
    assert found["steps of the file"] >= 475
    loaded = rl.PPO.load(tmp_path / "agent")
    report = kerasdl.deploy.export_onnx(loaded.policy, tmp_path / "policy.onnx")
    assert report.worst_absolute <= 1e-4
    observations = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    for name in ("policy.onnx", "agent/policy.tflite"):
        logits = kerasdl.deploy.run_exported(tmp_path / name, observations)["actions"]
        np.testing.assert_array_equal(np.argmax(logits, -1), loaded.act(observations))


def test_an_agent_learns_in_environments_of_gymnasium():
    pytest.importorskip("gymnasium")
    with rl.GymnasiumEnvironments("CartPole-v1", count=4) as envs:
        config = rl.A2CConfig(environments=4, rollout_steps=32, hidden=(16,), iterations_per_call=2, jit_compile=False)
        agent = rl.A2C(envs, config, seed=0)
        record = agent.train(512, log_every=256, progress="off")
        assert record.steps == [256, 512]
        assert 5 < record.returns[0] < 100
        found = agent.evaluate(3, seed=0)
        assert found.lengths.min() > 5
        np.testing.assert_array_equal(found.returns, found.lengths)
