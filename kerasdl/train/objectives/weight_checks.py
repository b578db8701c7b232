"""Sample weights against losses and outputs: axes of one where Keras would broadcast along others, or a refusal."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.data import Dataset

from .label_forms import by_output
from .single_output import with_targets


def fitting_weights(data: Dataset, loss: Any, model_outputs: Any) -> Dataset:
    """Returns data in which the weight of an example weighs each of its predictions.

    Keras multiplies weights (B,) with losses (B, T) along their last axis: it fails, or weighs steps where B equals T.
    Such weights get axes of one.

    Args:
        data: the dataset, with weights or without.
        loss: as in `compile`.
        model_outputs: the result of `outputs_of`.

    Raises:
        ArgumentError: weights have another shape, or belong to no output.
    """
    check_weights(data, model_outputs)
    _, labels, weights = data.spec
    outputs, names = getattr(model_outputs, "outputs", None), list(getattr(model_outputs, "output_names", None) or [])
    if weights is None or not outputs:
        return data
    parts, targets = _by_place(weights, names), _by_place(labels, names)
    losses = by_output(loss, names, len(outputs))
    axes = {
        place: _missing_axes(part, losses[place], targets[place], outputs[place], data.name)
        for place, part in parts.items()
        if place in targets
    }
    if not any(axes.values()):
        return data
    return with_targets(data, lambda labels, weights: (labels, _expanded(weights, names, axes)))


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


def _by_place(nested: Any, names: list[str]) -> dict[int, Any]:
    """Returns labels or weights by the places of their outputs."""
    if isinstance(nested, Mapping):
        return {_place(key, nested, names): part for key, part in nested.items()}
    return dict(enumerate(nested)) if isinstance(nested, (list, tuple)) else {0: nested}


def _place(key: str, nested: Mapping, names: list[str]) -> int:
    return names.index(key) if set(nested) <= set(names) else sorted(nested).index(key)  # as Keras orders outputs


def _missing_axes(weights: Any, losses: list, labels: Any, output: Any, name: str) -> int:
    """Returns how many axes weights lack to have the rank of the losses of an output; -1 for one too many."""
    if weights is None or labels is None or len(losses) != 1 or isinstance(weights, tf.RaggedTensorSpec):
        return 0
    loss = keras.losses.get(losses[0]) if isinstance(losses[0], str) else losses[0]
    specs = [tf.TensorSpec(each.shape, "float32") for each in (labels, output)]
    try:
        call = loss.call if isinstance(loss, keras.losses.Loss) else loss
        values = tf.function(call, autograph=False).get_concrete_function(*specs).structured_outputs
    except Exception:  # a loss that takes no such arguments is refused or called elsewhere
        return 0
    rank, own = getattr(values.shape, "rank", None), len(weights.shape)
    if not rank:  # unknown, or one number for the batch
        return 0
    is_column = (own, rank) == (2, 1) and weights.shape[-1] == 1
    if own > rank and not is_column:
        hint = "Give each example one weight, or take a loss that leaves the mean to Keras."
        checks.refuse(f"weights of {name} must have no more axes than the loss, {rank}", tuple(weights.shape), hint)
    return rank - own


def _expanded(weights: Any, names: list[str], axes: Mapping[int, int]) -> Any:
    """Returns weights with axes of one behind the others, as many as each output needs, or without one."""

    def grown(part: Any, place: int) -> Any:
        count = axes.get(place, 0)
        return part[..., 0] if count < 0 else part[(..., *[None] * count)] if count else part

    if isinstance(weights, Mapping):
        return {key: grown(part, _place(key, weights, names)) for key, part in weights.items()}
    if isinstance(weights, (list, tuple)):
        return type(weights)(grown(part, place) for place, part in enumerate(weights))
    return grown(weights, 0)
