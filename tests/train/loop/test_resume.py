"""Checkpoints: exact resumption, after a real kill too; damage; and folders of other runs."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasdl
from kerasdl.core.errors import ArgumentError, TrainingError
from kerasdl.train import RunConfig, fit

SCRIPT = Path(__file__).with_name("killed_run.py")


class StopAt(keras.callbacks.Callback):
    """Breaks a run off after so many steps, as a crash would: nothing is saved by it."""

    def __init__(self, step):
        super().__init__()
        self.steps = iter(range(1, step))  # a plain number would be kept in checkpoints, and go on counting

    def on_train_batch_end(self, batch, logs=None):
        if next(self.steps, None) is None:
            raise ZeroDivisionError


def settings(folder, **more):
    return RunConfig(
        **{
            "epochs": 4,
            "batch_size": 8,
            "learning_rate": 0.01,
            "folder": folder,
            "save_every": 3,
            "progress": "off",
            **more,
        }
    )


def start(command, folder):
    path = os.pathsep.join(filter(None, [str(Path(kerasdl.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": path}
    return subprocess.Popen([sys.executable, command, folder], env=environment, text=True, stdout=subprocess.PIPE)


def mid_epoch_step(folder):
    steps = [int(path.name[5:]) for path in folder.glob("checkpoints/step_*")]
    return max((step for step in steps if step > 60 and step % 60), default=None)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(tmp_path):
    undisturbed = start(SCRIPT, tmp_path / "whole")
    killed = start(SCRIPT, tmp_path / "killed")
    while mid_epoch_step(tmp_path / "killed") is None and killed.poll() is None:
        time.sleep(0.002)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    lines = killed.stdout.read()
    assert "epoch 1/4" in lines
    assert "hash" not in lines
    resumed = start(SCRIPT, tmp_path / "killed").communicate()[0]
    expected = undisturbed.communicate()[0].split("hash ")[1].split()
    found = resumed.split("hash ")[1].split()
    assert "resuming in" in resumed
    assert "epoch 1/4" not in resumed
    assert (found[0], found[1], found[2]) == (expected[0], "240", "True")
    assert (tmp_path / "killed/log.csv").read_text() == (tmp_path / "whole/log.csv").read_text()
    assert not list((tmp_path / "killed/checkpoints").glob(".writing-*"))


def crash_and_resume(toy, task, folder, at, model=None, callbacks=(), **more):
    make = model or (lambda: toy.model(norm=True, dropout=0.3))
    data = {"validation": toy.data(24, seed=1), "task": task}

    def run(config, extra=()):
        keras.utils.set_random_seed(3)
        made = [each() for each in callbacks]
        return fit(make(), toy.data(44), **data, callbacks=[*made, *extra], config=config), made

    whole, made = run(settings(None, **more), [StopAt(10**6)])
    with pytest.raises(ZeroDivisionError):
        run(settings(folder, **more), [StopAt(at)])
    again, made_again = run(settings(folder, **more), [StopAt(10**6)])
    assert again.resumed
    assert toy.digest(again.model) == toy.digest(whole.model)
    assert again.history == whole.history
    assert again.best == whole.best
    return made, made_again


# Epochs of 6 steps, saved each 3: in the first epoch, right after its end, and in the middle of the third.
@pytest.mark.parametrize("at", [4, 7, 17])
def test_resumes_exactly_wherever_it_broke_off(toy, task, tmp_path, at):
    crash_and_resume(toy, task, tmp_path, at, schedule="cosine")
    history = json.loads(max(tmp_path.glob("checkpoints/step_*")).joinpath("state.json").read_text())["history"]
    with open(tmp_path / "log.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row.pop("epoch")) for row in rows] == [1, 2, 3, 4]
    assert {name: [float(row[name]) for row in rows] for name in rows[0]} == history


def test_resumes_plateau_patience_and_the_numbers_of_callbacks(toy, task, tmp_path):
    def callback():
        return keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.5, patience=1, min_delta=10.0)

    more = {"schedule": "plateau", "patience": 3, "min_delta": 0.5, "epochs": 6, "learning_rate": 1e-4}
    (made,), (again,) = crash_and_resume(toy, task, tmp_path, 10, callbacks=[callback], **more)
    assert (again.wait, again.best) == (made.wait, made.best)
    assert made.best != float("inf")


def test_a_finished_run_is_not_run_again(toy, task, tmp_path, capsys):
    def run(model):
        return fit(
            model, toy.data(), validation=toy.data(seed=1), task=task, config=settings(tmp_path, progress="auto")
        )

    first = run(toy.model(norm=True))
    capsys.readouterr()
    again = run(toy.model(norm=True))
    assert capsys.readouterr().out == f"the run in {tmp_path} is finished; this is its result\n"
    assert toy.digest(again.model) == toy.digest(first.model)
    assert (again.history, again.best, again.steps, again.stopped) == (first.history, first.best, 32, "finished")
    assert again.resumed
    assert not first.resumed


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["variables.npz", "state.json", "SHA256SUMS"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(toy, task, tmp_path, capsys, file):
    def run(folder, callback, show="off"):
        keras.utils.set_random_seed(3)
        config = settings(folder, progress=show)
        return fit(toy.model(dropout=0.3), toy.data(), task=task, callbacks=[callback], config=config)

    whole = run(None, StopAt(10**6))
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, StopAt(20))
    kept = sorted(tmp_path.glob("checkpoints/step_*"))
    assert [folder.name for folder in kept] == ["step_00000016", "step_00000018"]
    damage(kept[-1] / file)
    again = run(tmp_path, StopAt(10**6), show="auto")
    lines = capsys.readouterr().out
    assert f"checkpoint {kept[-1]} is damaged" in lines
    assert "from epoch 3, step 0" in lines
    assert toy.digest(again.model) == toy.digest(whole.model)
    assert again.history == whole.history


def test_all_checkpoints_damaged_is_an_error(toy, task, tmp_path):
    config = settings(tmp_path)
    fit(toy.model(), toy.data(), task=task, config=config)
    for file in tmp_path.glob("checkpoints/step_*/variables.npz"):
        damage(file)
    with pytest.raises(TrainingError, match=r"every checkpoint in .* is damaged\. Pass resume=False"):
        fit(toy.model(), toy.data(), task=task, config=config)


def test_a_folder_of_another_run_is_refused(toy, task, tmp_path):
    fit(toy.model(), toy.data(), task=task, config=settings(tmp_path))
    for model, data, config, difference in (
        (
            toy.model(),
            toy.data(),
            settings(tmp_path, learning_rate=0.5),
            "settings.learning_rate is 0.01 there, 0.5 here",
        ),
        (toy.model(width=8), toy.data(), settings(tmp_path), "model.weights is 114 there, 58 here"),
        (toy.model(dropout=0.1), toy.data(), settings(tmp_path), "model.layers is 3 there, 4 here"),
        (toy.model(), toy.data(63), settings(tmp_path), "train.size is 64 there, 63 here"),
    ):
        with pytest.raises(ArgumentError, match=f"same settings, model and data.*{difference}.*resume=False"):
            fit(model, data, task=task, config=config)
    run = fit(toy.model(), toy.data(63), task=task, config=settings(tmp_path, resume=False, epochs=1))
    assert (run.resumed, run.steps) == (False, 8)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 2


def test_a_foreign_pipeline_resumes_at_the_start_of_the_epoch(toy, task, tmp_path, capsys):
    def run(folder, callback):
        keras.utils.set_random_seed(3)
        pipeline = tf.data.Dataset.from_tensor_slices(toy.data(48)).batch(8)
        model, config = toy.model(dropout=0.3), settings(folder, progress="auto")
        return fit(model, pipeline, task=task, callbacks=[callback], config=config)

    whole = run(None, StopAt(10**6))
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, StopAt(10))
    capsys.readouterr()
    again = run(tmp_path, StopAt(10**6))
    expected = f"resuming in {tmp_path} from the start of epoch 2: this pipeline cannot start inside one\n"
    assert expected in capsys.readouterr().out
    assert toy.digest(again.model) == toy.digest(whole.model)


def test_ctrl_c_saves_and_says_how_to_go_on(toy, task, tmp_path, capsys):
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 4:
                signal.raise_signal(signal.SIGINT)

    config = settings(tmp_path, progress="auto", save_every=None)
    with pytest.raises(KeyboardInterrupt):
        fit(toy.model(), toy.data(), task=task, callbacks=[Interrupt()], config=config)
    assert (
        f"interrupted after step 5: saved in {tmp_path}; the same call continues from here" in capsys.readouterr().out
    )
    assert [path.name for path in tmp_path.glob("checkpoints/step_*")] == ["step_00000005"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_keras_early_stopping_with_weights_is_refused_in_a_folder(toy, task, tmp_path):
    stopping = keras.callbacks.EarlyStopping(restore_best_weights=True)
    with pytest.raises(ArgumentError, match=r"RunConfig\(patience="):
        fit(toy.model(), toy.data(), task=task, callbacks=[stopping], config=settings(tmp_path))


def test_checkpoints_hold_bfloat16_variables(toy, task, tmp_path):
    def model():
        tensor = keras.Input((4,))
        x = keras.layers.Dense(8, dtype="bfloat16")(tensor)
        return keras.Model(tensor, keras.layers.Dense(2, dtype="float32")(x))

    crash_and_resume(toy, task, tmp_path, 4, model=model)
    with np.load(max(tmp_path.glob("checkpoints/step_*")) / "variables.npz", allow_pickle=False) as stored:
        assert stored["model/0000"].dtype.itemsize == 2


def test_ctrl_c_in_the_last_epoch_tells_where_the_run_is_kept(tmp_path, capsys):
    data = (np.zeros((8, 2), "float32"), np.zeros((8, 1), "float32"))
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: signal.raise_signal(signal.SIGINT))
    kept = f"kept in {tmp_path / 'run'}; the same call continues from there\n"
    for folder, text in ((tmp_path / "run", kept), (None, "nothing was saved")):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        config = RunConfig(epochs=1, batch_size=4, folder=folder)
        with pytest.raises(KeyboardInterrupt):
            fit(model, data, loss="mse", callbacks=[callback], config=config)
        assert f"the run is finished; stopping as requested: {text}" in capsys.readouterr().out
