"""Which layer of one net stands for which of another, told by the structure of both graphs.

Both are walked back from their outputs. Where branches are joined in a fixed order (concatenation, attention), that
order is kept; where the order means nothing (sums, products), the branch with more layers that hold weights goes first.
Layers that hold weights are then met in the same order in both nets, whatever their names.
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
    """Weights that belong together: those of a layer, or of one of the two convolutions of a separable one."""

    layer: str
    """The name of the layer."""
    arrays: tuple[Any, ...]
    """Its variables, or arrays, in the order that Keras gives them."""

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each."""
        return [tuple(array.shape) for array in self.arrays]


@dataclass(eq=False)
class _Node:
    operation: keras.Operation
    sources: list["_Node"]
    weighted: set[int] = field(default_factory=set)  # operations with weights, up to and with this one


def weight_groups(model: keras.Model) -> list[WeightGroup]:
    """Returns what holds weights in a functional model, nested models opened, in the order of its structure.

    Layers that only prepare pixels, `Rescaling` and `Normalization`, are left out.

    Raises:
        ArgumentError: the model has no graph.
    """
    outputs = keras.tree.flatten(replay(model, [_Node(None, []) for _ in model.inputs], _node_of))
    order: list[keras.Operation] = []
    seen: set[int] = set()
    for output in outputs:
        _visit(output, order, seen)
    return [group for operation in order for group in _groups_of(operation)]


def pair(
    target: Sequence[WeightGroup], source: Sequence[WeightGroup], head: str | None = None
) -> tuple[list[tuple], bool]:
    """Returns each variable of one net with the array that it takes from another.

    Args:
        target: the weight groups of the net to fill.
        source: those of the other, in the same order.
        head: the layer of the target that answers; where it alone differs, by its number of outputs, it is left out.

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
    """Gives every variable the array that it is paired with; returns how many numbers that were."""
    count = 0
    for variable, array in pairs:
        value = np.asarray(array)
        variable.assign(value.reshape(tuple(variable.shape)))
        count += value.size
    return count


def front_layers(model: keras.Model) -> list[keras.Layer]:
    """Returns the layers in front of a model that only prepare pixels."""
    return [layer for layer in model._flatten_layers(include_self=False) if isinstance(layer, FRONT)]


def _node_of(operation: keras.Operation):
    def call(*args, **kwargs):
        sources = [value for value in keras.tree.flatten((args, kwargs)) if isinstance(value, _Node)]
        node = _Node(operation, sources, set().union(*(source.weighted for source in sources)))
        if _groups_of(operation):
            node.weighted.add(id(operation))
        outputs = len(operation._inbound_nodes[0].output_tensors)  # Keras has no public name for it
        return node if outputs == 1 else [node] * outputs

    return call


def _visit(node: _Node, order: list, seen: set[int]) -> None:
    waiting = [(node, iter(_ordered(node)))]  # no recursion: nets are deeper than Python's stack
    entered = {id(node)}
    while waiting:
        current, sources = waiting[-1]
        following = next((source for source in sources if id(source) not in entered), None)
        if following is not None:
            entered.add(id(following))
            waiting.append((following, iter(_ordered(following))))
            continue
        waiting.pop()
        if current.operation is not None and id(current.operation) not in seen:
            seen.add(id(current.operation))
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
    # A dense layer may be a 1x1 convolution there, and a depthwise one a convolution with a group for each channel.
    return tuple(size for size in shape if size != 1)
