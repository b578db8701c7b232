"""Large variables of a run, such as a replay buffer: saved where epochs end, and what a resumed run takes back."""

import signal

import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import TrainingError
from kerasdl.train import LoopConfig, Preempted, RunCallback, State, run_steps

LENGTH = 5


class Buffer:
    """A replay buffer in NumPy, which counts how often it is read."""

    def __init__(self, size=40):
        self.values, self.filled, self.reads = np.zeros(size, np.float32), 0, 0
        self.shape = (size,)

    def add(self, value):
        self.values[self.filled] = value
        self.filled += 1

    def numpy(self):
        self.reads += 1
        return self.values

    def assign(self, values):
        self.values[:] = values
        self.filled = int(np.count_nonzero(self.values))


class At(RunCallback):
    """Does something after so many steps of this call."""

    def __init__(self, step, action):
        self.left, self.action = step, action

    def end_step(self, batch):
        self.left -= 1
        return self.left == 0 and self.action()


def fail():
    raise ZeroDivisionError


def run(folder, step=99, action=fail, epochs=4, **parts):
    buffer, total = Buffer(), tf.Variable(0.0)

    def learn(stream):
        buffer.add(next(stream))
        total.assign_add(buffer.values[: buffer.filled].sum())
        return {"loss": float(total.numpy())}

    def stream(epoch, batch):
        return iter(np.arange(batch, LENGTH) + 10.0 * epoch + 1)

    parts = {"steps_per_epoch": LENGTH, "run_callbacks": [At(step, action)], **parts}
    state = State(None, {"total": total}, {}, stream, large={"replay": buffer, "spare": Buffer(3)}, **parts)
    config = LoopConfig(epochs=epochs, folder=folder, save_every=2, monitor=("total", "max"), progress="off")
    state.figures = lambda: {"total": float(total.numpy())}
    return run_steps(learn, state, config), buffer, total


def test_a_resumed_run_takes_them_back_from_the_end_of_the_last_epoch(tmp_path):
    whole, wanted, total = run(tmp_path / "whole")
    with pytest.raises(ZeroDivisionError):
        run(tmp_path / "broken", step=13)
    resumed, buffer, again = run(tmp_path / "broken")
    assert (resumed.resumed, resumed.steps) == (True, whole.steps)
    assert resumed.history == whole.history
    np.testing.assert_array_equal(buffer.values, wanted.values)
    assert float(again) == float(total)


def test_they_are_written_where_epochs_end_and_nowhere_else(tmp_path):
    found, buffer, _ = run(tmp_path)
    checkpoints = sorted((tmp_path / "checkpoints").glob("step_*"))
    assert [folder.name for folder in checkpoints] == ["step_00000015", "step_00000020"]
    assert buffer.reads == len(found.history["total"])
    np.testing.assert_array_equal(np.load(checkpoints[-1] / "large_0000.npy"), buffer.values)
    assert np.load(checkpoints[-1] / "variables.npz").files == ["total"]
    best = [np.load(file).files for file in (tmp_path / "checkpoints").glob("best_*/variables.npz")]
    assert best == [["total"], ["total"]]  # of two checkpoints, each with a best epoch of its own


def test_an_interrupted_epoch_is_begun_again(tmp_path):
    with pytest.raises(Preempted):
        run(tmp_path, step=8, action=lambda: signal.raise_signal(signal.SIGTERM))
    resumed, buffer, _ = run(tmp_path)
    assert (resumed.steps, buffer.filled) == (20, 20)


def test_a_damaged_one_gives_way_to_the_checkpoint_before(tmp_path):
    _, wanted, _ = run(tmp_path, epochs=3)
    (tmp_path / "checkpoints/step_00000015/large_0000.npy").write_bytes(b"damage")
    resumed, buffer, _ = run(tmp_path, epochs=3)
    assert resumed.resumed
    np.testing.assert_array_equal(buffer.values, wanted.values)


def test_another_size_is_refused(tmp_path):
    run(tmp_path, epochs=1)
    with pytest.raises(TrainingError, match="other variables"):
        run_steps(
            lambda stream: {"loss": 0.0},
            State(None, {"total": tf.Variable(0.0)}, {}, lambda e, b: iter([1.0]), 1, large={"replay": Buffer(7)}),
            LoopConfig(epochs=1, folder=tmp_path, save_every=2, monitor=("total", "max"), progress="off"),
        )
