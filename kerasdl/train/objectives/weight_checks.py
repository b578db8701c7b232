"""Sample-weight checks against a model's outputs: shapes that Keras would broadcast over wrong axes are refused."""

from collections.abc import Mapping
from typing import Any

import keras

from kerasdl.core import checks
from kerasdl.data import Dataset


def check_weights(data: Dataset, model_outputs: Any) -> None:
    """Raises where the weights of a dataset are neither one for each example nor one for each prediction.

    Args:
        data: the dataset, with weights or without.
        model_outputs: the result of `outputs_of`.

    Raises:
        ArgumentError: weights have another shape, or belong to no output.
    """
    _, labels, weights = data.spec
    outputs, names = getattr(model_outputs, "outputs", None), list(getattr(model_outputs, "output_names", None) or [])
    if weights is None or not outputs:
        return
    parts = keras.tree.flatten(weights)
    if isinstance(weights, Mapping) and not set(weights) <= {*names, *_keys(labels)}:
        checks.refuse(
            f"weights of {data.name} must name outputs of {model_outputs.name!r}, {tuple(names)}", tuple(weights)
        )
    if keras.tree.is_nested(weights) and len(parts) != len(outputs):
        rule = f"weights of {data.name} must be one array, or one for each of the {len(outputs)} outputs"
        checks.refuse(rule, f"{len(parts)} in a {type(weights).__name__}", "Give 1 where an output is not weighed.")
    several = len(parts) > 1
    targets = keras.tree.flatten(labels) if labels is not None else [None] * len(outputs)
    rows = zip(parts, outputs if several else outputs[:1], targets if several else targets[:1], strict=False)
    for part, output, target in rows:
        weight_shape, shape = tuple(part.shape), tuple(output.shape)
        if target is not None and len(target.shape) == len(shape) - 1 and shape[-1] == 1:
            shape = shape[:-1]  # Keras averages over steps before it weighs
        fits = len(weight_shape) == 1 or weight_shape[1:] == (1,)
        fits = fits or (len(weight_shape) < len(shape) and _same(weight_shape[1:], shape[1:]))
        if not fits:
            wanted = "(B,)" + (f" or (B, {', '.join(map(str, shape[1:-1]))})" if len(shape) > 2 else "")
            hint = "Of each example one weight; weights of classes are RunConfig(class_weights=...)."
            checks.refuse(f"weights of {data.name} must have the shape {wanted}", weight_shape, hint)


def _same(weight_shape: tuple, shape: tuple) -> bool:
    return all(None in pair or pair[0] == pair[1] for pair in zip(weight_shape, shape, strict=False))


def _keys(labels: Any) -> tuple:
    return tuple(labels) if isinstance(labels, Mapping) else ()
