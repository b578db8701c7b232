"""Trackers: what they write, read back by the tools they write for; resumed runs; failed runs; failing servers."""

import csv
import doctest
import json
import os
import signal
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tracked_run
import wandb
from read_back import FOUND, client_of, found_csv, found_mlflow, found_wandb
from tracked_run import EPOCHS, config, counting, trackers

import kerasdl
from kerasdl.core.errors import ArgumentError, MissingPackageError, TrainingError
from kerasdl.train import RunCallback, RunConfig, fit, run_steps, tracking
from kerasdl.train.tracking import tracker as base
from kerasdl.train.tracking import wandb_runs

SUMS = [3.0, 6.0, 9.0, 12.0]
KINDS = ("csv", "tensorboard", "mlflow", "wandb")


@pytest.fixture(scope="module", autouse=True)
def _end_of_wandb():
    """W&B serves all runs of a process from a second one."""
    yield
    wandb.teardown()


def expected(sums=SUMS):
    return {
        "sum": [(epoch, value) for epoch, value in enumerate(sums, 1)],
        "val_sum": [(epoch, 2 * value) for epoch, value in enumerate(sums, 1)],
    }


class Break(RunCallback):
    """Raises at the end of an epoch, counted from 1, after all callbacks before it and before the checkpoint."""

    def __init__(self, epoch, error):
        self.epoch, self.error = epoch, error

    def end_epoch(self, epoch, figures):
        if epoch + 1 == self.epoch:
            raise self.error


def lines_of(capsys):
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_settings_figures_and_the_end_arrive(tmp_path, kind):
    tracker = trackers(tmp_path)[kind]
    run_steps(*counting([tracker]), config(tmp_path / "run", schedule="cosine"))
    found = FOUND[kind](tmp_path)
    assert found.figures == expected()
    assert found.states == ["finished"]
    known = {"batch_size": "7", "data.name": "numbers", "data.shape": "[3, 1]", "schedule": "cosine"}
    if kind == "tensorboard":
        known["batch_size"] = "7.0"  # it knows one kind of number
    assert known.items() <= found.settings.items()


@pytest.mark.parametrize("kind", ["mlflow", "wandb"])
def test_log_and_curves_are_kept_with_the_run(tmp_path, kind):
    run_steps(*counting([trackers(tmp_path)[kind]]), config(tmp_path / "run"))
    assert FOUND[kind](tmp_path).files >= {"log.csv", "curves.png"}
    (copy,) = [path for path in tmp_path.rglob("log.csv") if path.parent != tmp_path / "run"]
    assert copy.read_text() == (tmp_path / "run" / "log.csv").read_text()
    assert len(copy.read_text().splitlines()) == 1 + EPOCHS


