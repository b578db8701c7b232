"""LSTM classifier in every TFLite form: a loop, unrolled steps, and TFLite's fused kernel by way of tf_keras.

Size, error over 100 random sequences and time of one; the fused kernel keeps its state from call to call, so its error
is shown with the interpreter reset before every call and without.

    python benchmarks/recurrent.py [--steps 28] [--units 64]
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import Interpreter

from kerasdl.deploy import benchmark, export_tflite, run_exported

WIDTH, CLASSES, EXAMPLES = 28, 10, 100


def main(steps: int, units: int) -> None:
    """Writes the files and prints a row for each."""
    x = keras.Input((steps, WIDTH))
    model = keras.Model(x, keras.layers.Dense(CLASSES)(keras.layers.LSTM(units)(x)))
    inputs = np.random.default_rng(0).normal(size=(EXAMPLES, steps, WIDTH)).astype("float32")
    expected = model(inputs).numpy()
    print(f"{'form':22} {'bytes':>9} {'error':>7} {'not reset':>9} {'ms':>7}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.tflite")
        for quantize, form in ((None, "loop"), ("dynamic", "loop"), ("int8", "row of steps")):
            export_tflite(model, path, quantize=quantize, representative=inputs, tolerance=1)
            (given,) = run_exported(path, inputs).values()
            show(form, quantize, path.stat().st_size, [error(expected, given)] * 2, benchmark(path).median_ms)
    for quantize, content in fused(model, steps, units, inputs):
        errors, milliseconds = zip(*(run(content, inputs, expected, reset) for reset in (True, False)), strict=True)
        show("fused", quantize, len(content), errors, milliseconds[0])


def fused(model: keras.Model, steps: int, units: int, inputs: np.ndarray) -> Iterator[tuple[str | None, bytes]]:
    """Yields the files of the tf_keras counterpart with a batch of 1."""
    x = tf_keras.Input((steps, WIDTH), batch_size=1)
    twin = tf_keras.Model(x, tf_keras.layers.Dense(CLASSES)(tf_keras.layers.LSTM(units)(x)))
    twin.set_weights(model.get_weights())
    for quantize in (None, "dynamic", "int8"):
        converter = tf.lite.TFLiteConverter.from_keras_model(twin)
        converter.optimizations = [tf.lite.Optimize.DEFAULT] if quantize else []
        if quantize == "int8":
            converter.representative_dataset = lambda: ([row[None]] for row in inputs)
        yield quantize, converter.convert()


def run(content: bytes, inputs: np.ndarray, expected: np.ndarray, reset: bool) -> tuple[float, float]:
    """Returns the error and the median milliseconds of a file."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    serve = interpreter.get_signature_runner()
    (name,) = serve.get_input_details()
    rows, times = [], []
    for row in inputs:
        if reset:
            interpreter.reset_all_variables()
        started = time.perf_counter()
        (value,) = serve(**{name: row[None]}).values()
        times.append(1000 * (time.perf_counter() - started))
        rows.append(np.array(value))
    return error(expected, np.concatenate(rows)), float(np.median(times))


def error(expected: np.ndarray, given: np.ndarray) -> float:
    """Returns the root mean squared difference over the root mean square."""
    return float(np.sqrt(np.mean((given - expected) ** 2) / np.mean(expected**2)))


def show(form: str, quantize: str | None, size: int, errors: tuple[float, float], milliseconds: float) -> None:
    """Prints one row."""
    print(f"{form + ', ' + (quantize or 'float32'):22} {size:9} {errors[0]:7.4f} {errors[1]:9.4f} {milliseconds:7.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--units", type=int, default=64)
    arguments = parser.parse_args()
    main(arguments.steps, arguments.units)
