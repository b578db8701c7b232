"""Test-time augmentation: mean predictions over several views of each input."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.core import checks
from kerasdl.core.data_fit import check_fits
from kerasdl.core.outputs.activation import gives_probabilities


def predict_transformed(
    model: keras.Model, inputs: np.ndarray, views: Sequence[Callable[[Any], Any]], *, batch_size: int = 128
) -> np.ndarray:
    """Returns the mean probabilities of a classifier over several views of each input.

    Source: https://papers.nips.cc/paper/4824, section 4.1, which averages ten crops.

    Args:
        model: a model whose outputs are logits (B, K), or probabilities where it ends in a softmax or sigmoid.
        inputs: (N, ...).
        views: functions from a batch of inputs to a batch of the same length, such as `lambda x: x` and
            `lambda x: x[:, :, ::-1]`.
        batch_size: inputs in a batch.

    Returns:
        (N, K) probabilities, float32.

    Raises:
        ArgumentError: there are no views or inputs, or a view does not fit the model.

    Example:
        >>> views = [lambda x: x, lambda x: x[:, :, ::-1]]
        >>> predict_transformed(model, images, views).shape
        (8, 4)
    """
    if not views:
        checks.refuse("views must hold at least one function", views)
    if not len(inputs):
        checks.refuse("inputs must hold at least one example", np.shape(inputs))
    predictions, has_probabilities = [], None
    for start in range(0, len(inputs), batch_size):
        batch = inputs[start : start + batch_size]
        outputs_of_views = []
        for view in views:
            transformed = view(batch)
            check_fits(model, transformed, name="a view of the inputs")
            outputs = model(transformed, training=False)
            if has_probabilities is None:  # by now a subclassed model is built too
                has_probabilities = gives_probabilities(model, transformed)
            outputs_of_views.append(
                keras.ops.convert_to_numpy(outputs if has_probabilities else keras.ops.softmax(outputs))
            )
        predictions.append(np.mean(outputs_of_views, axis=0))
    return np.concatenate(predictions)
