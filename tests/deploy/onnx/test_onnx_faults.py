"""Full disks, kills and nets that were never called: a clear error, the old file kept, no part of a new one."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf2onnx.optimizer

from kerasdl.core.errors import ArgumentError, ExportError
from kerasdl.deploy import export_onnx, export_saved_model
from kerasdl.deploy.onnx import exporter

EXPORTS = {"model.onnx": export_onnx, "saved": export_saved_model}


class Two(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def call(self, x):
        return self.dense(x)


def content(path):
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {file.name: file.read_bytes() for file in files if file.is_file()}


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_an_optimisation_that_fails_is_left_out(make, real, tmp_path, monkeypatch):
    class Broken(tf2onnx.optimizer.IdentityOptimizer):
        calls = 0

        def optimize(self, graph, iteration):
            Broken.calls += 1
            graph.remove_node(graph.get_nodes()[0].name)  # what is half done must not stay
            raise KeyError("broken")

    model = make("conv_bn")
    monkeypatch.setitem(tf2onnx.optimizer._optimizers, "remove_identity", Broken)
    assert export_onnx(model, tmp_path / "model.onnx", samples=real(model)).worst_relative < 1e-5
    assert Broken.calls > 1


@pytest.mark.parametrize("name", EXPORTS)
def test_a_full_disk_leaves_the_old_file(name, make, tmp_path, monkeypatch):
    EXPORTS[name](make("sequential"), tmp_path / name)
    before = content(tmp_path / name)
    monkeypatch.setattr(exporter.onnx, "save", full)
    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises((OSError, ExportError), match="No space left"):
        EXPORTS[name](make("conv_bn"), tmp_path / name)
    assert content(tmp_path / name) == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_full_disk_while_quantising_leaves_nothing(make, real, tmp_path, monkeypatch):
    model = make("conv_bn")
    monkeypatch.setattr(exporter, "quantize_file", full)
    with pytest.raises((OSError, ExportError), match="No space left"):
        export_onnx(model, tmp_path / "model.onnx", quantize="int8", representative=real(model))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", EXPORTS)
def test_nan_weights_are_refused(name, make, tmp_path):
    model = make("conv_bn")
    model.get_layer("conv1").kernel.assign(np.full(model.get_layer("conv1").kernel.shape, np.nan))
    with pytest.raises(ExportError, match="'head' holds NaN, and so do the weights of 'conv1'"):
        EXPORTS[name](model, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", EXPORTS)
def test_a_model_never_called_is_refused(name, tmp_path):
    with pytest.raises(ArgumentError, match=r"must be built.*Call it once"):
        EXPORTS[name](Two(), tmp_path / name)
    assert not list(tmp_path.iterdir())


CHILD = """
    import pathlib, sys, time
    import keras
    from kerasdl.deploy import {export}
    from kerasdl.deploy.export import pipeline

    def wait(*_, **__):
        pathlib.Path(sys.argv[2]).touch()
        time.sleep(600)

    pipeline._drifts = wait  # what is written stands beside its place then
    x = keras.Input((3,))
    {export}(keras.Model(x, keras.layers.Dense(2)(x)), sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
@pytest.mark.parametrize("name", EXPORTS)
def test_a_kill_while_writing_leaves_the_old_file(name, make, tmp_path):
    place, sign = tmp_path / "out" / name, tmp_path / "reached"
    EXPORTS[name](make("sequential"), place)
    before = content(place)
    code = textwrap.dedent(CHILD).format(export=EXPORTS[name].__name__)
    paths = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    environment = os.environ | {"PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen([sys.executable, "-c", code, str(place), str(sign)], env=environment) as child:
        deadline = time.monotonic() + 120
        while not sign.exists() and time.monotonic() < deadline and child.poll() is None:
            time.sleep(0.1)
        child.send_signal(signal.SIGKILL)
    assert sign.exists(), "the child never wrote"
    assert content(place) == before
    assert [path.name for path in place.parent.iterdir() if not path.name.startswith(".writing-")] == [name]
    EXPORTS[name](make("conv_bn"), place)
    assert content(place) != before
