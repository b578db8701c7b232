"""Process that times one exported file on request; `compare` starts one for each file.

It imports only NumPy and the file's runtime, so that memory and time are those of the file. It reads one JSON line of
settings and answers {} once the file is loaded; then it reads a number of runs per line and answers their times. At the
end of its input it answers the peak memory.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from kerasdl.core.memory import forget_peak, held_memory, peak_memory

WARM_UP = 5
DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16", "tensor(bool)": "bool"}


def main() -> None:
    """Serves the requests on standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the runtimes' own output goes to stderr
    settings = json.loads(sys.stdin.readline())
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, settings["cores"])
    start = RUNTIMES[settings["kind"]](settings["threads"])
    forget_peak()  # without the peak of loading the runtime
    before = held_memory()
    once = start(settings["path"], settings["free"])
    for _ in range(WARM_UP):
        once()
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        once()  # the caches hold another file's data
        times = [_timed(once) for _ in range(int(line))]
        print(json.dumps(times), file=answers, flush=True)
    print(peak_memory() - before, file=answers, flush=True)


def _tflite(threads: int) -> Callable[[str, int], Callable]:
    from ai_edge_litert.interpreter import Interpreter

    def start(path: str, free: int) -> Callable[[], Any]:
        interpreter = Interpreter(model_path=path, num_threads=threads)
        serve = interpreter.get_signature_runner(_only_model(interpreter.get_signature_list()))
        details = serve.get_input_details().items()
        arrays = {name: _values(each["shape_signature"], each["dtype"], free) for name, each in details}
        return lambda: serve(**arrays)

    return start


def _onnx(threads: int) -> Callable[[str, int], Callable]:
    import onnxruntime

    def start(path: str, free: int) -> Callable[[], Any]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        inputs = session.get_inputs()
        arrays = {each.name: _values(each.shape, DTYPES.get(each.type, each.type[7:-1]), free) for each in inputs}
        return lambda: session.run(None, arrays)

    return start


def _saved_model(threads: int) -> Callable[[str, int], Callable]:
    import tensorflow as tf

    # TensorFlow fixes its threads as it starts.
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    def start(path: str, free: int) -> Callable[[], Any]:
        loaded = tf.saved_model.load(path)
        serve = loaded.signatures[_only_model(loaded.signatures)]
        specs = serve.structured_input_signature[1].values()
        tensors = {each.name: tf.constant(_values(each.shape, each.dtype.as_numpy_dtype, free)) for each in specs}
        return lambda: {name: value.numpy() for name, value in serve(**tensors).items()}

    return start


RUNTIMES = {"tflite": _tflite, "onnx": _onnx, "SavedModel": _saved_model}


def _only_model(signatures: Iterable[str]) -> str | None:
    """Returns the signature that infers; Keras calls the first of several models `serving_default` too."""
    names = list(signatures)
    if "serve" in names:
        return "serve"
    models = [name for name in names if name != "serving_default"]
    if len(models) > 1:
        raise ValueError(f"it has the signatures {models}, and files of one model alone are timed")
    return "serving_default" if "serving_default" in names else next(iter(models), None)


def _values(shape: Any, dtype: Any, free: int) -> np.ndarray:
    """Returns one random example: floats from -1 to 1, integers 0 or 1, free dimensions of the size `free`."""
    sizes = [size if isinstance(size, (int, np.integer)) and size > 0 else free for size in shape]
    generator = np.random.default_rng(0)
    floats = np.dtype(dtype).kind == "f"
    values = generator.uniform(-1, 1, [1, *sizes[1:]]) if floats else generator.integers(0, 2, [1, *sizes[1:]])
    return values.astype(dtype)


def _timed(once: Callable[[], Any]) -> float:
    started = time.perf_counter()
    once()
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    main()
