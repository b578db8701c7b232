"""Text regression task: numbers from token ids, such as the score of a review."""

import dataclasses
from typing import Any

import keras
import numpy as np

from kerasdl.core import register_task
from kerasdl.core.outputs.decoding import decode_values

from .classification import classification


def _example(model: keras.Model, batch: int, seed: int) -> tuple[Any, np.ndarray]:
    tokens, _ = classification.example(model, batch, seed)
    values = np.random.default_rng(seed).normal(size=(batch, model.output_shape[-1]))
    return tokens, values.astype("float32")


register_task(
    dataclasses.replace(
        classification,
        name="text_regression",
        module=__name__,
        loss=keras.losses.MeanSquaredError,
        metrics=lambda: [keras.metrics.MeanAbsoluteError(name="mae")],
        monitor=("val_mae", "min"),
        decode=decode_values,
        example=_example,
        activation=None,
        label_arguments=lambda labels: {"targets": len(labels)},
        summary="predicts a number from a text",
        limits="It gives a value for any input, also for one unlike all that it was trained on.",
    )
)
