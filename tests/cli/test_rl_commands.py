"""`kerasdl rl`: wrong words are named before TensorFlow is imported, and a training is evaluated, played and tuned."""

import json
import subprocess
import sys

import pytest
from fake_trainings import fake_training, return_of
from PIL import Image
from typer.testing import CliRunner

import kerasdl
from kerasdl import rl
from kerasdl.cli import agent_checks
from kerasdl.cli.commands import app
from kerasdl.errors import ArgumentError, DataError
from kerasdl.rl.studies import jobs

SMALL = "environments=4 rollout_steps=8 hidden=[8] jit_compile=false iterations_per_call=1"
WORDS = [word for each in SMALL.split() for word in ("--set", each)]
CALL = ["--steps", "320", "--episodes", "4", "--curve-episodes", "2"]


def run(*words):
    return CliRunner().invoke(app, list(map(str, words)))


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Trainings that are not made."""
    monkeypatch.setattr(jobs, "_run_apart", fake_training)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a training of two seeds, and the words that it printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "_run_apart", fake_training)
        folder = tmp_path_factory.mktemp("rl") / "run"
        result = run("rl", "train", "a2c", "cartpole", "-o", folder, "--seeds", 2, *CALL, *WORDS)
    assert result.exit_code == 0, result.output
    return folder, result.stdout


def test_a_training_says_what_it_reached(trained):
    folder, printed = trained
    assert "A2C on cartpole, 320 steps" in printed
    assert "Interquartile mean" in printed
    assert "0 of 2 seeds reach 475." in printed
    found = json.loads(
        run("rl", "train", "a2c", "cartpole", "-o", folder, "--seeds", 2, *CALL, *WORDS, "--json").stdout
    )
    assert found["seeds"] == [0, 1]
    assert found["low"] <= found["interquartile_mean"] <= found["high"]
    assert found["returns"] == [return_of(0), return_of(1)]


def test_a_training_an_agent_and_a_seed_are_measured(trained):
    folder, _ = trained
    both = json.loads(run("rl", "evaluate", folder, "--episodes", 3, "--seed", 5, "--json").stdout)
    assert [each["player"] for each in both] == ["seed 0", "seed 1"]
    (alone,) = json.loads(
        run("rl", "evaluate", folder / "seed1" / "agent", "--episodes", 3, "--seed", 5, "--json").stdout
    )
    assert alone["return"] == both[1]["return"]
    assert alone["return"] == rl.load_agent(folder / "seed1" / "agent").evaluate(3, seed=5).mean
    assert "deviation" in run("rl", "evaluate", folder, "--episodes", 3).stdout


def test_the_best_seed_is_filmed(trained, tmp_path):
    folder, _ = trained
    words = ["--gif", tmp_path / "out.gif", "--seed", 2, "--frames-per-second", 50, "--json"]
    result = run("rl", "play", folder, *words)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["player"] == "seed 1"  # whose return is higher
    with Image.open(tmp_path / "out.gif") as film:
        shown = [film.seek(place) or film.info["duration"] for place in range(film.n_frames)]
    assert sum(shown) == 20 * found["length"]  # equal frames are one, shown longer


def test_a_bundle_plays(tmp_path):
    env = rl.make("cartpole")
    policy = rl.policy_network(env.observation_space, env.action_space, hidden=(4,))
    settings = rl.control_settings("cartpole")
    bundle = kerasdl.bundles.Bundle.of(policy, name="p", task="discrete_control", preprocess=settings)
    bundle.save(tmp_path / "p.zip")
    (found,) = json.loads(run("rl", "evaluate", tmp_path / "p.zip", "--episodes", 3, "--seed", 7, "--json").stdout)
    assert found["return"] == rl.PolicyPlayer(policy, "cartpole").evaluate(3, seed=7).mean
    assert run("rl", "play", tmp_path / "p.zip", "--gif", tmp_path / "p.gif").exit_code == 0
    result = run("rl", "play", "digits_mobilenet", "--gif", tmp_path / "p.gif")
    assert result.exit_code == 2
    assert "discrete_control or continuous_control" in result.output


def test_a_tuning_writes_settings_that_a_training_takes(tmp_path, monkeypatch):
    rates = {}

    def apart(job, resume, tell, *rest):
        rates[job.folder] = job.config["learning_rate"]
        return {"return": job.config["learning_rate"], "seconds": 1.0}

    monkeypatch.setattr(jobs, "_run_apart", apart)
    result = run("rl", "tune", "a2c", "cartpole", "-o", tmp_path / "t", "--trials", 3, "--steps", 64)
    assert result.exit_code == 0, result.output
    assert "preset" in result.stdout
    assert "--settings" in result.stdout
    settings = agent_checks.settings_of([], tmp_path / "t" / "best.json")
    assert settings.get("learning_rate", rl.A2CConfig().learning_rate) == max(rates.values())
    assert isinstance(jobs.resolved_config("A2C", "cartpole", settings), rl.A2CConfig)


def test_agents_environments_and_presets_are_listed():
    found = json.loads(run("rl", "list", "--json").stdout)
    assert found["agents"] == rl.list_agents()
    assert found["environments"] == rl.list_environments()
    assert {"agent": "PPO", "environment": "cartpole", "steps": 100_000, "bar": 475.0} in found["presets"]
    assert "cliff_walking" in run("rl", "list").stdout


WRONG = {
    "agent": (["train", "pop", "cartpole", "-o", "x"], 2, "unknown agent"),
    "environment": (["train", "ppo", "cartpoel", "-o", "x"], 2, "unknown environment"),
    "seeds": (["train", "ppo", "cartpole", "-o", "x", "--seeds", "0"], 2, "--seeds must be"),
    "word": (["train", "ppo", "cartpole", "-o", "x", "--set", "discount"], 2, "--set must be name=value"),
    "settings": (["train", "ppo", "cartpole", "-o", "x", "--settings", "no.json"], 3, "--settings must be a JSON"),
    "trials": (["tune", "ppo", "cartpole", "-o", "x", "--trials", "0"], 2, "--trials must be"),
    "bundle": (["play", "cartpole_pop", "--gif", "x.gif"], 2, "cartpole_pop"),
    "gif": (["play", "digits_mobilenet", "--gif", "x.mp4"], 2, "--gif must end in .gif"),
    "folder": (["evaluate", "no/where"], 3, "no/where"),
    "env": (["evaluate", "digits_mobilenet", "--env", "cartpoel"], 2, "unknown environment"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_words_are_refused_by_name(case):
    words, code, reason = WRONG[case]
    result = run("rl", *words)
    assert reason in result.output
    assert result.exit_code == code


def test_wrong_words_are_refused_before_tensorflow_is_imported():
    code = "import sys, contextlib; from typer.testing import CliRunner; from kerasdl.cli.commands import app\n"
    code += f"for words in {[each[0] for each in WRONG.values()] + [['list'], ['--help']]}:\n"
    code += "    CliRunner().invoke(app, ['rl', *words])\n"
    code += "    assert 'tensorflow' not in sys.modules, words"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_settings_are_read_from_words_and_files(tmp_path):
    words = ["a=1", "b=1e-3", "c=true", "d=[64, 64]", "e=relu", "f=none", "g=False"]
    expected = {"a": 1, "b": 1e-3, "c": True, "d": [64, 64], "e": "relu", "f": None, "g": False}
    assert agent_checks.settings_of(words, None) == expected
    (tmp_path / "s.json").write_text('{"a": 5, "h": 2}')
    assert agent_checks.settings_of(["a=1"], tmp_path / "s.json") == {"a": 1, "h": 2}
    for text in ("[1]", "{"):
        (tmp_path / "s.json").write_text(text)
        with pytest.raises(DataError, match="--settings must"):
            agent_checks.settings_of([], tmp_path / "s.json")
    with pytest.raises(ArgumentError, match="name=value"):
        agent_checks.settings_of(["=1"], None)
