"""`run_steps` without a model, the progress display, the curves and the log for TensorBoard."""

import io
import math

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from kerasdl.core.errors import TrainingError
from kerasdl.train import RunCallback, RunConfig, State, run_steps
from kerasdl.train.loop import progress, run_logs


def counting(weight, run_callbacks=(), length=5):
    """A loop that adds each number of its stream to a variable; an epoch streams 0, 1, ..., length - 1."""

    def step(stream):
        value = next(stream)
        weight.assign_add(value)
        return {"loss": float(weight.numpy())}

    state = State(
        model="counter",
        weights={"sum": weight},
        extras={},
        stream=lambda epoch, batch: iter(np.arange(batch, length, dtype=np.float32)),
        steps_per_epoch=None,
        figures=lambda: {"sum": float(weight.numpy())},
        run_callbacks=run_callbacks,
    )
    return step, state


def test_runs_anything_that_steps(tmp_path):
    weight = tf.Variable(0.0)
    config = RunConfig(epochs=3, monitor=("sum", "min"), folder=tmp_path, progress="off")
    run = run_steps(*counting(weight), config)
    assert run.history == {"sum": [10.0, 20.0, 30.0]}
    assert (run.steps, run.best[:2], float(weight.numpy()), run.model) == (15, (10.0, 1), 10.0, "counter")


def test_goes_on_where_a_callback_broke_it_off(tmp_path):
    class Break(RunCallback):
        def end_step(self, batch):
            if batch == 3:
                raise ZeroDivisionError
            return False

    config = RunConfig(epochs=2, folder=tmp_path, progress="off", save_every=2)
    with pytest.raises(ZeroDivisionError):
        run_steps(*counting(tf.Variable(0.0), [Break()]), config)
    weight = tf.Variable(100.0)
    run = run_steps(*counting(weight), config)
    assert run.history == {"sum": [10.0, 20.0]}
    assert run.steps == 10


def test_names_the_step_and_the_last_finite_value():
    weight = tf.Variable(0.0)
    step, state = counting(weight)
    values = iter([3.0, 2.0, math.inf])

    def failing(stream):
        return {**step(stream), "loss": next(values)}

    message = (
        r"loss not finite at step 3: loss inf \(last finite: 2\), gradient_norm unknown to this step, learning rate"
    )
    with pytest.raises(TrainingError, match=message):
        run_steps(failing, state, RunConfig(progress="off"))


def test_plain_lines_one_an_epoch(capsys):
    run_steps(*counting(tf.Variable(0.0)), RunConfig(epochs=2))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert [line.split("  ")[-1] for line in lines] == ["sum 10", "sum 20"]


def test_plain_lines_inside_a_long_epoch_are_rare(capsys, monkeypatch):
    clock = iter(np.arange(0.0, 1e4, 0.25))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    shown = progress.LineProgress()
    shown.begin(2, 400, 8, lambda: {"loss": 0.5})
    shown.begin_epoch(0, 0)
    for batch in range(1, 401):
        shown.step(0, batch)
    lines = capsys.readouterr().out.splitlines()
    assert 8 <= len(lines) <= 10  # 100 seconds and a bit, a line each 10
    assert lines[0].startswith("epoch 1/2  step 40/400  ")
    assert lines[0].endswith("loss 0.5")
    # 40 steps took 10 s and a look at the clock: 760 more take 190 s.
    assert "3:1" in lines[0]
    assert "examples/s" in lines[0]


def test_the_line_of_an_epoch_fits_80_columns_and_keeps_figures_and_stage(capsys):
    names = ("loss", "accuracy", "val_loss", "val_accuracy")
    figures = {**dict.fromkeys(names, 0.123456), "learning_rate": 0.000123}
    shown = progress.make_progress("auto", (1, "stage1"))
    shown.begin(10, 400, 8, dict)
    shown.begin_epoch(9, 0)
    shown.end_steps(400)
    shown.end_epoch(9, figures, best=True)
    (line,) = capsys.readouterr().out.splitlines()
    assert len(line) <= 80
    assert line.startswith("stage1 epoch 10/10  ")
    assert line.endswith("loss 0.123 val 0.123  accuracy 0.123 val 0.123  best")


def test_off_prints_nothing(capsys):
    run_steps(*counting(tf.Variable(0.0)), RunConfig(epochs=2, progress="off"))
    assert capsys.readouterr().out == ""


def test_live_display_shows_the_bar_and_keeps_the_lines(monkeypatch):
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=140)
    monkeypatch.setattr(progress, "LIVE_SECONDS", 0.0)
    monkeypatch.setattr(progress.LiveProgress, "interval_seconds", 0.0)
    with progress.LiveProgress(console) as shown:
        shown.begin(2, 4, 8, lambda: {"loss": 0.25})
        shown.begin_epoch(1, 0)
        for batch in range(1, 4):
            shown.step(1, batch)
        shown.bar.refresh()
        shown.end_steps(3)
        shown.end_epoch(1, {"loss": 0.125}, best=True)
    assert "epoch 2/2" in text.getvalue()
    assert "3/4" in text.getvalue()
    assert "loss 0.25" in text.getvalue()
    assert "loss 0.125  best" in text.getvalue()


def test_curves_show_training_and_validation(tmp_path):
    history = {"loss": [1.0, 0.5, 0.4], "accuracy": [0.2, 0.6, 0.7], "other": [1, 1, 1]}
    history |= {"val_loss": [1.1, 0.7, 0.8], "val_accuracy": [0.1, 0.5, 0.4], "learning_rate": [0.1] * 3}
    figure = run_logs.curves_figure(history, "val_accuracy", best_epoch=2)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss", "accuracy"]
    drawn = {line.get_label(): list(line.get_ydata()) for line in figure.axes[1].lines if line.get_label()[0] != "_"}
    assert drawn == {"training": history["accuracy"], "validation": history["val_accuracy"]}
    run_logs.draw_curves(tmp_path / "curves.png", history, "val_loss", None)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_tensorboard_gets_every_figure(tmp_path):
    config = RunConfig(epochs=2, folder=tmp_path, tensorboard=True, progress="off")
    run_steps(*counting(tf.Variable(0.0)), config)
    (file,) = (tmp_path / "tensorboard/train").iterdir()
    events = [event for event in tf.compat.v1.train.summary_iterator(str(file)) if event.summary.value]
    found = [
        (event.step, event.summary.value[0].tag, tf.make_ndarray(event.summary.value[0].tensor)) for event in events
    ]
    assert found == [(1, "sum", 10.0), (2, "sum", 20.0)]
