"""Sample weights against a model's outputs: shapes that Keras would spread over other axes than the examples."""

from collections.abc import Mapping
from typing import Any

import keras

from kerasdl.core import checks
from kerasdl.data import Dataset


def check_weights(data: Dataset, seen: Any) -> None:
    """Passes where the weights of a dataset are one for each example, or one for each prediction.

    Args:
        data: the dataset, with weights or without.
        seen: the `outputs_of` a model.

    Raises:
        ArgumentError: weights have another shape, or belong to no output.
    """
    _, labels, weights = data.spec
    outputs, names = getattr(seen, "outputs", None), list(getattr(seen, "output_names", None) or [])
    if weights is None or not outputs:
        return
    parts = keras.tree.flatten(weights)
    if isinstance(weights, Mapping) and not set(weights) <= {*names, *_keys(labels)}:
        checks.refuse(f"weights of {data.name} must name outputs of {seen.name!r}, {tuple(names)}", tuple(weights))
    if keras.tree.is_nested(weights) and len(parts) != len(outputs):
        rule = f"weights of {data.name} must be one array, or one for each of the {len(outputs)} outputs"
        checks.refuse(rule, f"{len(parts)} in a {type(weights).__name__}", "Give 1 where an output is not weighed.")
    several = len(parts) > 1
    targets = keras.tree.flatten(labels) if labels is not None else [None] * len(outputs)
    rows = zip(parts, outputs if several else outputs[:1], targets if several else targets[:1], strict=False)
    for part, output, target in rows:
        given, shape = tuple(part.shape), tuple(output.shape)
        if target is not None and len(target.shape) == len(shape) - 1 and shape[-1] == 1:
            shape = shape[:-1]  # Keras takes the mean over steps before it weighs
        fits = len(given) == 1 or given[1:] == (1,) or (len(given) < len(shape) and _same(given[1:], shape[1:]))
        if not fits:
            wanted = "(B,)" + (f" or (B, {', '.join(map(str, shape[1:-1]))})" if len(shape) > 2 else "")
            hint = "Of each example one weight; weights of classes are RunConfig(class_weights=...)."
            checks.refuse(f"weights of {data.name} must have the shape {wanted}", given, hint)


def _same(given: tuple, shape: tuple) -> bool:
    return all(None in pair or pair[0] == pair[1] for pair in zip(given, shape, strict=False))


def _keys(labels: Any) -> tuple:
    return tuple(labels) if isinstance(labels, Mapping) else ()
