"""Files that kerasdl wrote as of commit 96c6a1a load today and answer as they did; nothing writes them anew."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl.deploy import load_quantized
from kerasdl.train import RunConfig, fit

HERE = Path(__file__).parent
ANSWERS = json.loads((HERE / "answers.json").read_text())
ROWS = np.load(HERE / "x.npy")
CONFIG = {"epochs": 4, "batch_size": 8, "seed": 5, "learning_rate": 0.02, "schedule": "cosine", "clip_norm": 1.0}


def near(given, name):
    np.testing.assert_allclose(given, ANSWERS[name], rtol=1e-4, atol=1e-5)


def test_a_bundle():
    near(kerasdl.load_bundle(HERE / "bundle.zip").logits(ROWS), "bundle")


def test_a_quantised_model():
    near(load_quantized(HERE / "quantized.zip").predict(np.load(HERE / "images.npy")), "quantized")


class Stop(keras.callbacks.Callback):
    """The callback of the run that was stopped, by name: it belongs to the run's identity."""


def net():
    inputs = keras.Input((4,), name="x")
    hidden = keras.layers.Dense(4, activation="relu", name="hidden")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, name="logits")(hidden), name="frozen")


def test_a_run_that_was_stopped_goes_on(tmp_path):
    shutil.copytree(HERE / "run", tmp_path / "run")
    model = net()
    data = (ROWS, np.load(HERE / "y.npy"))
    config = RunConfig(**CONFIG, folder=tmp_path / "run", strategy=None, progress="off")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    run = fit(model, data, loss=loss, metrics=["accuracy"], callbacks=[Stop()], config=config)
    assert run.resumed
    near(run.history["loss"], "history")
    near(model.predict(ROWS, verbose=0), "run")


LOAD = """
import sys, json
import kerasdl, keras, numpy as np
model = keras.models.load_model(sys.argv[1])
print(json.dumps(model.predict(np.load(sys.argv[2]), verbose=0).tolist()))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "inputs"), [("compiled", "x"), ("migrated", "steps")])
def test_a_keras_file_after_import_kerasdl_alone(name, inputs):
    command = [sys.executable, "-c", LOAD, str(HERE / f"{name}.keras"), str(HERE / f"{inputs}.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    near(json.loads(done.stdout.splitlines()[-1]), name)
