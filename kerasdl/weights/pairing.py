"""Pairing of the layers of two nets by the structure of their graphs.

Both graphs are traversed from their outputs. Branches of ordered operations (concatenation, attention) keep their
order; of commutative ones (sums, products) the branch with more weighted layers goes first. The layers with weights
then come in the same order in both nets, independent of their names.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from kerasdl.core.errors import WeightsError
from kerasdl.core.keras_graph import replay

COMMUTATIVE = ("Add", "Multiply", "Average", "Maximum", "Minimum")
FRONT = (keras.layers.Rescaling, keras.layers.Normalization)


@dataclass(frozen=True)
class WeightGroup:
    """Group of weights: those of a layer, or of one of the two convolutions of a separable one."""

    layer: str
    """Name of the layer."""
    arrays: tuple[Any, ...]
    """Its variables, or arrays, in Keras's order."""

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shape of each array."""
        return [tuple(array.shape) for array in self.arrays]


@dataclass(eq=False)
class _Node:
    operation: keras.Operation
    sources: list["_Node"]
    weighted: set[int] = field(default_factory=set)  # operations with weights up to this one, inclusive


def weight_groups(model: keras.Model) -> list[WeightGroup]:
    """Returns the weight groups of a functional model in the order of its structure, nested models included.

    Layers that only preprocess pixels, `Rescaling` and `Normalization`, are left out.

    Raises:
        ArgumentError: the model has no graph.
    """
    outputs = keras.tree.flatten(replay(model, [_Node(None, []) for _ in model.inputs], _node_of))
    order: list[keras.Operation] = []
    visited: set[int] = set()
    for output in outputs:
        _visit(output, order, visited)
    return [group for operation in order for group in _groups_of(operation)]


def pair(
    target: Sequence[WeightGroup], source: Sequence[WeightGroup], head: str | None = None
) -> tuple[list[tuple], bool]:
    """Returns pairs of a variable of one net and its array from another.

    Args:
        target: the weight groups of the net to fill.
        source: the weight groups of the other, in the same order.
        head: name of the last layer of the target; if only its number of outputs differs, it is left out.

    Returns:
        Pairs (variable, array), and whether the head is among them.

    Raises:
        WeightsError: a layer differs; the text names the first in both nets, with both shapes.
    """
    pairs: list[tuple] = []
    headed = True
    for mine, theirs in zip(target, source, strict=False):
        if not _fits(mine, theirs):
            if (
                mine.layer == head
                and mine is target[-1]
                and theirs is source[-1]
                and _fits_but_for_outputs(mine, theirs)
            ):
                headed = False
                continue
            raise WeightsError(
                f"weights must come from a net of the same structure; the first layer that differs is {mine.layer!r} "
                f"with weights of the shapes {mine.shapes}; got {theirs.layer!r} with {theirs.shapes}. "
                "Build the model with the arguments of the net that the weights come from."
            )
        pairs += zip(mine.arrays, theirs.arrays, strict=True)
    if len(target) != len(source):
        longer, where = (target, "the model") if len(target) > len(source) else (source, "the weights")
        extra = longer[min(len(target), len(source))]
        raise WeightsError(
            f"weights must come from a net of the same structure; got {len(source)} layers with weights for "
            f"{len(target)}. The first that {where} alone has is {extra.layer!r} with the shapes {extra.shapes}."
        )
    return pairs, headed


def assign(pairs: Iterable[tuple]) -> int:
    """Assigns to every variable its paired array; returns the number of assigned numbers."""
    count = 0
    for variable, array in pairs:
        value = np.asarray(array)
        variable.assign(value.reshape(tuple(variable.shape)))
        count += value.size
    return count


def front_layers(model: keras.Model) -> list[keras.Layer]:
    """Returns the layers of a model that only preprocess pixels."""
    return [layer for layer in model._flatten_layers(include_self=False) if isinstance(layer, FRONT)]


def _node_of(operation: keras.Operation):
    def call(*args, **kwargs):
        sources = [value for value in keras.tree.flatten((args, kwargs)) if isinstance(value, _Node)]
        node = _Node(operation, sources, set().union(*(source.weighted for source in sources)))
        if _groups_of(operation):
            node.weighted.add(id(operation))
        outputs = len(operation._inbound_nodes[0].output_tensors)  # no public name in Keras
        return node if outputs == 1 else [node] * outputs

    return call


def _visit(node: _Node, order: list, visited: set[int]) -> None:
    waiting = [(node, iter(_ordered(node)))]  # no recursion, since nets are deeper than Python's stack
    entered = {id(node)}
    while waiting:
        current, sources = waiting[-1]
        following = next((source for source in sources if id(source) not in entered), None)
        if following is not None:
            entered.add(id(following))
            waiting.append((following, iter(_ordered(following))))
            continue
        waiting.pop()
        if current.operation is not None and id(current.operation) not in visited:
            visited.add(id(current.operation))
            order.append(current.operation)


def _ordered(node: _Node) -> list[_Node]:
    if type(node.operation).__name__ not in COMMUTATIVE:
        return node.sources
    return sorted(node.sources, key=lambda source: -len(source.weighted))


def _groups_of(operation: Any) -> list[WeightGroup]:
    weights = [] if isinstance(operation, FRONT) else list(getattr(operation, "weights", ()))
    if not weights:
        return []
    if isinstance(operation, (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)):
        return [WeightGroup(operation.name, tuple(weights[:1])), WeightGroup(operation.name, tuple(weights[1:]))]
    return [WeightGroup(operation.name, tuple(weights))]


def _fits(mine: WeightGroup, theirs: WeightGroup) -> bool:
    return [_bare(shape) for shape in mine.shapes] == [_bare(shape) for shape in theirs.shapes]


def _fits_but_for_outputs(mine: WeightGroup, theirs: WeightGroup) -> bool:
    return [_bare(shape)[:-1] for shape in mine.shapes] == [_bare(shape)[:-1] for shape in theirs.shapes]


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    # A dense layer may be a 1x1 convolution in the other net, and a depthwise one a grouped convolution.
    return tuple(size for size in shape if size != 1)
