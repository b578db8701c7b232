"""How long one example takes through a written file or a model, on a given number of threads."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from kerasdl.core import checks
from kerasdl.core.errors import ExportError

from . import onnx, saved_model
from .inputs import FREE_SIZE
from .tracing import first_line, third_party

WARM_UP = 5
DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16", "tensor(bool)": "bool"}


@dataclass(frozen=True)
class Latency:
    """Time of one example, inputs handed over and outputs read back, in milliseconds."""

    median_ms: float
    """Half of the runs took less."""
    p95_ms: float
    """95 of 100 runs took less."""
    runs: int
    """How many runs were timed, after a few that were not."""
    threads: int
    """How many threads the runtime had."""


def benchmark(path: str | os.PathLike | keras.Model, *, runs: int = 50, threads: int = 1) -> Latency:
    """Times one example through a .tflite file, an .onnx file, a SavedModel folder or a Keras model.

    TensorFlow fixes its threads when it starts, so that SavedModels are timed in a process of their own; a Keras model
    is first written as one, since a fair comparison needs a compiled graph. Free dimensions are 64; floats are random,
    integers 0 or 1.

    Args:
        path: the file or folder, or the model.
        runs: how many runs are timed, 1 or more.
        threads: how many threads the runtime gets, 1 or more.

    Returns:
        The latency.

    Raises:
        ArgumentError: an argument breaks its rule.
        ExportError: the file does not run.

    Example:
        >>> report = export_tflite(model, "model.tflite")
        >>> benchmark("model.tflite").median_ms > 0
        True
    """
    checks.at_least("runs", runs, 1)
    checks.at_least("threads", threads, 1)
    if isinstance(path, keras.Model):
        with tempfile.TemporaryDirectory() as folder:
            saved_model.export_saved_model(path, Path(folder, "model"), tolerance=float("inf"))
            return benchmark(Path(folder, "model"), runs=runs, threads=threads)
    path = Path(path)
    if not path.exists():
        checks.refuse("path must be a file, a folder or a model", str(path), "Export a model there first.")
    if path.is_dir():
        return _in_own_process(path, runs, threads)
    timed = {".tflite": _tflite, ".onnx": _onnx}
    checks.one_of("the suffix of path", path.suffix, tuple(timed))
    try:
        with third_party():
            return _time(timed[path.suffix](path, threads), runs, threads)
    except Exception as error:  # each runtime has errors of its own for a file that it cannot read
        raise ExportError(f"{path} does not run: {first_line(error)}. Export it again.") from error


def _tflite(path: Path, threads: int) -> Callable[[], Any]:
    serve = Interpreter(model_path=str(path), num_threads=threads).get_signature_runner()
    details = serve.get_input_details().items()
    arrays = {name: _values(detail["shape_signature"], detail["dtype"]) for name, detail in details}
    return lambda: serve(**arrays)


def _onnx(path: Path, threads: int) -> Callable[[], Any]:
    session = onnx.session(path, threads)
    arrays = {each.name: _values(each.shape, DTYPES.get(each.type, each.type[7:-1])) for each in session.get_inputs()}
    return lambda: session.run(None, arrays)


def _saved_model(path: Path, threads: int) -> Callable[[], Any]:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    serve = tf.saved_model.load(str(path)).signatures[saved_model.SIGNATURE]
    specs = serve.structured_input_signature[1].values()
    tensors = {each.name: tf.constant(_values(each.shape, each.dtype.as_numpy_dtype)) for each in specs}
    return lambda: {name: value.numpy() for name, value in serve(**tensors).items()}


def _values(shape: Any, dtype: Any) -> np.ndarray:
    sizes = [size if isinstance(size, (int, np.integer)) and size > 0 else FREE_SIZE for size in shape]
    generator = np.random.default_rng(0)
    floats = np.dtype(dtype).kind == "f"
    values = generator.uniform(-1, 1, [1, *sizes[1:]]) if floats else generator.integers(0, 2, [1, *sizes[1:]])
    return values.astype(dtype)


def _time(once: Callable[[], Any], runs: int, threads: int) -> Latency:
    for _ in range(WARM_UP):
        once()
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        once()
        times.append(1000 * (time.perf_counter() - started))
    return Latency(float(np.median(times)), float(np.percentile(times, 95)), runs, threads)


def _in_own_process(path: Path, runs: int, threads: int) -> Latency:
    command = [sys.executable, "-m", "kerasdl.deploy.benchmarking", str(path), str(runs), str(threads)]
    paths = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    environment = os.environ | {"PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ExportError(f"{path} does not run as a SavedModel: {(done.stderr.splitlines() or ['no message'])[-1]}")
    return Latency(**json.loads(done.stdout.splitlines()[-1]))


def _main(path: str, runs: str, threads: str) -> None:
    latency = _time(_saved_model(Path(path), int(threads)), int(runs), int(threads))
    print(json.dumps(asdict(latency)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
