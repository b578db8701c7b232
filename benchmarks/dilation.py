"""Cost of dilated convolutions in place and by Keras's space-to-batch: `python benchmarks/dilation.py`, a minute.

Prints processor milliseconds of a 3x3 convolution on two maps of 24 x 24 places, and of it with its gradients.
"""

import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import kerasdl  # noqa: F401  first, so that TensorFlow starts in silence

# isort: split
import keras
import tensorflow as tf

from kerasdl.core.outputs.native_dilation import native_dilation

BATCH, SIDE, CALLS = 2, 24, 3
CASES = ((512, 512, 2), (512, 512, 4), (2048, 256, 12), (2048, 256, 24), (2048, 256, 36))
"""Channels in and out, and rates, of DeepLabV3 on ResNet-50 at images of 192 pixels."""


def main() -> None:
    """Prints a row for each convolution."""
    print("| channels | rate | Keras | in place | Keras, with gradients | in place, with gradients |")
    for inputs, outputs, rate in CASES:
        x, kernel = tf.random.normal((BATCH, SIDE, SIDE, inputs)), tf.random.normal((3, 3, inputs, outputs))
        found = []
        for gradients in (False, True):
            for context in (nullcontext, native_dilation):
                call = compiled(rate, gradients)
                with context():
                    call(x, kernel)  # traces
                found.append(f"{milliseconds(lambda call=call, x=x, kernel=kernel: call(x, kernel)):.0f}")
        print(f"| {inputs} to {outputs} | {rate} | {' | '.join(found)} |", flush=True)


def compiled(rate: int, gradients: bool) -> Callable:
    """Returns a compiled convolution, or its gradients."""

    @tf.function
    def call(x, kernel):
        with tf.GradientTape() as tape:
            tape.watch((x, kernel))
            y = keras.ops.conv(x, kernel, padding="same", dilation_rate=rate)
        return tape.gradient(y, (x, kernel), output_gradients=y) if gradients else y

    return call


def milliseconds(call: Callable) -> float:
    """Returns the median processor time of a call."""
    times = []
    for _ in range(CALLS):
        started = time.process_time()
        call()
        times.append(1e3 * (time.process_time() - started))
    return statistics.median(times)


if __name__ == "__main__":
    main()
