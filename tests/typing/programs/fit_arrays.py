"""Training of a model of one's own on arrays."""

from typing import assert_type

import keras
import numpy as np

from kerasdl.train import Run, RunConfig, fit

model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
x, y = np.zeros((30, 4), np.float32), np.zeros(30, np.int32)
run = fit(model, (x, y), validation=(x, y), config=RunConfig(epochs=2, schedule="cosine"))
assert_type(run, Run)
assert_type(run.history["loss"], list[float])
assert_type(run.steps, int)
