"""Replacements in tf_keras of one Keras 3 operation: a layer of the same kind, several layers, or a wrapper."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from .attention_decomposition import split_attention
from .counterparts import NoCounterpart, counterpart, counterpart_arguments
from .custom_layers import MARK, WrappedKeras3Layer, form_of
from .decomposition import split_layer, without_activation
from .masks import Call, Select, is_paired, symbols_in
from .op_layers import layer_for

WeightPairs = list[tuple[keras.Variable, tf.Variable]]


@dataclass
class Replacement:
    """The tf_keras layers that compute the same as one Keras 3 operation, and the function that calls them."""

    route: str
    """The kind of replacement: "counterpart", "parts", "operation" or "wrapped"."""
    layers: list[tf_keras.layers.Layer]
    """The layers; wrappers of TFMOT may take their places later."""
    call: Callable[[list, tuple, dict], Any]
    """Runs the layers on the (args, kwargs) of the operation, whose tensors are values or symbols."""
    weights: Callable[[], WeightPairs] = field(default=list)
    """Returns the pairs of weights, once the layers are built."""

    def __call__(self, call: Call, select: Select) -> Any:
        return self.call(self.layers, *select((call.args, call.kwargs)))


@dataclass
class WrappedReplacement(Replacement):
    """One wrapped Keras 3 layer, which records the forms of its calls; masks of tensors are passed beside them."""

    forms: list = field(default_factory=list)
    masked: bool = False

    def __call__(self, call: Call, select: Select) -> Any:
        (args, kwargs), tensors = form_of(call.args, call.recorded_kwargs, is_paired)
        masks = [call.masks.get(id(tensor)) if self.masked else None for tensor in tensors]
        masked_tensors = [index for index, mask in enumerate(masks) if mask is not None]
        marks = {str(index): MARK.format(len(tensors) + place) for place, index in enumerate(masked_tensors)}
        form = (args, kwargs, marks)
        index = next((at for at, known in enumerate(self.forms) if _is_same_form(known, form)), len(self.forms))
        if index == len(self.forms):
            self.forms.append(form)
        inputs = select([*tensors, *filter(None, masks)])
        settings = {"form": index} if index else {}
        return self.layers[0](inputs[0] if len(inputs) == 1 else inputs, **settings)


# TFLite fuses tf_keras's LSTM into an operation that keeps its state from call to call.
RECURRENT = (keras.layers.RNN, keras.layers.Bidirectional, keras.layers.TimeDistributed)


def candidates(operation: keras.Operation, split: bool) -> Iterator[Callable[[str, Call], Replacement]]:
    """Yields functions that make a replacement of an operation from a name and a call, the best first."""
    if not isinstance(operation, keras.layers.Layer):
        yield partial(_op_layer, operation)
    elif not isinstance(operation, keras.Model):
        if split:
            yield partial(_parts, operation)
        if not (split and isinstance(operation, RECURRENT)):
            yield partial(_counterpart, operation)
            yield partial(_counterpart_and_activation, operation)
    yield partial(_wrapped, operation)


def _parts(layer: keras.layers.Layer, name: str, call: Call) -> Replacement:
    if type(layer) is keras.layers.MultiHeadAttention:
        parts, run = split_attention(layer, name, *symbols_in((call.args, call.kwargs)))
    elif not _takes_one_tensor(call):
        raise NoCounterpart
    else:
        decomposition = split_layer(layer, name, tuple(call.args[0].symbol.shape))
        parts, run = decomposition.layers, lambda layers, args, kwargs: decomposition.call(layers, args[0])
    return Replacement("parts", list(parts), run, lambda: pair_weights(layer, parts))


def _counterpart_and_activation(layer: keras.layers.Layer, name: str, call: Call) -> Replacement:
    if not _takes_one_tensor(call):
        raise NoCounterpart
    decomposition = without_activation(layer, name)
    return Replacement(
        "parts",
        list(decomposition.layers),
        lambda layers, args, kwargs: decomposition.call(layers, args[0]),
        lambda: pair_weights(layer, decomposition.layers),
    )


def _counterpart(layer: keras.layers.Layer, name: str, call: Call) -> Replacement:
    same_kind = counterpart(layer, name)

    def run(layers: list, args: tuple, kwargs: dict) -> Any:
        first, others = counterpart_arguments(layer, same_kind.call, args, kwargs)
        return layers[0](first, **others)

    return Replacement("counterpart", [same_kind], run, lambda: pair_weights(layer, [same_kind]))


def _op_layer(operation: keras.Operation, name: str, call: Call) -> Replacement:
    if call.kwargs:
        raise NoCounterpart(f"{type(operation).__name__} is called with {sorted(call.kwargs)}")
    op_layer, run = layer_for(operation, name, call.args)
    return Replacement("operation", [op_layer], lambda layers, args, kwargs: run(layers[0], args))


def _takes_one_tensor(call: Call) -> bool:
    return len(call.args) == 1 and is_paired(call.args[0]) and not call.kwargs


def _wrapped(operation: keras.Operation, name: str, call: Call) -> Replacement:
    wrapper = WrappedKeras3Layer(operation, [], name=name, trainable=getattr(operation, "trainable", True))
    is_layer = isinstance(operation, keras.layers.Layer)
    masked = is_layer and (
        bool(operation._layers) or any("mask" in each for each in signature(operation.call).parameters)
    )
    pairs = partial(_wrapped_weight_pairs, operation, wrapper)
    route = "wrapped" if is_layer else "operation"
    return WrappedReplacement(route, [wrapper], _refuse_call, pairs, wrapper.forms, masked)


def _refuse_call(*_: Any) -> None:
    raise NotImplementedError("a wrapped layer is called by its form")


def _wrapped_weight_pairs(operation: keras.Operation, wrapper: WrappedKeras3Layer) -> WeightPairs:
    weights = {id(weight) for weight in getattr(operation, "weights", ())}
    return [pair for pair in wrapper.pairs if id(pair[0]) in weights]  # the rest are states of random generators


def pair_weights(layer: keras.layers.Layer, replacements: list) -> WeightPairs:
    """Pairs the weights of a layer with those of the layers that replace it, in order.

    Raises:
        NoCounterpart: they differ in number or size.
    """
    variables = [variable for each in replacements for variable in each.weights]
    if [np.prod(weight.shape) for weight in layer.weights] != [np.prod(variable.shape) for variable in variables]:
        raise NoCounterpart(f"{type(layer).__name__} has other weights in tf_keras")
    return list(zip(layer.weights, variables, strict=True))


def _is_same_form(one: Any, other: Any) -> bool:
    leaves, other_leaves = keras.tree.flatten_with_path(one), keras.tree.flatten_with_path(other)
    return len(leaves) == len(other_leaves) and all(
        path == other_path and type(leaf) is type(other_leaf) and np.array_equal(leaf, other_leaf)
        for (path, leaf), (other_path, other_leaf) in zip(leaves, other_leaves, strict=True)
    )
