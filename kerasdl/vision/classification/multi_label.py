"""Multi-label image classification task: independent labels with a sigmoid each."""

from collections.abc import Sequence

import keras
import numpy as np

from kerasdl.blocks import replace_head
from kerasdl.core import Task, register_task
from kerasdl.core.outputs.decoding import decode_labels

from .task import check_images, prepared, preparing_layers


def _loss() -> keras.losses.Loss:
    return keras.losses.BinaryCrossentropy(from_logits=True)


def _metrics() -> Sequence[keras.metrics.Metric]:
    # Over logits: 0 is a probability of one half.
    return [
        keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy"),
        keras.metrics.AUC(curve="PR", multi_label=True, from_logits=True, name="average_precision"),
    ]


def _example(model: keras.Model, batch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = [32 if side is None else side for side in model.input_shape[1:]]
    images = rng.uniform(-1.0, 1.0, (batch, *shape)).astype("float32")
    return images, rng.integers(0, 2, (batch, model.output_shape[-1])).astype("float32")


register_task(
    Task(
        name="multi_label_classification",
        module=__name__,
        loss=_loss,
        metrics=_metrics,
        monitor=("val_average_precision", "max"),
        check=check_images,
        preprocess=prepared,
        preprocess_layers=preparing_layers,
        decode=decode_labels,
        replace_head=replace_head,
        example=_example,
        activation="sigmoid",
        summary="names all that an image shows",
        limits="It knows the labels above and nothing else: in any other input it still finds some of them, or none.",
    )
)
