"""Studies of seeds: folders, resumption, curves, refusals; processes and a real kill in the slow lane."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_trainings import fake_training, return_of

from kerasdl import rl
from kerasdl.errors import ArgumentError, DataError, TrainingError, UnknownNameError
from kerasdl.rl.studies import jobs
from kerasdl.rl.studies.jobs import Job, read_result, run_job

ROOT = Path(__file__).parents[3]
SMALL = {"environments": 4, "rollout_steps": 8, "hidden": [8], "jit_compile": False, "iterations_per_call": 1}
CALL = {"seeds": 2, "steps": 320, "episodes": 4, "curve_episodes": 2, "progress": "off"}


def job_of(folder, **changes):
    config = rl.A2CConfig(**{**SMALL, "hidden": (8,)})
    parts = {"agent": "A2C", "environment": "cartpole", "config": jobs.plain_config(config), "seed": 0, "steps": 320}
    return Job(**{**parts, "episodes": 4, "curve_episodes": 2, "folder": str(folder), **changes})


@pytest.fixture
def here(monkeypatch):
    """Trainings that are not made; the jobs asked for."""
    made = []

    def run(job, *rest):
        made.append(job)
        return fake_training(job, *rest)

    monkeypatch.setattr(jobs, "_run_apart", run)
    return made


@pytest.mark.slow
def test_a_job_keeps_its_result_and_its_agent(tmp_path):
    told = []
    result = run_job(job_of(tmp_path / "seed0"), told.append)
    assert [each["steps"] for each in told] == result["steps"] == list(range(32, 321, 32))
    assert read_result(job_of(tmp_path / "seed0")) == result
    assert json.loads((tmp_path / "seed0" / "result.json").read_text())["job"]["agent"] == "A2C"
    agent = rl.load_agent(tmp_path / "seed0" / "agent")
    assert agent.evaluate(4).mean == result["return"]
    assert result["figures"]["evaluation_return"][-1] == agent.evaluate(2).mean
    with pytest.raises(DataError, match="of another training"):
        read_result(job_of(tmp_path / "seed0", steps=640))
    (tmp_path / "seed0" / "result.json").write_text("{")
    with pytest.raises(DataError, match="must hold the result"):
        read_result(job_of(tmp_path / "seed0"))


def test_a_study_trains_the_seeds_that_are_missing(tmp_path, here, capsys):
    one = rl.train_seeds("a2c", "cartpole", SMALL, folder=tmp_path / "s", **{**CALL, "seeds": 1, "progress": "auto"})
    lines = capsys.readouterr().out.splitlines()
    assert [each.partition(":")[0] for each in lines] == ["A2C on cartpole, seed 0"] * 5
    assert lines[0].endswith("80 of 320 steps, return 25")
    assert lines[-1].endswith("return 100 over 4 episodes, 2 s")
    assert (one.interval, one.curves.tolist(), one.bar) == (None, [[25.0, 50.0, 75.0, 100.0]], 475.0)
    study = rl.train_seeds("A2C", "cartpole", SMALL, folder=tmp_path / "s", **CALL)
    assert [each.seed for each in here] == [0, 1]
    assert {each.config["hidden"][0] for each in here} == {8}
    assert study.returns.tolist() == [return_of(0), return_of(1)]
    assert study.interval == rl.bootstrap_interval(study.returns)
    assert (study.mean, study.best, study.reached) == (study.returns.mean(), 1, 0)
    assert (tmp_path / "s" / "curves.png").stat().st_size > 1000
    assert "interquartile, over 2 seeds of 4 episodes" in repr(study)
    assert study.table().splitlines()[2].split() == ["1", "107", "2"]
    assert [agent.seed for _, agent in rl.study_agents(tmp_path / "s")] == [0, 1]
    assert [seed for seed, _ in rl.study_agents(tmp_path / "s", best=True)] == [1]
    assert rl.load_agent(study.agent_folder(1)).seed == 1
    with pytest.raises(ArgumentError, match="seed must be one of"):
        study.agent_folder(2)
    with pytest.raises(ArgumentError, match=r"that of .* has another steps"):
        rl.train_seeds("a2c", "cartpole", SMALL, folder=tmp_path / "s", **{**CALL, "steps": 640})
    fresh = rl.train_seeds("a2c", "cartpole", SMALL, folder=tmp_path / "s", resume=False, **{**CALL, "seeds": [1]})
    assert fresh.seeds == (1,)
    assert len(here) == 3
    assert not (tmp_path / "s" / "seed0").exists()


def test_agents_of_what_is_no_study_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match="of a study"):
        rl.study_agents(tmp_path)
    for kind, error, reason in (("trials", ArgumentError, "study of seeds"), ("seeds", DataError, "none was")):
        (tmp_path / "study.json").write_text(json.dumps({"format": 1, "kind": kind, "environment": "cartpole"}))
        with pytest.raises(error, match=reason):
            rl.study_agents(tmp_path)
    (tmp_path / "seed0").mkdir()
    (tmp_path / "seed0" / "result.json").write_text("{}")
    with pytest.raises(DataError, match="must hold the result"):
        rl.study_agents(tmp_path)
    about = {"agent": "A2C", "environment": "CartPole-v1", "config": {"environments": 2}}
    (tmp_path / "agent.json").write_text(json.dumps(about))
    with pytest.raises(ArgumentError, match="gymnasium:CartPole-v1"):
        rl.agent_of_folder(tmp_path)
    with pytest.raises(DataError, match="must hold an agent"):
        rl.agent_of_folder(tmp_path / "seed0")


def test_a_picture_has_the_seeds_their_mean_and_the_bar(tmp_path):
    curves = np.array([[10.0, 20.0], [30.0, 40.0], [50.0, 90.0]])
    parts = {"agent": "PPO", "environment": "cartpole", "steps": [5, 10], "episodes": 3, "bar": 85.0, "folder": "runs"}
    study = rl.SeedStudy(**parts, seeds=(0, 1, 2), curves=curves, returns=curves[:, 1], seconds=[1.0, 1.0, 1.0])
    figure = study.plot(tmp_path / "curves.png")
    (axes,) = figure.axes
    lines = [line.get_ydata() for line in axes.lines]
    np.testing.assert_array_equal(lines[:3], curves)
    np.testing.assert_allclose(lines[3], [30.0, 50.0])  # a quarter of three is none
    assert lines[4][0] == 85.0
    band = axes.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (10.0, 90.0)
    assert (study.reached, study.best) == (1, 2)


def test_a_folder_of_something_else_is_left_alone(tmp_path, here):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    for resume in (True, False):
        with pytest.raises(ArgumentError, match="empty, new, or of a study"):
            rl.train_seeds("a2c", "cartpole", SMALL, folder=tmp_path / "mine", resume=resume, **CALL)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"
    with pytest.raises(ArgumentError, match="must be a folder"):
        rl.train_seeds("a2c", "cartpole", SMALL, folder=tmp_path / "mine" / "thesis.txt", **CALL)
    (tmp_path / "old").mkdir()
    for text, reason in (("[", "must say what study"), ('{"format": 9}', "format 1")):
        (tmp_path / "old" / "study.json").write_text(text)
        with pytest.raises(DataError, match=reason):
            rl.train_seeds("a2c", "cartpole", SMALL, folder=tmp_path / "old", **CALL)
    assert not here


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"agent": "pop"}, UnknownNameError, "unknown agent"),
        ({"environment": "cartpoel"}, UnknownNameError, "unknown environment"),
        ({"environment": "gymnasium:os:CartPole-v1"}, ArgumentError, "without a module"),
        ({"config": {"learning_rat": 1.0}}, UnknownNameError, "unknown setting"),
        ({"config": {"learning_rate": -1.0}}, ArgumentError, "learning_rate must"),
        ({"config": rl.PPOConfig()}, ArgumentError, "config must be a A2CConfig"),
        ({"seeds": 0}, ArgumentError, "seeds must be"),
        ({"seeds": [1, 1]}, ArgumentError, "different"),
        ({"seeds": "12"}, ArgumentError, "seeds must be"),
        ({"seeds": [2**31]}, ArgumentError, "below"),
        ({"steps": 0}, ArgumentError, "steps must be"),
        ({"steps": None, "environment": "pendulum"}, ArgumentError, "has no preset"),
        ({"processes": 0}, ArgumentError, "processes must be"),
        ({"episodes": 0}, ArgumentError, "episodes must be"),
        ({"progress": "loud"}, ArgumentError, "progress must be"),
        ({"environment": "spread"}, ArgumentError, "one agent"),
    ],
)
def test_wrong_arguments_are_refused_before_any_training(changes, error, reason, tmp_path, here):
    call = {"agent": "a2c", "environment": "cartpole", "config": SMALL, "folder": tmp_path / "s", **CALL, **changes}
    with pytest.raises(error, match=reason):
        rl.train_seeds(call.pop("agent"), call.pop("environment"), call.pop("config"), **call)
    assert not here


def test_agents_are_listed_and_loaded_by_name(tmp_path):
    expected = {
        name
        for name in dir(rl)
        if isinstance(getattr(rl, name), type) and issubclass(getattr(rl, name), rl.Agent) and name != "Agent"
    }
    assert set(rl.list_agents()) == expected
    (tmp_path / "agent.json").write_text('{"agent": "exit"}')
    with pytest.raises(DataError, match="must hold one of the agents"):
        rl.load_agent(tmp_path)
    with pytest.raises(DataError, match="must hold an agent"):
        rl.load_agent(tmp_path / "none")


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def start(folder):
    code = f"import sys; from kerasdl import rl; rl.train_seeds('a2c', 'cartpole', {SMALL}, folder=sys.argv[1], "
    code += "seeds=1, steps=100_000, episodes=4, curve_episodes=2)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], env=env, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_killed_study_goes_on_in_new_processes(tmp_path):
    process = start(tmp_path / "s")
    run = tmp_path / "s" / "seed0" / "run"
    limit = time.monotonic() + 240
    while not any(run.glob("**/*")) and time.monotonic() < limit:
        time.sleep(0.1)
    time.sleep(2.0)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(children) == 1
    assert not (tmp_path / "s" / "seed0" / "result.json").exists()
    while lives(children[0]) and time.monotonic() < limit:  # it ends with its parent
        time.sleep(0.1)
    assert time.monotonic() < limit
    call = {"seeds": 1, "steps": 100_000, "episodes": 4, "curve_episodes": 2, "progress": "off"}
    study = rl.train_seeds("a2c", "cartpole", SMALL, folder=tmp_path / "s", **call)
    job = job_of(tmp_path / "whole", steps=100_000)
    result = run_job(job, lambda line: None)
    assert study.returns[0] == result["return"]
    assert list(study.curves[0]) == result["figures"]["evaluation_return"]


class Child:
    """Process that gives one answer; None where it has ended."""

    def __init__(self, answer):
        self.first, self.process = answer, SimpleNamespace(kill=lambda: None)

    def ask(self, line):
        return self.first

    def last_words(self):
        return ["Traceback", "MemoryError"]


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        ({"error": "UnknownNameError", "text": "unknown x"}, UnknownNameError, "seed 7 of A2C: unknown x"),
        ({"error": "Strange", "text": "odd"}, TrainingError, "seed 7 of A2C: odd"),
        (None, TrainingError, "seed 7 of A2C ended early: Traceback; MemoryError"),
    ],
)
def test_a_failed_training_is_named_by_its_seed(answer, error, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "child_process", lambda *rest: nullcontext(Child(answer)))
    with pytest.raises(error, match=reason):
        jobs.run_jobs([job_of(tmp_path, seed=7)], 1, True, lambda job, answer: None)
