"""Test-time augmentation: the mean answer to several views of each input."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.core import checks


def predict_transformed(
    model: keras.Model, inputs: np.ndarray, views: Sequence[Callable[[Any], Any]], *, batch_size: int = 128
) -> np.ndarray:
    """Returns the mean probabilities that a classifier gives several views of each input.

    Source: https://papers.nips.cc/paper/4824, section 4.1, which averages ten crops.

    Args:
        model: a model whose outputs are logits (B, K).
        inputs: (N, ...).
        views: functions from a batch of inputs to a batch of the same length, such as `lambda x: x` and
            `lambda x: x[:, :, ::-1]`.
        batch_size: inputs in a batch.

    Returns:
        (N, K) probabilities, float32.

    Raises:
        ArgumentError: there are no views.

    Example:
        >>> views = [lambda x: x, lambda x: x[:, :, ::-1]]
        >>> predict_transformed(model, images, views).shape
        (8, 4)
    """
    if not views:
        checks.refuse("views must hold at least one function", views)
    answers = []
    for start in range(0, len(inputs), batch_size):
        batch = inputs[start : start + batch_size]
        logits = [keras.ops.softmax(model(view(batch), training=False), axis=-1) for view in views]
        answers.append(np.mean([keras.ops.convert_to_numpy(each) for each in logits], axis=0))
    return np.concatenate(answers)
