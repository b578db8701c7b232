"""A registered model built anew for other labels, with every weight of the old one that does not depend on them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import checks
from .models import build

Shapes = dict[str, list[tuple]]


def rebuild_head(
    model: Any,
    builder: str,
    arguments: Mapping[str, Any],
    labels: Sequence[str],
    label_arguments: Callable[[Sequence[str]], Mapping[str, Any]],
) -> tuple[Any, list[str]]:
    """Builds a model anew whose outputs are those of other labels; the weights of all other layers are copied by name.

    Fresh are the layers whose weights have other shapes once there is one label more, of whatever number the head has.

    Args:
        model: the model whose weights are kept.
        builder: the registered name by which it was built.
        arguments: what the builder was given.
        labels: the new labels.
        label_arguments: as in `Task`.

    Returns:
        The new model, which shares no weight with the old one, and the names of its fresh layers.

    Raises:
        ArgumentError: there is no builder, or it does not build this model: an output, a layer or a weight of the old
            one would be lost; or nothing in it depends on the number of labels.
        UnknownNameError: no registered model has the builder's name.

    Example:
        >>> old = build("mlp", features=4, classes=3)
        >>> new, fresh = rebuild_head(old, "mlp", {"features": 4}, ("a", "b"), lambda labels: {"classes": len(labels)})
        >>> new.output_shape, fresh
        ((None, 2), ['head'])
    """
    if not builder:
        hint = "Give the bundle its builder, Bundle.of(..., builder=, arguments=), or the task a replace_head."
        checks.refuse("a model gets outputs for other labels by its builder", f"{model.name}, of none", hint)
    new = build(builder, **{**arguments, **label_arguments(labels)})
    more = build(builder, **{**arguments, **label_arguments([*labels, "one more"])})
    ours, theirs, wider = (_shapes_of(each) for each in (model, new, more))
    fresh = [name for name, shapes in theirs.items() if shapes != wider.get(name)]
    if not fresh:
        hint = "The task's label_arguments must set what the builder calls them."
        checks.refuse(f"{builder} must have layers that depend on the number of labels", label_arguments(labels), hint)
    _check_nothing_is_lost(model, new, builder, [name for name in ours if ours[name] != theirs.get(name)], fresh)
    for layer in new.layers:
        if layer.weights and layer.name not in fresh:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return new, fresh


def _check_nothing_is_lost(old: Any, new: Any, builder: str, unlike: list[str], fresh: list[str]) -> None:
    hint = "Its builder and arguments in the manifest must be those by which it was built."
    for what in ("input", "output"):
        mine, its = (_names_of(getattr(each, f"{what}s"), getattr(each, what)) for each in (old, new))
        if mine != its:
            checks.refuse(f"{builder} must build the {what}s of {old.name!r}, {mine}", its, hint)
    lost = [name for name in unlike if name not in fresh]
    added = sorted({*_shapes_of(new)} - {*_shapes_of(old)} - {*fresh})
    if lost or added:
        rule = f"{builder} must build the layers of {old.name!r}, but for those of its labels, {fresh}"
        checks.refuse(rule, (lost or added)[:6], hint)


def _names_of(tensors: Sequence[Any], tree: Any) -> list[str]:
    """Returns the keys of several inputs or outputs in a dict; else the names of the layers that give them."""
    return list(tree) if isinstance(tree, Mapping) else [each._keras_history.operation.name for each in tensors]


def _shapes_of(model: Any) -> Shapes:
    """Returns the shapes of the weights of each layer that has some."""
    return {layer.name: [tuple(each.shape) for each in layer.weights] for layer in model.layers if layer.weights}
