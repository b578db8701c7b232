"""Tiny models and data for the tests of the engine."""

import hashlib

import keras
import numpy as np
import pytest

from kerasdl.core.registry.tasks import Task


def make_model(width=16, classes=2, inputs=4, dropout=0.0, norm=False):
    x = tensor = keras.Input((inputs,), name="input")
    x = keras.layers.Dense(width, activation="tanh", name="hidden")(x)
    if norm:
        x = keras.layers.BatchNormalization(name="norm")(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name="drop")(x)
    return keras.Model(tensor, keras.layers.Dense(classes, name="head")(x))


def make_data(examples=64, inputs=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(examples, inputs)).astype(np.float32)
    return x, (x[:, 0] + 0.5 * x[:, 1] > 0).astype(np.int32)


def digest(model):
    parts = [np.ascontiguousarray(variable.numpy()).tobytes() for variable in model.variables]
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.fixture
def task():
    """A task that supplies loss, metric and monitor, and can do nothing else."""
    return Task(
        name="toy",
        loss=lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=lambda: [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        monitor=("val_accuracy", "max"),
        **dict.fromkeys(("module", "check", "preprocess", "preprocess_layers", "decode", "replace_head", "example")),
    )


@pytest.fixture
def toy():
    """Gives `model`, `data` and `digest`."""

    class Toy:
        model = staticmethod(make_model)
        data = staticmethod(make_data)
        digest = staticmethod(digest)

    return Toy
