"""A run to be killed: `python killed_run.py FOLDER` trains with all that draws or counts, and prints a hash."""

import hashlib
import sys

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core.seed import set_seed
from kerasdl.train import RunConfig, fit


def jitter(image, seed):
    return image + tf.random.stateless_normal(image.shape, seed, stddev=0.1)


def main(folder):
    set_seed(7)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(480, 6, 6, 1)).astype(np.float32)
    y = (x.mean((1, 2, 3)) > 0).astype(np.int32)
    tensor = features = keras.Input((6, 6, 1))
    features = keras.layers.Conv2D(4, 3, name="conv")(features)
    features = keras.layers.BatchNormalization(name="norm")(features)
    features = keras.layers.Flatten(name="flatten")(features)
    features = keras.layers.Dropout(0.3, name="drop")(features)
    model = keras.Model(tensor, keras.layers.Dense(2, name="head")(features))
    config = RunConfig(
        epochs=4, batch_size=8, learning_rate=3e-3, schedule="cosine", augment=jitter, folder=folder, save_every=7
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    run = fit(model, (x, y), validation=(x[:80], y[:80]), loss=loss, metrics=["accuracy"], config=config)
    parts = [np.ascontiguousarray(variable.numpy()).tobytes() for variable in model.variables]
    print("hash", hashlib.sha256(b"".join(parts)).hexdigest(), run.steps, run.resumed, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
