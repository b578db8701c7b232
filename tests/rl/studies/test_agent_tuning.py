"""Search for settings: draws, comparison with the preset, refusals."""

import json
import math

import numpy as np
import pytest

from kerasdl import rl
from kerasdl.errors import ArgumentError, UnknownNameError
from kerasdl.rl.studies import jobs
from kerasdl.rl.studies.tuning import RANGES, checked_ranges, drawn_settings


@pytest.fixture
def returns(monkeypatch):
    """Trainings that are not made: the return is the learning rate."""
    made = []

    def run(job, resume, tell, *rest):
        made.append(job)
        result = {"return": job.config["learning_rate"] + job.seed, "seconds": 1.0}
        tell(job, result)
        return result

    monkeypatch.setattr(jobs, "_run_apart", run)
    return made


def test_the_best_draw_is_compared_with_the_preset(tmp_path, returns, capsys):
    ranges = {"learning_rate": (1e-3, 1e-1), "hidden": [(4,), (8, 8)]}
    result = rl.tune("a2c", "cartpole", ranges, folder=tmp_path / "t", trials=5, seeds=2, steps=64)
    assert len(result.cells) == 6
    assert result.cells[0].label == "preset"
    assert len(returns) == 12
    values = [cell.setting.get("learning_rate", rl.A2CConfig().learning_rate) for cell in result.cells]
    assert result.best is result.cells[int(np.argmax(values))]
    for cell, value in zip(result.cells, values, strict=True):
        assert dict(cell.values) == {0: value, 1: value + 1}
    assert json.loads((tmp_path / "t" / "best.json").read_text()) == json.loads(json.dumps(result.best.setting))
    assert capsys.readouterr().out.count("return") == 12
    assert returns[2].folder.endswith("trial1/seed0")


def test_draws_are_a_function_of_seed_and_trial_within_their_ranges():
    ranges = {"learning_rate": (1e-4, 1e-2), "target_every": (30, 3000), "discount": [0.9, 0.99]}
    draws = [drawn_settings("DQN", "cartpole", ranges, (0, trial)) for trial in range(400)]
    assert draws[3] == drawn_settings("DQN", "cartpole", ranges, (0, 3))
    assert draws[3] != drawn_settings("DQN", "cartpole", ranges, (1, 3))
    rates = np.array([each["learning_rate"] for each in draws])
    assert 1e-4 <= rates.min() < 1.2e-4
    assert np.median(np.log10(rates)) == pytest.approx(-3, abs=0.2)  # logarithmic
    whole = [each["target_every"] for each in draws]
    assert all(isinstance(each, int) for each in whole)
    assert 30 <= min(whole) < 40
    assert 2700 < max(whole) <= 3000
    assert {each["discount"] for each in draws} == {0.9, 0.99}


def test_settings_that_break_a_rule_are_drawn_again():
    ranges = {"minibatch_size": [64, 100], "environments": [8], "rollout_steps": [32]}
    draws = [drawn_settings("PPO", "cartpole", ranges, (0, trial)) for trial in range(20)]
    assert {each["minibatch_size"] for each in draws} == {64}
    with pytest.raises(ArgumentError, match="minibatch_size must divide"):
        drawn_settings("PPO", "cartpole", {**ranges, "minibatch_size": [100]}, (0, 0))


@pytest.mark.parametrize("name", ["PPO", "A2C", "TRPO", "REINFORCE", "DQN", "Rainbow", "QLearning"])
def test_every_agent_has_ranges_that_it_takes(name):
    ranges = checked_ranges(None, getattr(rl, name).config_class())
    assert {"learning_rate", "discount"} <= set(ranges) <= set(RANGES)
    assert set(drawn_settings(name, "cartpole", ranges, (0, 0))) == set(ranges)


@pytest.mark.parametrize(
    ("ranges", "error", "reason"),
    [
        ({"rate": [1]}, UnknownNameError, "unknown setting"),
        ({"learning_rate": 0.1}, ArgumentError, "the range of learning_rate"),
        ({"learning_rate": []}, ArgumentError, "the range of learning_rate"),
        ({"learning_rate": (0.0, 1.0)}, ArgumentError, "0 < low < high"),
        ({"learning_rate": (1.0, 0.1)}, ArgumentError, "0 < low < high"),
        ({"learning_rate": (0.1, math.nan)}, ArgumentError, "0 < low < high"),
        ({"learning_rate": (0.1, math.inf)}, ArgumentError, "0 < low < high"),
        ({"anneal": (False, True)}, ArgumentError, "0 < low < high"),
        ({}, ArgumentError, "ranges must be"),
        ([1], ArgumentError, "ranges must be"),
    ],
)
def test_wrong_ranges_are_refused_by_name(ranges, error, reason, tmp_path, returns):
    with pytest.raises(error, match=reason):
        rl.tune("ppo", "cartpole", ranges, folder=tmp_path / "t", trials=2, steps=64)
    assert not returns


def test_another_search_in_the_folder_is_refused(tmp_path, returns):
    call = {"folder": tmp_path / "t", "trials": 1, "steps": 64, "progress": "off"}
    rl.tune("a2c", "cartpole", {"learning_rate": (0.1, 0.2)}, **call)
    with pytest.raises(ArgumentError, match="has another ranges"):
        rl.tune("a2c", "cartpole", {"learning_rate": [0.1, 0.2]}, **call)
    rl.tune("a2c", "cartpole", {"learning_rate": (0.1, 0.2)}, **{**call, "trials": 2})
    with pytest.raises(ArgumentError, match="trials must be"):
        rl.tune("a2c", "cartpole", **{**call, "trials": 0})
