"""The masks that Keras 3 hands from layer to layer on its tensors, made arguments: tf_keras has rules of its own."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import keras

from .custom_layers import Carried, form_of


class Both:
    """One tensor of the graph: the numbers that the Keras 3 layers computed, and the tf_keras symbol."""

    def __init__(self, real: Any, symbol: Any):
        self.real, self.symbol = real, symbol


class _Computed(Both):
    """A mask that a layer computes; no layer of the tf_keras graph computes it before one needs it."""

    def __init__(self, real: Any, layer: keras.layers.Layer, arguments: tuple, name: Callable[[], str]):
        self.real, self._made_of = real, (layer, arguments, name)

    @cached_property
    def symbol(self) -> Any:
        layer, arguments, name = self._made_of
        form, tensors = form_of(arguments, {}, is_both)
        made = Carried(layer, [form], method="compute_mask", name=name())
        symbols = [tensor.symbol for tensor in tensors]
        return made(symbols[0] if len(symbols) == 1 else symbols)


def is_both(value: Any) -> bool:
    """Tells whether a value is a tensor of the graph."""
    return isinstance(value, Both)


def pick(values: Any, which: str) -> Any:
    """Returns a structure of arguments with the numbers ("real") or the symbols ("symbol") of its tensors."""
    return keras.tree.map_structure(lambda leaf: getattr(leaf, which) if is_both(leaf) else leaf, values)


@dataclass(frozen=True)
class Call:
    """One call of an operation in the graph; its tensors are `Both`."""

    args: tuple
    """The positional arguments."""
    kwargs: dict[str, Any]
    """The named arguments, and the masks that Keras 3 fills in."""
    plain: dict[str, Any]
    """The named arguments without those."""
    masks: dict[int, Both]
    """The masks that the tensors bear, by the tensor's id."""


@dataclass
class Masks:
    """The masks in a graph, found by the tensor that Keras 3 put on another as its mask."""

    known: dict[int, Both] = field(default_factory=dict)
    alive: list[Any] = field(default_factory=list)

    def of(self, value: Any) -> Both | None:
        """Returns the mask that a tensor bears now."""
        return self.known.get(id(getattr(value.real, "_keras_mask", None))) if is_both(value) else None

    def put(self, values: list[Both], masks: list[Any]) -> None:
        """Gives tensors their masks, as a nested model does that is called with masks."""
        for value, mask in zip(values, masks, strict=True):
            if is_both(mask):
                value.real._keras_mask = mask.real
                self._know(mask)

    def note(self, layer: keras.layers.Layer, call: Call, outputs: list[Both], name: Callable[[], str]) -> None:
        """Learns the masks that a layer put on what it gave; `name` names the layer that computes one if need be."""
        for output in outputs:
            mask = getattr(output.real, "_keras_mask", None)
            if mask is not None and id(mask) not in self.known:
                self._know(_Computed(mask, layer, _first_and_mask(layer, call), name))

    def call_of(self, operation: keras.Operation, args: tuple, kwargs: dict) -> Call:
        """Returns a call with the masks that the tensors bear now: attention takes them off."""
        tensors = filter(is_both, keras.tree.flatten((args, kwargs)))
        borne = {id(tensor): mask for tensor in tensors if (mask := self.of(tensor)) is not None}
        if not borne or not isinstance(operation, keras.layers.Layer):
            return Call(args, kwargs, kwargs, {})
        return Call(args, _filled(operation, args, kwargs, borne), kwargs, borne)

    def _know(self, mask: Both) -> None:
        self.known[id(mask.real)] = mask
        self.alive.append(mask.real)


def _filled(layer: keras.layers.Layer, args: tuple, kwargs: dict, borne: dict[int, Both]) -> dict[str, Any]:
    """Returns the named arguments with the masks that Keras 3 fills in where none is given."""
    parameters = inspect.signature(layer.call)
    given = parameters.bind(*args, **kwargs).arguments
    tensors = {name: value for name, value in given.items() if any(map(is_both, keras.tree.flatten(value)))}
    sources = {"mask": next(iter(tensors))} if len(tensors) == 1 else {f"{name}_mask": name for name in tensors}
    found = {
        mask: keras.tree.map_structure(lambda tensor: borne.get(id(tensor)), tensors[name])
        for mask, name in sources.items()
        if mask in parameters.parameters and given.get(mask) is None
    }
    return kwargs | {name: mask for name, mask in found.items() if any(map(is_both, keras.tree.flatten(mask)))}


def _first_and_mask(layer: keras.layers.Layer, call: Call) -> tuple[Any, Any]:
    first = next(iter(inspect.signature(layer.call).bind(*call.args, **call.plain).arguments.values()))
    mask = call.kwargs.get("mask")
    return first, keras.tree.map_structure(lambda each: call.masks.get(id(each)), first) if mask is None else mask
