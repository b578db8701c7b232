"""Labels and weights in a dict or tuple of one, for a model with one output."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from kerasdl.core import checks
from kerasdl.data import Dataset, trees
from kerasdl.data.sources import Examples


def unwrapped(data: Dataset, model_outputs: Any) -> Dataset:
    """Returns data whose labels and weights are no dict or tuple, where the output of the model is none.

    Args:
        data: the dataset.
        model_outputs: the result of `outputs_of`.

    Raises:
        ArgumentError: a dict names another output.
    """
    outputs, names = getattr(model_outputs, "outputs", None), list(getattr(model_outputs, "output_names", None) or [])
    if not outputs or len(outputs) > 1 or trees.is_nested(getattr(model_outputs, "output", None)):
        return data
    _, labels, weights = data.spec
    for what, part in (("labels", labels), ("weights", weights)):
        if isinstance(part, Mapping) and names and set(part) != set(names):
            checks.refuse(f"{what} of {data.name} must name the output of the model, {names[0]!r}", tuple(part))
    return with_targets(data, _bare) if _holds_one(labels) or _holds_one(weights) else data


def with_targets(
    data: Dataset, change_labels: Callable[[Any], Any] = lambda labels: labels, change_weights: Callable | None = None
) -> Dataset:
    """Returns data with labels and weights changed by functions of them; one function serves both.

    Args:
        data: a dataset in memory or from a pipeline of batches.
        change_labels: takes labels, arrays or tensors.
        change_weights: takes weights; None takes `change_labels`.
    """
    source, change_weights = data.source, change_weights or change_labels
    if isinstance(source, Examples):
        labels, weights = change_labels(source.labels), change_weights(source.weights)
        examples = Examples(source.inputs, labels, weights, source.ready, source.levels)
        return dataclasses.replace(data, source=examples)

    @tf.autograph.experimental.do_not_convert
    def changed(*element: Any) -> Any:
        inputs, labels, weights = trees.unpacked(element)
        return trees.packed(inputs, change_labels(labels), change_weights(weights))

    return dataclasses.replace(data, source=source.map(changed))


def _holds_one(nested: Any) -> bool:
    return trees.is_nested(nested) and len(nested) == 1


def _bare(nested: Any) -> Any:
    if not _holds_one(nested):
        return nested
    (part,) = nested.values() if isinstance(nested, Mapping) else nested
    return part
