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
    if not (_holds_one(labels) or _holds_one(weights)):
        return data
    return with_targets(data, lambda labels, weights: (_bare(labels), _bare(weights)))


def with_targets(data: Dataset, change: Callable[[Any, Any], tuple[Any, Any]]) -> Dataset:
    """Returns data with other labels and weights.

    Args:
        data: a dataset in memory or from a pipeline of batches.
        change: function from labels and weights, arrays or tensors, to the new ones.
    """
    source = data.source
    if isinstance(source, Examples):
        labels, weights = change(source.labels, source.weights)
        examples = Examples(source.inputs, labels, weights, source.ready, source.levels)
        return dataclasses.replace(data, source=examples)

    @tf.autograph.experimental.do_not_convert
    def changed(*element: Any) -> Any:
        inputs, labels, weights = trees.unpacked(element)
        return trees.packed(inputs, *change(labels, weights))

    return dataclasses.replace(data, source=source.map(changed))


def _holds_one(nested: Any) -> bool:
    return trees.is_nested(nested) and len(nested) == 1


def _bare(nested: Any) -> Any:
    if not _holds_one(nested):
        return nested
    (part,) = nested.values() if isinstance(nested, Mapping) else nested
    return part
