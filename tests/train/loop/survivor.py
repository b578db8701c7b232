"""A run to be killed: `python survivor.py FOLDER` trains slowly, with all that counts, and prints a hash."""

import hashlib
import sys
import time

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core.seed import set_seed
from kerasdl.train import RunConfig, fit


def slow_jitter(image, seed):
    image = tf.numpy_function(lambda pixels: (time.sleep(0.003), pixels)[1], [image], tf.float32)
    return tf.ensure_shape(image, (6, 6, 1)) + tf.random.stateless_normal((6, 6, 1), seed, stddev=0.1)


def main(folder):
    set_seed(7)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(478, 6, 6, 1)).astype(np.float32)
    y = (x.mean((1, 2, 3)) > 0).astype(np.int32)
    tensor = features = keras.Input((6, 6, 1))
    features = keras.layers.Conv2D(4, 3, name="conv")(features)
    features = keras.layers.BatchNormalization(synchronized=True, name="norm")(features)
    features = keras.layers.Flatten(name="flatten")(features)
    features = keras.layers.Dropout(0.3, name="drop")(features)
    model = keras.Model(tensor, keras.layers.Dense(2, name="head")(features))
    config = RunConfig(
        epochs=4,
        batch_size=8,
        learning_rate=3e-3,
        schedule="cosine",
        augment=slow_jitter,
        ema=0.95,
        accumulation=2,
        folder=folder,
        save_every=7,
        steps_per_execution=3,
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    run = fit(model, (x, y), validation=(x[:80], y[:80]), loss=loss, metrics=["accuracy"], config=config)
    parts = [np.ascontiguousarray(variable.numpy()).tobytes() for variable in model.variables]
    print("hash", hashlib.sha256(b"".join(parts)).hexdigest(), run.steps, run.resumed, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
