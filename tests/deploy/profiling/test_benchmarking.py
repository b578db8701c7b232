"""Latency, memory and size of every kind of file, measured in processes of their own; no bound on the time itself."""

import gzip
import json
import math
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from filling import fill_weights

from kerasdl.core.errors import ArgumentError, ExportError
from kerasdl.deploy import benchmark, compare, export_onnx, export_saved_model, export_tflite
from kerasdl.deploy.profiling import latency


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
def test_saved_models_and_models_are_timed(make, tmp_path):
    model = make("several")
    export_saved_model(model, tmp_path / "saved")
    result = compare([tmp_path / "saved", model], runs=3)
    assert [row.kind for row in result.rows] == ["SavedModel", "Keras graph"]
    assert [row.name for row in result.rows] == ["saved", model.name]
    assert result.rows[0].bytes == sum(
        file.stat().st_size for file in (tmp_path / "saved").rglob("*") if file.is_file()
    )
    assert result.rows[1].bytes == 4 * model.count_params()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExportError, match="does not run"):
        benchmark(tmp_path / "empty")


def dense(size):
    x = keras.Input((size,))
    return fill_weights(keras.Model(x, keras.layers.Dense(size, name="head")(x)))


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    """A net of 64 weights a row and one of 2048: 16 KB and 16.8 MB."""
    folder = tmp_path_factory.mktemp("sizes")
    for name, size in (("small", 64), ("large", 2048)):
        export_onnx(dense(size), folder / f"{name}.onnx")
    return folder


def test_figures_follow_what_a_file_holds(sizes):
    paths = {name: sizes / f"{name}.onnx" for name in ("small", "large")}
    result = compare(paths, runs=20)
    small, large = result.rows
    assert large.median_ms > small.median_ms
    assert large.memory_bytes > small.memory_bytes + 10e6
    assert large.ratio == large.median_ms / small.median_ms
    assert large.bytes == paths["large"].stat().st_size
    assert large.gzip_bytes == pytest.approx(len(gzip.compress(paths["large"].read_bytes(), 6)), rel=0.01)
    record = json.loads(result.to_json())
    assert record["rows"][1]["name"] == "large"
    lines = result.table().splitlines()
    assert len(lines) == 3
    assert lines[1].split()[:2] == ["small", "onnx"]
    assert lines[0].index("ratio") + len("ratio") == len(lines[1]) == len(lines[2])


def test_files_run_in_turns_and_first_warm_up(sizes, monkeypatch):
    asked = []

    def watch(self, runs):
        asked.append((self._path.name, runs))
        return self.send(runs)

    monkeypatch.setattr(latency._Worker, "time", watch)
    compare([sizes / "small.onnx", sizes / "large.onnx"], runs=25)
    names = ["small.onnx", "large.onnx"]
    assert asked == [(name, count) for count in (10, 10, 5) for name in names]


def test_files_of_one_name_are_told_apart(sizes, tmp_path):
    (tmp_path / "small.onnx").write_bytes((sizes / "small.onnx").read_bytes())
    result = compare([sizes / "small.onnx", tmp_path / "small.onnx"], runs=1)
    assert [row.name for row in result.rows] == [str(sizes / "small.onnx"), str(tmp_path / "small.onnx")]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system pins no process")
def test_the_worker_stands_on_its_core_and_answers_cleanly(sizes):
    core = min(os.sched_getaffinity(0))
    settings = {"path": str(sizes / "small.onnx"), "kind": "onnx", "threads": 1, "cores": [core], "free": 64}
    command = [sys.executable, "-m", "kerasdl.deploy.profiling.latency_worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        print(json.dumps(settings), file=process.stdin, flush=True)
        assert json.loads(process.stdout.readline()) == {}
        assert os.sched_getaffinity(process.pid) == {core}
        print(4, file=process.stdin, flush=True)
        assert len(json.loads(process.stdout.readline())) == 4
        process.stdin.close()
        assert int(process.stdout.readline()) > 0


def test_free_dimensions_are_64(make, tmp_path):
    x = keras.Input((None, 3), name="x")
    model = fill_weights(keras.Model(x, keras.layers.LSTM(2)(x)))
    export_onnx(model, tmp_path / "free.onnx", samples=np.zeros((1, 5, 3), "float32"))
    assert benchmark(tmp_path / "free.onnx", runs=1).median_ms > 0


def test_arguments_are_checked(tmp_path):
    with pytest.raises(ArgumentError, match="must be a file"):
        benchmark(tmp_path / "none.tflite")
    (tmp_path / "model.h5").write_bytes(b"")
    with pytest.raises(ArgumentError, match="suffix"):
        benchmark(tmp_path / "model.h5")
    with pytest.raises(ArgumentError, match="runs"):
        benchmark(tmp_path / "model.h5", runs=0)
    with pytest.raises(ArgumentError, match="threads"):
        compare([tmp_path / "model.h5"], threads=0)
    with pytest.raises(ArgumentError, match="must hold a file or a model"):
        compare([])


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_a_file_that_is_no_model_is_refused_with_the_runtime_s_reason(suffix, tmp_path):
    (tmp_path / f"bad{suffix}").write_text("nothing")
    with pytest.raises(ExportError, match=r"bad\.\w+ does not run: \w+.*\. Export it again"):
        benchmark(tmp_path / f"bad{suffix}")
