"""Memory and time of a training step, plain and rematerialized: `python benchmarks/remat.py`, about six minutes.

Memory is what the peak of a process rises by in three steps, each form in a process of its own. Times are medians of
steps made in turn in one process; the ratios are rematerialized over plain.

    python benchmarks/remat.py [--nets resnet50 vit_tiny stack] [--jit]
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # the peak of a process says nothing of a GPU

import kerasdl

# isort: split
import keras
import numpy as np
import tensorflow as tf
from keras import layers

from kerasdl.core.memory import peak_memory
from kerasdl.train.engine.gradient_checkpointing import rematerialized

ROUNDS, STEPS = 7, 3


def stack() -> keras.Model:
    """Returns a plain stack of 24 convolutions of one size."""
    x = inputs = keras.Input((64, 64, 3))
    for _ in range(24):
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(32, 3, padding="same", use_bias=False)(x)))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


NETS = {
    "resnet50": (lambda: kerasdl.build("resnet50", image_shape=(96, 96, 3), classes=10), 32),
    "vit_tiny": (lambda: kerasdl.build("vit_tiny", image_shape=(224, 224, 3), classes=10), 16),
    "stack": (stack, 32),
}
"""Models and the examples in their batches."""


def main() -> None:
    """Runs all nets, or one part of a net in a child process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--jit", action="store_true", help="compile by XLA")
    parser.add_argument("--child", choices=("plain", "lean", "times"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(times(options.nets[0], options.jit) if options.child == "times" else peak(options))
        return
    print(f"{'net':10} {'batch':>5} {'segments':>8} {'plain MiB':>10} {'lean MiB':>9} {'memory':>7} {'time':>6}")
    for name in options.nets:
        plain, lean, ratio = (float(child(name, part, options.jit)) for part in ("plain", "lean", "times"))
        model = NETS[name][0]()
        count = len(rematerialized(model).segments)
        print(f"{name:10} {NETS[name][1]:5} {count:8} {plain:10.0f} {lean:9.0f} {lean / plain:7.2f} {ratio:6.2f}")


def child(name: str, part: str, jit: bool) -> str:
    """Returns the last line of a child process for one part."""
    command = [sys.executable, __file__, "--nets", name, "--child", part, *(["--jit"] if jit else [])]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]


def peak(options: argparse.Namespace) -> float:
    """Returns the rise of this process's peak memory during training steps, in MiB."""
    model, images, labels = made(options.nets[0])
    step = make_step(model, rematerialized(model) if options.child == "lean" else model, options.jit)
    before = peak_memory()
    for _ in range(STEPS):
        step(images, labels)
    return (peak_memory() - before) / 2**20


def times(name: str, jit: bool) -> float:
    """Returns the median of the time of a rematerialized step over that of the plain one before it."""
    model, images, labels = made(name)
    steps = [make_step(model, forward, jit) for forward in (model, rematerialized(model))]
    ratios = []
    for number in range(ROUNDS + 1):
        plain, lean = (seconds(step, images, labels) for step in steps)
        if number:  # the first round compiles
            ratios.append(lean / plain)
    return statistics.median(ratios)


def seconds(step: tf.types.experimental.PolymorphicFunction, images: tf.Tensor, labels: tf.Tensor) -> float:
    """Returns the time of one step."""
    start = time.perf_counter()
    step(images, labels).numpy()
    return time.perf_counter() - start


def made(name: str) -> tuple[keras.Model, tf.Tensor, tf.Tensor]:
    """Returns a compiled model and a batch."""
    build, batch = NETS[name]
    model = build()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(batch, *model.input_shape[1:])).astype("float32")
    return model, tf.constant(images), tf.constant(rng.integers(0, 10, batch))


def make_step(model: keras.Model, forward: keras.Model, jit: bool) -> tf.types.experimental.PolymorphicFunction:
    """Returns a compiled function from a batch to the loss of one update."""

    @tf.function(autograph=False, jit_compile=jit)
    def step(images, labels):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(images, labels, forward(images, training=True))
        model.optimizer.apply(tape.gradient(loss, model.trainable_weights), model.trainable_weights)
        return loss

    return step


if __name__ == "__main__":
    main()
