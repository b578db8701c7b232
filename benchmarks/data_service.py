"""Gain of data servers if training waits for its input: `python benchmarks/data_service.py`, about three minutes.

JPEG files of 384 pixels are decoded and resized for a small net at 48 pixels. Three forms take turns, each in a process
of its own, best epoch of each: one core that trains and decodes; one core that trains beside a data server on another
(which stands for another machine); two cores that train and decode. Prints the time of the first over the others.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import kerasdl
from kerasdl.train import RunConfig
from kerasdl.train.distribute.data_service import data_servers, served

ROUNDS, EPOCHS, FILES, BATCH, PIXELS, SIDE = 5, 12, 512, 32, 384, 48
FORMS = ("one core", "one core and a server", "two cores")


class EpochTimes(keras.callbacks.Callback):
    """Callback that records the seconds of each epoch."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.started)


def decode(path: tf.Tensor) -> tf.Tensor:
    """Returns the image of a file."""
    image = tf.image.resize(tf.io.decode_jpeg(tf.io.read_file(path), channels=3), (SIDE, SIDE))
    return tf.ensure_shape(image / 127.5 - 1.0, (SIDE, SIDE, 3))


def make() -> keras.Model:
    """Returns the net."""
    x = inputs = keras.Input((SIDE, SIDE, 3))
    for width in (16, 32, 64):
        x = keras.layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)))


def trained(data) -> float:
    """Returns the seconds of the best epoch."""
    times = EpochTimes()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    config = RunConfig(epochs=EPOCHS, batch_size=BATCH, learning_rate=1e-3, progress="off")
    kerasdl.train.fit(make(), data, loss=loss, callbacks=[times], config=config)
    return min(times.seconds)


def measured(form: str, folder: Path) -> float:
    """Returns the seconds of the best epoch of one form of input."""
    first, second, *_ = sorted(os.sched_getaffinity(0))
    paths = np.array(sorted(map(str, folder.glob("*.jpg"))))
    labels = (np.arange(FILES) % 4).astype("int32")
    if form == "one core and a server":
        os.sched_setaffinity(0, {second})
        with data_servers(1) as addresses:
            os.sched_setaffinity(0, {first})  # before TensorFlow makes its threads
            return trained(served(paths, labels, decode, addresses))
    os.sched_setaffinity(0, {first} if form == "one core" else {first, second})
    pairs = tf.data.Dataset.from_tensor_slices((paths, labels))
    decoded = pairs.map(lambda path, label: (decode(path), label), num_parallel_calls=tf.data.AUTOTUNE)
    return trained(decoded.batch(BATCH).prefetch(tf.data.AUTOTUNE))


def main() -> None:
    """Writes the files and measures all forms in alternation."""
    if len(sys.argv) > 1:
        print(json.dumps(measured(sys.argv[1], Path(sys.argv[2]))))
        return
    seconds = {form: [] for form in FORMS}
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        for number in range(FILES):
            rough = tf.image.resize(rng.uniform(0, 255, (PIXELS // 8, PIXELS // 8, 3)), (PIXELS, PIXELS))
            tf.io.write_file(f"{folder}/{number:04d}.jpg", tf.io.encode_jpeg(tf.cast(rough, tf.uint8)))
        for turn in range(1, ROUNDS + 1):
            for form in FORMS:
                words = [sys.executable, __file__, form, folder]
                done = subprocess.run(words, capture_output=True, text=True, check=True)
                seconds[form].append(json.loads(done.stdout.splitlines()[-1]))
            shown = ", ".join(f"{form} {seconds[form][-1]:.2f} s" for form in FORMS)
            print(f"{turn}/{ROUNDS} {shown}", flush=True)
    for form in FORMS[1:]:
        ratios = [alone / other for alone, other in zip(seconds[FORMS[0]], seconds[form], strict=True)]
        print(f"one core / {form}: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
