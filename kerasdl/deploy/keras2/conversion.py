"""What stands in tf_keras for one operation of a Keras 3 graph: a twin, several layers, or the carried operation."""

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
from .counterparts import NoTwin, twin, twin_arguments
from .custom_layers import MARK, Carried, form_of
from .decomposition import split_layer, without_activation
from .masks import Call, is_both, pick
from .op_layers import layer_for


@dataclass
class Stand:
    """The tf_keras layers that compute what one Keras 3 operation computes, and how they are called."""

    route: str
    """ "twin", "parts", "operation" or "carried"."""
    layers: list[tf_keras.layers.Layer]
    """The layers; wrappers take their places later."""
    call: Callable[[list, tuple, dict], Any]
    """Runs the layers on (args, kwargs) of the operation, whose tensors are numbers or symbols."""
    weights: Callable[[], list[tuple[keras.Variable, tf.Variable]]] = field(default=list)
    """Gives the pairs of weights, once the layers are built."""

    def __call__(self, call: Call, which: str) -> Any:
        return self.call(self.layers, *pick((call.args, call.kwargs), which))


@dataclass
class CarriedStand(Stand):
    """One carried layer, which remembers how it was called; tensors go in with the masks that they bear."""

    forms: list = field(default_factory=list)
    masked: bool = False

    def __call__(self, call: Call, which: str) -> Any:
        (args, kwargs), tensors = form_of(call.args, call.plain, is_both)
        masks = [call.masks.get(id(tensor)) if self.masked else None for tensor in tensors]
        marks = {str(index): MARK.format(len(tensors) + place) for place, index in enumerate(_present(masks))}
        form = (args, kwargs, marks)
        index = next((at for at, known in enumerate(self.forms) if _same(known, form)), len(self.forms))
        if index == len(self.forms):
            self.forms.append(form)
        values = [getattr(tensor, which) for tensor in (*tensors, *filter(None, masks))]
        given = {"form": index} if index else {}
        return self.layers[0](values[0] if len(values) == 1 else values, **given)


def _present(values: list) -> list[int]:
    return [index for index, value in enumerate(values) if value is not None]


# TFLite fuses tf_keras's LSTM into an operation that keeps its state from call to call.
RECURRENT = (keras.layers.RNN, keras.layers.Bidirectional, keras.layers.TimeDistributed)


def candidates(operation: keras.Operation, split: bool) -> Iterator[Callable[[str, Call], Stand]]:
    """Yields what may stand for an operation, the best first; each makes its layers from a name and a call."""
    if not isinstance(operation, keras.layers.Layer):
        yield partial(_plain_layer, operation)
    elif not isinstance(operation, keras.Model):
        if split:
            yield partial(_parts, operation)
        if not (split and isinstance(operation, RECURRENT)):
            yield partial(_twin, operation)
            yield partial(_apart, operation)
    yield partial(_carried, operation)


def _parts(layer: keras.layers.Layer, name: str, call: Call) -> Stand:
    if type(layer) is keras.layers.MultiHeadAttention:
        made, run = split_attention(layer, name, *pick((call.args, call.kwargs), "symbol"))
    elif not _on_one_tensor(call):
        raise NoTwin
    else:
        piece = split_layer(layer, name, tuple(call.args[0].symbol.shape))
        made, run = piece.layers, lambda layers, args, kwargs: piece.call(layers, args[0])
    return Stand("parts", list(made), run, lambda: paired(layer, made))


def _apart(layer: keras.layers.Layer, name: str, call: Call) -> Stand:
    if not _on_one_tensor(call):
        raise NoTwin
    piece = without_activation(layer, name)
    return Stand(
        "parts",
        list(piece.layers),
        lambda layers, args, kwargs: piece.call(layers, args[0]),
        lambda: paired(layer, piece.layers),
    )


def _twin(layer: keras.layers.Layer, name: str, call: Call) -> Stand:
    made = twin(layer, name)

    def run(layers: list, args: tuple, kwargs: dict) -> Any:
        first, others = twin_arguments(layer, made.call, args, kwargs)
        return layers[0](first, **others)

    return Stand("twin", [made], run, lambda: paired(layer, [made]))


def _plain_layer(operation: keras.Operation, name: str, call: Call) -> Stand:
    if call.kwargs:
        raise NoTwin(f"{type(operation).__name__} is called with {sorted(call.kwargs)}")
    made, run = layer_for(operation, name, call.args)
    return Stand("operation", [made], lambda layers, args, kwargs: run(layers[0], args))


def _on_one_tensor(call: Call) -> bool:
    return len(call.args) == 1 and is_both(call.args[0]) and not call.kwargs


def _carried(operation: keras.Operation, name: str, call: Call) -> Stand:
    made = Carried(operation, [], name=name, trainable=getattr(operation, "trainable", True))
    layer = isinstance(operation, keras.layers.Layer)
    masked = layer and (bool(operation._layers) or any("mask" in each for each in signature(operation.call).parameters))
    pairs = partial(_carried_pairs, operation, made)
    return CarriedStand("carried" if layer else "operation", [made], _no_call, pairs, made.forms, masked)


def _no_call(*_: Any) -> None:
    raise NotImplementedError("a carried layer is called by its form")


def _carried_pairs(operation: keras.Operation, made: Carried) -> list[tuple[keras.Variable, tf.Variable]]:
    weights = {id(weight) for weight in getattr(operation, "weights", ())}
    return [both for both in made.pairs if id(both[0]) in weights]  # the rest are states of random generators


def paired(layer: keras.layers.Layer, made: list) -> list[tuple[keras.Variable, tf.Variable]]:
    """Pairs the weights of a layer with those of the layers that stand for it, in order.

    Raises:
        NoTwin: they differ in number or size.
    """
    variables = [variable for each in made for variable in each.weights]
    if [np.prod(weight.shape) for weight in layer.weights] != [np.prod(variable.shape) for variable in variables]:
        raise NoTwin(f"{type(layer).__name__} has other weights in tf_keras")
    return list(zip(layer.weights, variables, strict=True))


def _same(one: Any, other: Any) -> bool:
    ones, others = keras.tree.flatten_with_path(one), keras.tree.flatten_with_path(other)
    return len(ones) == len(others) and all(
        path == other_path and type(leaf) is type(other_leaf) and np.array_equal(leaf, other_leaf)
        for (path, leaf), (other_path, other_leaf) in zip(ones, others, strict=True)
    )