@pytest.mark.slow
def test_a_killed_run_goes_on_without_an_epoch_twice_or_lost(tmp_path):
    """Killed once the trackers have the figures of epoch 3 and before its checkpoint: epoch 3 is trained again."""
    path = os.pathsep.join(filter(None, [str(Path(kerasdl.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": path}
    environment.pop("WANDB_SERVICE", None)  # else W&B's process of these tests would serve it, and outlive it
    command = [sys.executable, tracked_run.__file__, str(tmp_path), "3"]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert found_mlflow(tmp_path).states == ["running"]
    assert found_mlflow(tmp_path).figures == expected(SUMS[:3])
    assert found_csv(tmp_path).states == ["running"]
    run = run_steps(*counting([*trackers(tmp_path).values(), tracked_run.Killer(None)]), config(tmp_path / "run"))
    assert run.resumed
    for kind in KINDS:
        found = FOUND[kind](tmp_path)
        assert found.figures == expected(), kind
        assert found.states == ["finished"], kind


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (TrainingError("loss not finite\nat step 9"), "failed"),
        (KeyboardInterrupt(), "killed"),
    ],
)
def test_a_broken_run_says_how_it_ended_and_goes_on_as_the_same(tmp_path, error, state):
    for kind in KINDS:
        folder = tmp_path / kind
        with pytest.raises(type(error)):
            run_steps(*counting([trackers(folder)[kind], Break(2, error)]), config(folder / "run"))
        found = FOUND[kind](folder)
        assert found.figures == expected(SUMS[:2]), kind
        assert found.states == ["not finished" if kind == "tensorboard" else state], kind
        run_steps(*counting([trackers(folder)[kind], Break(9, error)]), config(folder / "run"))
        found = FOUND[kind](folder)
        assert found.figures == expected(), kind
        assert found.states == ["finished"], kind


def test_the_error_is_told_and_forgotten_once_the_run_went_on(tmp_path):
    def tags():
        client = client_of(tmp_path)
        return client.search_runs(["0", client.get_experiment_by_name("toys").experiment_id])[0].data.tags

    with pytest.raises(TrainingError):
        run_steps(
            *counting([trackers(tmp_path)["mlflow"], Break(2, TrainingError("too hot\nby far"))]),
            config(tmp_path / "run"),
        )
    assert tags()["error"] == "TrainingError: too hot"
    run_steps(*counting([trackers(tmp_path)["mlflow"], Break(9, ValueError())]), config(tmp_path / "run"))
    assert "error" not in tags()


def test_a_finished_run_that_is_asked_for_again_is_left_alone(tmp_path):
    for _ in range(2):
        run_steps(*counting([trackers(tmp_path)["mlflow"]]), config(tmp_path / "run"))
        assert found_mlflow(tmp_path).figures == expected()  # it takes exactly one run


def test_one_tracker_serves_two_runs(tmp_path):
    tracker = trackers(tmp_path)["mlflow"]
    ids = []
    for _ in range(2):
        run_steps(*counting([tracker]), config(None))
        ids.append(tracker.id)
    assert len(set(ids)) == 2


def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_a_server_that_refuses_does_not_hold_a_run_up(tmp_path, capsys):
    tracker = tracking.MLflow(f"http://127.0.0.1:{closed_port()}")
    started = time.monotonic()
    run = run_steps(*counting([tracker]), config(tmp_path, progress="auto"))
    assert time.monotonic() - started < 20
    assert run.history["sum"] == SUMS
    told = [line for line in lines_of(capsys) if "MLflow" in line]
    assert len(told) == 2
    assert told[0].startswith("MLflow failed, and the run continues without it: ")
    assert told[1] == "MLflow never received 4 of 4 epochs"
    assert "MLFLOW_ALLOW_FILE_STORE" not in os.environ


@pytest.mark.parametrize("kind", KINDS)
def test_a_place_that_cannot_be_written_does_not_lose_the_run(tmp_path, capsys, kind):
    (tmp_path / "file").write_text("in the way")
    run = run_steps(*counting([trackers(tmp_path / "file")[kind]]), config(None, progress="auto"))
    assert run.history["sum"] == SUMS
    told = [line for line in lines_of(capsys) if " failed, and the run continues without it: " in line]
    assert len(told) == 1


@pytest.mark.slow
def test_wandb_online_without_a_server_does_not_hold_a_run_up(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    started = time.monotonic()
    run = run_steps(*counting([tracking.WandB("toys", "online", tmp_path)]), config(None, progress="auto"))
    assert run.history["sum"] == SUMS
    assert time.monotonic() - started < 150
    assert len([line for line in lines_of(capsys) if line.startswith("W&B failed")]) == 1


def test_what_wandb_online_has_is_not_sent_again(tmp_path):
    """A stand-in for the package: no server of W&B can be had here."""
    rows = []

    class Online:
        starting_step, summary = 3, {"sum": 6.0, "val_sum": 12.0}  # as of a run whose last step was 2

        def log(self, figures, step, commit):
            rows.append((step, figures, commit))

        def finish(self, exit_code):
            rows.append(exit_code)

    tracker = tracking.WandB("toys", "online", tmp_path)
    given = {}
    tracker.wandb = types.SimpleNamespace(Settings=dict, init=lambda **more: given.update(more) or Online())
    tracker.setup(base.RunInfo(None, {"a": {"b": 1}}, None, print))
    tracker.restore({"id": "known", "history": [[1, {"sum": 3.0}], [2, {"sum": 6.0}]]})
    tracker.begin_epoch(1)
    tracker.end_epoch(1, {"sum": 6.0, "val_sum": 12.0})
    tracker.end_epoch(2, {"sum": 9.0, "val_sum": 18.0})
    tracker.end()
    assert rows == [(3, {"sum": 9.0, "val_sum": 18.0}, True), 0]
    assert (given["id"], given["resume"], given["mode"], given["config"]) == ("known", "allow", "online", {"a.b": 1})


class Flaky(tracking.Tracker):
    """A tracker whose server is away for some calls."""

    title = "Flaky"

    def __init__(self, away):
        super().__init__()
        self.away, self.calls, self.rows, self.ended = away, 0, [], []

    def answer(self):
        self.calls += 1
        if self.calls in self.away:
            raise ConnectionError("nobody there\nat all")

    def open(self):
        self.answer()
        self.id = self.id or "only"
        return {(name, epoch) for epoch, name, _ in self.rows}

    def send(self, epoch, figures):
        self.answer()
        self.rows += [(epoch, name, value) for name, value in figures.items()]

    def close(self, ending, artifacts):
        self.answer()
        self.ended.append(ending)


@pytest.mark.parametrize("away", [{1}, {2, 3}, {1, 2, 3}, {3}, {5}])
def test_what_a_server_missed_is_sent_later(away, capsys, monkeypatch):
    monkeypatch.setattr(base, "RETRY_SECONDS", 0.0)
    tracker = Flaky(away)
    run_steps(*counting([tracker]), config(None, progress="auto"))
    assert [(epoch, value) for epoch, name, value in tracker.rows if name == "sum"] == expected()["sum"]
    assert tracker.ended == [tracking.RunEnd("finished")]
    told = [line for line in lines_of(capsys) if "Flaky" in line]
    assert told == ["Flaky failed, and the run continues without it: ConnectionError: nobody there"]


def test_it_is_not_tried_again_at_once_but_at_the_end(capsys):
    tracker = Flaky({1})
    run_steps(*counting([tracker]), config(None, progress="auto"))
    assert tracker.calls == 1 + 1 + EPOCHS + 1
    assert [epoch for epoch, name, _ in tracker.rows if name == "sum"] == [1, 2, 3, 4]


def test_the_end_alone_may_be_what_is_missing(capsys):
    run_steps(*counting([Flaky({1 + EPOCHS + 1})]), config(None, progress="auto"))
    assert lines_of(capsys)[-1] == "Flaky never received the end of the run"


def test_a_run_refused_before_its_first_epoch_opens_nothing(tmp_path):
    run_steps(*counting([]), config(tmp_path / "run"))
    tracker = Flaky(set())
    with pytest.raises(ArgumentError):
        run_steps(*counting([tracker]), config(tmp_path / "run", batch_size=8))
    assert (tracker.calls, tracker.ended) == (0, [])


def test_mlflow_takes_names_and_numbers_that_it_does_not_know(tmp_path):
    step, state = counting([trackers(tmp_path)["mlflow"]])
    odd = {"f1@0.5 (macro)": float("nan"), "gap": float("inf")}
    state = type(state)(**{**vars(state), "evaluate": lambda: odd})
    run_steps(step, state, config(None, epochs=1))
    figures = found_mlflow(tmp_path).figures
    assert np.isnan(figures["f1_0.5 _macro_"][0][1])
    assert figures["gap"] == [(1, float("inf"))]


def test_long_settings_and_many_of_them(tmp_path):
    step, state = counting([trackers(tmp_path)["mlflow"]])
    many = {"note": "x" * 10_000, "many": {f"key{number}": number for number in range(250)}}
    state = type(state)(**{**vars(state), "identity": many})
    run_steps(step, state, config(None, epochs=1))
    settings = found_mlflow(tmp_path).settings
    assert (settings["note"], settings["many.key249"]) == ("x" * 6000, "249")


def test_the_history_of_wandb_is_read_across_blocks(tmp_path):
    """Records that lie in two or more blocks of 32 kB come back whole: what was sent is known, and not sent twice."""
    tracker = tracking.WandB("toys", folder=tmp_path)
    tracker.setup(base.RunInfo(None, {"note": "x" * 70_000}, None, print))
    tracker.begin_epoch(0)
    for epoch in range(300):
        tracker.end_epoch(epoch, {"sum": float(epoch), "note": epoch / 7})
    tracker.end()
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert path.stat().st_size > 3 * 32768
    rows = wandb_runs.rows_in(path)
    assert [(row["_step"], row["sum"], row["note"]) for row in rows] == [(n + 1, float(n), n / 7) for n in range(300)]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    cut = wandb_runs.rows_in(path)
    assert 0 < len(cut) < 300
    assert cut == rows[: len(cut)]


def test_wandb_writes_where_it_is_asked_to_wherever_the_process_goes(tmp_path, monkeypatch):
    """W&B's own process was started by an earlier run, in another folder."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        run_steps(*counting([tracking.WandB("toys", folder="logs")]), config(None, epochs=1))
        assert found_wandb(tmp_path / name).states == ["finished"]


@pytest.mark.parametrize("kind", ["MLflow", "WandB"])
def test_a_package_that_is_missing_is_said_before_the_run(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, kind.lower(), None)
    with pytest.raises(MissingPackageError, match=r"pip install 'kerasdl\[track\]'"):
        getattr(tracking, kind)("toys")


def test_refuses_other_names_and_modes():
    with pytest.raises(ArgumentError, match=r"must end in \.csv; got 'log\.txt'"):
        tracking.CSVLog("log.txt")
    with pytest.raises(ArgumentError, match="mode must be one of"):
        tracking.WandB("toys", mode="disabled")


def test_mlflow_takes_folders_and_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tracking.MLflow().uri == (tmp_path / "mlruns").as_uri()
    assert tracking.MLflow("logs").uri == (tmp_path / "logs").as_uri()
    assert tracking.MLflow(tmp_path / "a b").uri == (tmp_path / "a b").as_uri()
    for address in ("http://host:5000", "databricks", "sqlite:///runs.db"):
        assert tracking.MLflow(address).uri == address
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5001")
    assert tracking.MLflow().uri == "http://host:5001"


def test_flat():
    nested = {"a": {"b": {"c": 1}, "d": [1, "x"]}, "e": None, "f": {}, "g": True}
    assert base.flat(nested) == {"a.b.c": 1, "a.d": '[1, "x"]', "e": None, "f": "{}", "g": True}


def test_fit_takes_trackers_among_its_callbacks(toy, tmp_path):
    x, y = toy.data()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trackers = [tracking.CSVLog(tmp_path / "run.csv"), tracking.TensorBoard(tmp_path / "board")]
    settings = RunConfig(epochs=2, learning_rate=0.01, progress="off")
    run = fit(toy.model(), (x, y), validation=(x, y), loss=loss, callbacks=trackers, config=settings)
    with open(tmp_path / "run.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_loss"]) for row in rows] == run.history["val_loss"]
    told = json.loads((tmp_path / "run.json").read_text())
    assert told["settings"]["learning_rate"] == 0.01
    assert told["settings"]["train.size"] == len(x)


def test_the_examples_run(tmp_path, monkeypatch):
    """On the counting run, which takes no time; the test above is on the real `fit`."""
    monkeypatch.chdir(tmp_path)
    names = {
        "model": None,
        "x": None,
        "y": None,
        "RunConfig": RunConfig,
        "tracking": tracking,
        "flat": base.flat,
    }
    names["fit"] = lambda model, train, callbacks, config: run_steps(*counting(callbacks), config)
    for thing in (tracking.CSVLog, tracking.TensorBoard, tracking.MLflow, tracking.WandB, base.flat):
        (test,) = [each for each in doctest.DocTestFinder().find(thing, globs=names) if each.examples]
        assert doctest.DocTestRunner().run(test).failed == 0, thing
