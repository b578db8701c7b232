"""Our `fit` against Keras's own, the same work in turn: `python benchmarks/fit.py`, about half a minute.

Prints the time of Keras over ours for the best epoch of each pair, and the median; above 1 ours is faster.
"""

import statistics
import time

import keras
import numpy as np

import kerasdl
from kerasdl.train import RunConfig

PAIRS, EPOCHS, BATCH, EXAMPLES = 6, 4, 64, 12_800


class EpochTimes(keras.callbacks.Callback):
    """Seconds of each epoch."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.started)


def ours(x, y) -> float:
    """Returns the seconds of the best epoch under `kerasdl.train.fit`."""
    times = EpochTimes()
    config = RunConfig(epochs=EPOCHS, batch_size=BATCH, learning_rate=1e-3, progress="off")
    kerasdl.train.fit(make(), (x, y), task="tabular_classification", callbacks=[times], config=config)
    return min(times.seconds)


def theirs(x, y) -> float:
    """Returns the seconds of the best epoch under `keras.Model.fit`."""
    model, times = make(), EpochTimes()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-3), loss=loss, metrics=["accuracy"])
    model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, callbacks=[times], verbose=0)
    return min(times.seconds)


def make() -> keras.Model:
    """Returns the net of both."""
    return kerasdl.build("mlp", features=64, classes=10, hidden=(128, 128))


def main() -> None:
    """Runs the pairs."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(EXAMPLES, 64)).astype("float32")
    y = rng.integers(0, 10, EXAMPLES).astype("int32")
    ratios = []
    for pair in range(1, PAIRS + 1):
        mine, keras_own = ours(x, y), theirs(x, y)
        ratios.append(keras_own / mine)
        print(f"{pair}/{PAIRS} keras / ours {ratios[-1]:.2f}", flush=True)
    print(f"median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
