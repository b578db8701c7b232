"""Roles of layers in a graph: kernels that can be tuned, projections of attention, ends of residual branches."""

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kerasdl.core import checks
from kerasdl.core.keras_graph import check_graph, flattened, has_nested_models, replay
from kerasdl.layers import (
    AdaptedWeights,
    CosineWindowAttention,
    DotProductAttention,
    DropPath,
    LayerScale,
    LinearAttention,
    SlidingWindowAttention,
    WindowAttention,
)
from kerasdl.layers.tuning.adapted_weights import weights_by_name

CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
WHOLE_ATTENTION = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
WINDOW_ATTENTION = (WindowAttention, CosineWindowAttention)
HEAD_ATTENTION = (DotProductAttention, SlidingWindowAttention, LinearAttention)
ON_BRANCHES = (keras.layers.Dropout, keras.layers.BatchNormalization, DropPath, LayerScale)
PARTS = ("query", "key", "value", "output")
ATTENTION = "attention"
MOST_OUTPUTS = 64


@dataclass(frozen=True)
class Kernel:
    """Matrix of weights in a layer, with the axes of its rows."""

    layer: str
    weight: str
    """Path inside the layer."""
    inputs: tuple[int, ...]
    """Axes of the rows."""
    rank: int
    """Number of all axes."""
    bias: str | None
    """Path of the bias that is added to its product, None without one."""


def plain_graph(model: keras.Model) -> keras.Model:
    """Returns a model without nested models: itself, or a copy with those opened.

    Raises:
        ArgumentError: it is no functional or Sequential model.
    """
    if not isinstance(model, keras.Model):
        checks.refuse("a Keras model is tuned", type(model).__name__, "Of a bundle pass bundle.model.")
    check_graph(model)
    return flattened(model) if has_nested_models(model) else model


