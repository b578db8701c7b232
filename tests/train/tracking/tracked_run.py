"""A tracked run: `python tracked_run.py FOLDER [EPOCH]` ends by SIGKILL after the figures of that epoch were sent."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from kerasdl.train import RunCallback, RunConfig, State, run_steps, tracking

EPOCHS = 4


class Killer(RunCallback):
    """Kills the process at the end of an epoch, before its checkpoint is written."""

    def __init__(self, epoch):
        self.epoch = epoch

    def end_epoch(self, epoch, figures):
        if epoch + 1 == self.epoch:
            os.kill(os.getpid(), signal.SIGKILL)


def trackers(folder):
    """Returns one tracker of each kind, all writing below the folder."""
    folder = Path(folder)
    return {
        "csv": tracking.CSVLog(folder / "log" / "run.csv"),
        "tensorboard": tracking.TensorBoard(folder / "board"),
        "mlflow": tracking.MLflow(folder / "mlruns", experiment="toys", name="counting"),
        "wandb": tracking.WandB("toys", folder=folder / "logs", name="counting"),
    }


def counting(run_callbacks, length=3, step=None):
    """Returns a step and a state: each epoch adds 0, 1, ... to a sum; its figures are sum and val_sum."""
    total = tf.Variable(0.0)

    def add(stream):
        total.assign_add(next(stream))
        return {"loss": float(total.numpy())}

    state = State(
        model="counter",
        weights={"sum": total},
        extras={},
        stream=lambda epoch, batch: iter(np.arange(batch, length, dtype=np.float32)),
        steps_per_epoch=length,
        figures=lambda: {"sum": float(total.numpy())},
        evaluate=lambda: {"val_sum": 2 * float(total.numpy())},
        run_callbacks=run_callbacks,
        identity={"data": {"name": "numbers", "shape": [3, 1]}},
    )
    return step or add, state


def config(folder, **more):
    """Returns the settings of the run."""
    settings = {"epochs": EPOCHS, "batch_size": 7, "folder": folder, "progress": "off", **more}
    return RunConfig(**settings)


if __name__ == "__main__":
    folder, epoch = Path(sys.argv[1]), int(sys.argv[2])
    run_callbacks = [*trackers(folder).values(), Killer(epoch)]
    run_steps(*counting(run_callbacks), config(folder / "run"))
