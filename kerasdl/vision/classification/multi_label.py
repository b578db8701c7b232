"""Multi-label image classification task: independent labels with a sigmoid each."""

import keras
import numpy as np

from kerasdl.blocks import multi_label_task
from kerasdl.core import register_task

from .task import check_images, prepared, preparing_layers


def _example(model: keras.Model, batch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = [32 if side is None else side for side in model.input_shape[1:]]
    images = rng.uniform(-1.0, 1.0, (batch, *shape)).astype("float32")
    return images, rng.integers(0, 2, (batch, model.output_shape[-1])).astype("float32")


register_task(
    multi_label_task(
        "multi_label_classification",
        module=__name__,
        check=check_images,
        preprocess=prepared,
        preprocess_layers=preparing_layers,
        example=_example,
        seen_in="an image shows",
    )
)
