"""Masks of a Keras 3 graph as arguments of tf_keras layers.

Keras 3 attaches a mask to the tensor that it belongs to; tf_keras passes masks on by rules of its own.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import keras

from .custom_layers import WrappedKeras3Layer, form_of


class PairedTensor:
    """One tensor of the graph: the value that the Keras 3 layers computed, and its tf_keras symbol."""

    def __init__(self, value: Any, symbol: Any):
        self.value, self.symbol = value, symbol


class _ComputedMask(PairedTensor):
    """A mask that a layer computes; its tf_keras symbol is made when a layer of the graph first needs it."""

    def __init__(self, value: Any, layer: keras.layers.Layer, arguments: tuple, name: Callable[[], str]):
        self.value, self._recipe = value, (layer, arguments, name)

    @cached_property
    def symbol(self) -> Any:
        layer, arguments, name = self._recipe
        form, tensors = form_of(arguments, {}, is_paired)
        mask_layer = WrappedKeras3Layer(layer, [form], method="compute_mask", name=name())
        symbols = symbols_in(tensors)
        return mask_layer(symbols[0] if len(symbols) == 1 else symbols)


def is_paired(value: Any) -> bool:
    """Tells whether a value is a tensor of the graph."""
    return isinstance(value, PairedTensor)


def values_in(structure: Any) -> Any:
    """Returns a structure of arguments with the values that Keras 3 computed in place of its tensors."""
    return keras.tree.map_structure(lambda leaf: leaf.value if is_paired(leaf) else leaf, structure)


def symbols_in(structure: Any) -> Any:
    """Returns a structure of arguments with the tf_keras symbols in place of its tensors."""
    return keras.tree.map_structure(lambda leaf: leaf.symbol if is_paired(leaf) else leaf, structure)


Select = Callable[[Any], Any]  # values_in or symbols_in


@dataclass(frozen=True)
class Call:
    """One call of an operation in the graph; its tensors are `PairedTensor`."""

    args: tuple
    """The positional arguments."""
    kwargs: dict[str, Any]
    """The named arguments, and the masks that Keras 3 fills in."""
    recorded_kwargs: dict[str, Any]
    """The named arguments as the graph records them, without the masks that Keras 3 fills in."""
    masks: dict[int, PairedTensor]
    """The mask of each tensor, by the tensor's id."""


@dataclass
class Masks:
    """The masks in a graph, found by the tensor that Keras 3 put on another as its mask."""

    by_value: dict[int, PairedTensor] = field(default_factory=dict)
    referenced: list[Any] = field(default_factory=list)  # so that no id is used twice

    def of(self, tensor: Any) -> PairedTensor | None:
        """Returns the mask on a tensor, or None."""
        return self.by_value.get(id(getattr(tensor.value, "_keras_mask", None))) if is_paired(tensor) else None

    def put(self, tensors: list[PairedTensor], masks: list[Any]) -> None:
        """Puts masks on tensors, as a nested model does that is called with masks."""
        for tensor, mask in zip(tensors, masks, strict=True):
            if is_paired(mask):
                tensor.value._keras_mask = mask.value
                self._add(mask)

    def note(self, layer: keras.layers.Layer, call: Call, outputs: list[PairedTensor], name: Callable[[], str]) -> None:
        """Records the masks that a layer put on its outputs.

        Args:
            layer: the layer.
            call: its call.
            outputs: its outputs.
            name: returns the name of the tf_keras layer that computes the mask, should one be needed.
        """
        for output in outputs:
            mask = getattr(output.value, "_keras_mask", None)
            if mask is not None and id(mask) not in self.by_value:
                self._add(_ComputedMask(mask, layer, _first_and_mask(layer, call), name))

    def call_of(self, operation: keras.Operation, args: tuple, kwargs: dict) -> Call:
        """Returns a call with the masks that are on its tensors now; attention layers take them off later."""
        tensors = filter(is_paired, keras.tree.flatten((args, kwargs)))
        masks = {id(tensor): mask for tensor in tensors if (mask := self.of(tensor)) is not None}
        if not masks or not isinstance(operation, keras.layers.Layer):
            return Call(args, kwargs, kwargs, {})
        return Call(args, _with_masks(operation, args, kwargs, masks), kwargs, masks)

    def _add(self, mask: PairedTensor) -> None:
        self.by_value[id(mask.value)] = mask
        self.referenced.append(mask.value)


def _with_masks(layer: keras.layers.Layer, args: tuple, kwargs: dict, masks: dict[int, PairedTensor]) -> dict[str, Any]:
    """Returns the named arguments of a call with the masks that Keras 3 fills in where the call gives none."""
    parameters = inspect.signature(layer.call)
    arguments = parameters.bind(*args, **kwargs).arguments
    tensors = {name: value for name, value in arguments.items() if any(map(is_paired, keras.tree.flatten(value)))}
    sources = {"mask": next(iter(tensors))} if len(tensors) == 1 else {f"{name}_mask": name for name in tensors}
    filled = {
        mask: keras.tree.map_structure(lambda tensor: masks.get(id(tensor)), tensors[name])
        for mask, name in sources.items()
        if mask in parameters.parameters and arguments.get(mask) is None
    }
    return kwargs | {name: mask for name, mask in filled.items() if any(map(is_paired, keras.tree.flatten(mask)))}


def _first_and_mask(layer: keras.layers.Layer, call: Call) -> tuple[Any, Any]:
    arguments = inspect.signature(layer.call).bind(*call.args, **call.recorded_kwargs).arguments
    first, mask = next(iter(arguments.values())), call.kwargs.get("mask")
    return first, keras.tree.map_structure(lambda each: call.masks.get(id(each)), first) if mask is None else mask
