"""Adapters: small bottlenecks behind frozen layers (Houlsby et al. 2019, https://arxiv.org/abs/1902.00751).

Deviations: norms stay frozen, where the paper trains them too; name them in `trained` for that.
"""

from typing import Any

import keras
from keras import layers

from kerasdl.core import checks
from kerasdl.core.keras_graph import flattened

from .graph_roles import branch_ends, matching, plain_graph
from .weight_changes import Patterns, layers_named


def adapters(
    model: keras.Model,
    size: int = 16,
    *,
    targets: Patterns | None = None,
    activation: str = "relu",
    trained: Patterns = (),
    name: str = "adapter",
) -> keras.Model:
    """Adapters: returns a copy of a frozen model with a bottleneck behind each target, y + up(activation(down(y))).

    `up` is zero at first, so that the copy computes what the model computes. Bottlenecks are layers of Keras, named
    `LAYER_adapter_down` and so on; they cannot be merged, and export and quantise as any dense layers.

    Source: https://arxiv.org/abs/1902.00751, figure 2; behind the perceptrons alone, as in
    https://arxiv.org/abs/2005.00247, with `targets="*_mlp_project"`.

    Args:
        model: a functional or Sequential model, built; it stays as it is.
        size: width of the bottleneck, 1 or more.
        targets: names or patterns of layers with one output (B, ..., D); None takes those whose outputs, dropped or
            normalised at most, are added to a shortcut.
        activation: a Keras name.
        trained: names or patterns of layers that learn as a whole, such as a new `head`.
        name: part of the names of the new layers; a second call needs another.

    Returns:
        A model that shares no weight with the given one.

    Raises:
        ArgumentError: `size` is below 1, the model has no place, or layers of that name.
        UnknownNameError: a pattern matches no layer.

    Example:
        >>> tuned = adapters(kerasdl.build("mlp", features=4), 2, targets="hidden*")
        >>> tuned.trainable_weights[0].path
        'hidden1_adapter_down/kernel'
    """
    checks.at_least("size", size, 1)
    model = plain_graph(model)
    if targets is None:
        targets = branch_ends(model)
        if not targets:
            checks.refuse("a model tuned by default must have residual branches", model.name, "Pass targets=.")
    behind = matching("layer", targets, [layer.name for layer in model.layers])
    parts = {layer: [f"{layer}_{name}_{part}" for part in ("down", "activation", "up", "add")] for layer in behind}
    refuse_twice(model, [part for names in parts.values() for part in names])
    whole = layers_named(model, trained)

    def around(layer: keras.layers.Layer, copy: keras.layers.Layer) -> Any:
        copy.trainable = layer.name in whole
        if layer.name not in parts:
            return copy
        down, active, up, add = parts[layer.name]
        if isinstance(layer.output, (list, tuple, dict)):
            checks.refuse("an adapter stands behind a layer of one output", layer.name, "Narrow targets=.")
        small = layers.Dense(size, name=down)
        active = layers.Activation(activation, name=active)
        large = layers.Dense(layer.output.shape[-1], kernel_initializer="zeros", name=up)
        add = layers.Add(name=add)

        def call(*args: Any, **kwargs: Any) -> Any:
            y = copy(*args, **kwargs)
            return add([y, large(active(small(y)))])

        return call

    return flattened(model, around)


def refuse_twice(model: keras.Model, names: list[str]) -> None:
    """Refuses names of new layers that the model has already."""
    taken = {layer.name for layer in model.layers}
    for each in names:
        if each in taken:
            checks.refuse("new layers must have names of their own", each, "Pass another name=.")