def inside(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Returns the plain layer of an adapted one, and any other layer as it is."""
    return layer.layer if isinstance(layer, AdaptedWeights) else layer


def tunable_kernels(model: keras.Model) -> dict[str, Kernel]:
    """Returns the kernels of dense layers, convolutions and attention by place: `LAYER`, or `LAYER/query` in one."""
    found = {}
    for layer in model.layers:
        names = weights_by_name(inside(layer))
        paths = {id(variable): name for name, variable in names.items()}
        for part in inside(layer)._flatten_layers():
            for variable, inputs in _matrices(part):
                weight = paths[id(variable)]
                bias = f"{weight.removesuffix('kernel')}bias"
                place = weight.removesuffix("kernel").strip("/_").replace("attention_output", "output")
                kernel = Kernel(layer.name, weight, inputs, len(variable.shape), bias if bias in names else None)
                found[f"{layer.name}/{place}".rstrip("/")] = kernel
    return found


def _matrices(layer: keras.layers.Layer) -> Iterable[tuple[keras.Variable, tuple[int, ...]]]:
    """Yields the own kernels of a layer, each with the axes of its rows."""
    if isinstance(layer, WINDOW_ATTENTION):
        yield from ((getattr(layer, f"{part}_kernel"), (0,)) for part in PARTS)
    elif isinstance(layer, keras.layers.Dense):
        yield layer._kernel, (0,)  # `kernel` is the product where Keras's own LoRA is enabled
    elif isinstance(layer, keras.layers.EinsumDense):
        read, rest = layer.equation.split(",")
        letters, written = rest.split("->")
        inputs = tuple(axis for axis, letter in enumerate(letters) if letter not in written)
        if inputs and not {*letters} & {*read} & {*written}:
            yield layer._kernel, inputs
    elif isinstance(layer, CONVOLUTIONS) and layer.groups == 1:
        yield layer._kernel, tuple(range(len(layer._kernel.shape) - 1))


def source_layers(
    model: keras.Model, reads: Callable[[keras.layers.Layer], bool], passes: Callable[[keras.layers.Layer], bool]
) -> list[tuple[keras.layers.Layer, list[frozenset[str]]]]:
    """Returns for some layers of a graph the nearest layers with kernels, or attentions, from which each input comes.

    Args:
        model: without nested models.
        reads: the layers to return.
        passes: the layers without kernels whose outputs come from where their inputs come.
    """
    sources = {kernel.layer for kernel in tunable_kernels(model).values()}
    found = []

    def substitute(layer: keras.layers.Layer) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            read = [each for each in keras.tree.flatten((args, kwargs)) if isinstance(each, frozenset)]
            if reads(layer):
                found.append((layer, read))
            if isinstance(layer, HEAD_ATTENTION):
                result = frozenset({ATTENTION})
            elif layer.name in sources:
                result = frozenset({layer.name})
            else:
                result = frozenset().union(*read) if passes(layer) else frozenset()
            return [result] * MOST_OUTPUTS  # one for each output; what is too much is not read

        return call

    replay(model, [frozenset()] * len(model.inputs), substitute)
    return found


def attention_places(model: keras.Model, parts: Sequence[str]) -> list[str]:
    """Returns the places of these projections (`query`, `key`, `value`, `output`) of all attention in a model."""
    kernels = tunable_kernels(model)
    found = {
        f"{layer.name}/{part}"
        for layer in model.layers
        if isinstance(inside(layer), (*WHOLE_ATTENTION, *WINDOW_ATTENTION))
        for part in parts
    }
    heads = source_layers(model, lambda layer: isinstance(layer, HEAD_ATTENTION), lambda layer: True)
    for _, read in heads:
        found.update(name for part, names in zip(PARTS, read, strict=False) if part in parts for name in names)
    if "output" in parts:
        found.update(_output_projections(model))
    return [place for place in kernels if place in found]


def _output_projections(model: keras.Model) -> set[str]:
    layers = source_layers(model, lambda layer: isinstance(inside(layer), keras.layers.Dense), lambda layer: True)
    return {layer.name for layer, read in layers if any(ATTENTION in names for names in read)}


def branch_ends(model: keras.Model) -> list[str]:
    """Returns the layers with kernels whose outputs, dropped or normalised at most, are added to a shortcut."""
    sums = source_layers(
        model,
        lambda layer: isinstance(layer, keras.layers.Add),
        lambda layer: isinstance(layer, ON_BRANCHES),
    )
    found = {name for _, read in sums for names in read for name in names}
    return [layer.name for layer in model.layers if layer.name in found]


def perceptron_ends(model: keras.Model) -> list[str]:
    """Returns the dense layers that end a residual branch and are no projection of an attention."""
    outputs = _output_projections(model)
    dense = {layer.name for layer in model.layers if isinstance(inside(layer), keras.layers.Dense)}
    return [name for name in branch_ends(model) if name in dense - outputs]


def hidden_dense(model: keras.Model) -> list[str]:
    """Returns the places of the dense layers of a model but those whose values, activated at most, are outputs."""
    ends = (keras.layers.Softmax, keras.layers.Activation)
    shown = {output._keras_history.operation.name for output in model.outputs}  # no public name in Keras
    activated = source_layers(model, lambda layer: layer.name in shown, lambda layer: isinstance(layer, ends))
    heads = shown | {name for layer, read in activated if isinstance(layer, ends) for names in read for name in names}
    dense = (keras.layers.Dense, keras.layers.EinsumDense)
    kinds = {layer.name for layer in model.layers if isinstance(inside(layer), dense)}
    return [place for place, kernel in tunable_kernels(model).items() if kernel.layer in kinds - heads]


def matching(kind: str, patterns: str | Sequence[str], names: Iterable[str]) -> list[str]:
    """Returns the names that match a pattern, such as `*query`, in the order of the names.

    Raises:
        ArgumentError: there is no name at all, or no pattern.
        UnknownNameError: a pattern matches none; the text has names near it.
    """
    names, patterns = list(names), [patterns] if isinstance(patterns, str) else patterns
    is_list = isinstance(patterns, (list, tuple, set, frozenset))
    if not (is_list and patterns and all(isinstance(each, str) for each in patterns)):
        checks.refuse(f"a {kind} must be named by a text, or a list of one or more", patterns)
    if not names:
        checks.refuse(f"the model must have a {kind}", "none")
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            checks.known_name(kind, pattern, names, f"There are {len(names)}, such as {names[0]!r}.")
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
