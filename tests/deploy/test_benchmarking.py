"""Latency of every kind of file; no bound on the time itself."""

import math

import pytest

from kerasdl.core.errors import ArgumentError, ExportError
from kerasdl.deploy import benchmark, export_onnx, export_saved_model, export_tflite


@pytest.mark.parametrize("name", ["conv_bn", "lstm"])
def test_files_are_timed(name, make, tmp_path):
    model = make(name)
    export_tflite(model, tmp_path / "model.tflite")
    export_onnx(model, tmp_path / "model.onnx")
    for path in (tmp_path / "model.tflite", tmp_path / "model.onnx"):
        latency = benchmark(path, runs=7)
        assert 0 < latency.median_ms <= latency.p95_ms < math.inf
        assert (latency.runs, latency.threads) == (7, 1)


@pytest.mark.slow
def test_saved_models_and_models_are_timed_in_their_own_process(make, tmp_path):
    model = make("several")
    export_saved_model(model, tmp_path / "saved")
    for what in (tmp_path / "saved", model):
        assert 0 < benchmark(what, runs=3).median_ms < math.inf
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExportError, match="does not run"):
        benchmark(tmp_path / "empty")


def test_arguments_are_checked(tmp_path):
    with pytest.raises(ArgumentError, match="must be a file"):
        benchmark(tmp_path / "none.tflite")
    (tmp_path / "model.h5").write_bytes(b"")
    with pytest.raises(ArgumentError, match="suffix"):
        benchmark(tmp_path / "model.h5")
    with pytest.raises(ArgumentError, match="runs"):
        benchmark(tmp_path / "model.h5", runs=0)
