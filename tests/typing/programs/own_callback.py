"""Callback of one's own that measures a figure."""

from typing import assert_type

import numpy as np

import kerasdl
from kerasdl.train import RunCallback, RunConfig, fit


class Counting(RunCallback):
    """Counts the epochs."""

    epochs = 0

    def on_epoch_end(self, epoch, logs=None):
        """Counts one more."""
        self.epochs += 1


counting = Counting()
model = kerasdl.build("mlp", features=4, classes=3)
run = fit(model, (np.zeros((9, 4)), np.arange(9) % 3), callbacks=[counting], config=RunConfig(epochs=3))
assert_type(counting.epochs, int)
assert_type(run.stopped, str)
