"""Failures while a TFLite file is made: a clear error, no partial file, and an older file stays."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from kerasdl.core.errors import ArgumentError, ExportError
from kerasdl.deploy import export_tflite
from kerasdl.deploy.tflite import trial_run
from kerasdl.deploy.tflite.on_device_training import export_trainable_tflite

EXPORTS = {
    "float32": lambda model, path, inputs: export_tflite(model, path, metadata={"labels": ["a"]}),
    "int8": lambda model, path, inputs: export_tflite(model, path, quantize="int8", representative=inputs),
    "trainable": lambda model, path, inputs: export_trainable_tflite(model, path),
}
KILLED = """
import os, pathlib, signal, sys
import keras
from kerasdl.deploy import export_tflite

def die(path, content):
    with open(path, "wb") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

pathlib.Path.write_bytes = die
model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
export_tflite(model, sys.argv[1])
"""


@pytest.mark.parametrize("kind", EXPORTS)
def test_nan_weights_are_refused(kind, make, real, tmp_path):
    model = make("conv_bn")
    model.get_layer("conv1").kernel.assign(np.full(model.get_layer("conv1").kernel.shape, np.nan))
    with pytest.raises(ExportError, match="holds NaN, and so do the weights of 'conv1'"):
        EXPORTS[kind](model, tmp_path / "m.tflite", real(model))
    assert not list(tmp_path.iterdir())


def test_a_model_that_was_never_called_is_refused(tmp_path):
    class Late(keras.Model):
        def call(self, x):
            return x

    for model in (Late(), keras.Sequential([keras.layers.Dense(2)])):
        with pytest.raises(ArgumentError, match=r"must be built.*Call it once"):
            export_tflite(model, tmp_path / "m.tflite")
    with pytest.raises(ArgumentError, match="must be functional"):
        export_trainable_tflite(Late(), tmp_path / "m.tflite")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("representative", "message"),
    [
        (np.zeros((4, 16, 16, 1), "float32"), r"must have the shape \(None, 16, 16, 3\).*\(\d+, 16, 16, 1\)"),
        (np.zeros((16, 16, 3), "float32"), r"must have the shape"),
        (np.zeros((4, 16, 16, 3), "complex64"), "must be float32; got 'complex64'"),
        (np.full((4, 16, 16, 3), np.inf, "float32"), "must be finite"),
        (np.zeros((0, 16, 16, 3), "float32"), "one or more"),
        ({"picture": np.zeros((4, 16, 16, 3), "float32")}, r"\['image'\] lack one"),
    ],
)
def test_representative_data_are_checked(representative, message, make, tmp_path):
    with pytest.raises(ArgumentError, match=message):
        export_tflite(make("conv_bn"), tmp_path / "m.tflite", quantize="int8", representative=representative)
    assert not list(tmp_path.iterdir())


def test_token_ids_must_be_integers(make, tmp_path):
    model = make("several")
    wrong = [np.zeros((4, 6), "float32"), np.zeros((4, 4), "float32")]
    with pytest.raises(ArgumentError, match="samples for input 'tokens' must be int32; got 'float32'"):
        export_tflite(model, tmp_path / "m.tflite", quantize="int8", representative=wrong)


@pytest.mark.parametrize("kind", EXPORTS)
def test_a_full_disk_leaves_the_older_file(kind, make, real, tmp_path, monkeypatch):
    model, path = make("conv_bn"), tmp_path / "m.tflite"
    path.write_bytes(b"older")

    def full(self, content):
        with open(self, "wb") as file:
            file.write(content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ExportError, match=r"m\.tflite cannot be written: No space left on device\. Free some space"):
        EXPORTS[kind](model, path, real(model))
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_a_kill_while_writing_leaves_no_partial_file(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"older")
    roots = os.pathsep.join([str(Path(__file__).parents[3]), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)], env=os.environ | {"PYTHONPATH": roots}, capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert path.read_bytes() == b"older"
    assert list(tmp_path.glob("*.tflite")) == [path]


def test_a_file_that_ends_the_process_is_refused_by_its_layer(tmp_path):
    """LiteRT frees memory twice where an RFFT2D stands behind a sparsemax among integers."""
    x = inputs = keras.Input((64,))
    x = keras.layers.Multiply()([x, keras.layers.Activation("sparsemax")(x)])
    spectrum = keras.layers.MelSpectrogram(32, sequence_length=32, num_mel_bins=6, name="spectrum")
    model = keras.Model(inputs, spectrum(x))
    rows = np.random.default_rng(0).uniform(0, 1, (72, 64)).astype("float32")
    with pytest.raises(ExportError, match="RFFT2D of layer 'spectrum'"):
        export_tflite(model, tmp_path / "m.tflite", quantize="int8", representative=rows, tolerance=1e9)
    assert not list(tmp_path.iterdir())
    plain = keras.Model(inputs, spectrum(inputs))
    report = export_tflite(plain, tmp_path / "m.tflite", quantize="int8", representative=rows, tolerance=1e9)
    assert report.operations["RFFT2D"] == 1


def test_a_kernel_of_integers_that_aborts_is_refused_by_its_layer(tmp_path):
    """LiteRT's SQUARED_DIFFERENCE aborts where numbers are large beside their differences."""
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Activation("log_softmax")(keras.layers.Rescaling(1e-3)(inputs))
    x = keras.layers.LayerNormalization(axis=1, name="norm")(x)
    rows = np.random.default_rng(0).normal(size=(64, 8, 8, 4)).astype("float32")
    with pytest.raises(ExportError, match="SQUARED_DIFFERENCE of layer 'norm'"):
        export_tflite(keras.Model(inputs, x), tmp_path / "m.tflite", quantize="int8", representative=rows)


def test_a_trial_goes_on_after_its_child_was_killed(make, real, tmp_path):
    model = make("conv_bn")
    export = {"quantize": "int8", "representative": real(model)}
    export_tflite(model, tmp_path / "m.tflite", **export)
    child = trial_run._child[os.getpid()]
    child.process.kill()
    child.process.wait()
    export_tflite(model, tmp_path / "m.tflite", **export)
    assert trial_run._child[os.getpid()] is not child
