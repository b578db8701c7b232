"""Layers of tf_keras for bare operations of a Keras 3 graph, such as `x + y` or `keras.ops.reshape(x, ...)`."""

from collections.abc import Callable
from typing import Any

import keras
import tf_keras

from .activations import activation_layer
from .counterparts import NoCounterpart
from .custom_layers import Product
from .masks import PairedTensor, is_paired

layers = tf_keras.layers
MERGES = {
    "Add": layers.Add,
    "Subtract": layers.Subtract,
    "Multiply": layers.Multiply,
    "Maximum": layers.Maximum,
    "Minimum": layers.Minimum,
}
ACTIVATIONS = {
    "Relu": "relu",
    "Relu6": "relu6",
    "Sigmoid": "sigmoid",
    "Silu": "silu",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "Tanh": "tanh",
}


def layer_for(operation: keras.Operation, name: str, args: tuple) -> tuple[tf_keras.layers.Layer, Callable]:
    """Returns a layer that probably computes the same as an operation, and the function that calls it.

    The layer is chosen by the operation's name; the caller checks it on random values.

    Args:
        operation: the operation.
        name: the layer's name.
        args: the operation's positional arguments, with `PairedTensor` for tensors.

    Returns:
        The layer, and a function from it and the arguments to its output.

    Raises:
        NoCounterpart: no layer is known for the operation.
    """
    kind = type(operation).__name__
    if kind in MERGES and _have_same_dtype_and_rank(args):
        return MERGES[kind](name=name), lambda layer, args: layer(list(args))
    if kind in ("Add", "Subtract", "Multiply", "Divide", "TrueDivide") and len(args) == 2:
        return _rescaling(kind, name, *args)
    if kind == "Matmul" and all(map(is_paired, args)):
        return Product(name=name), lambda layer, args: layer(list(args))
    if kind == "Concatenate" and all(map(is_paired, args[0])):
        return layers.Concatenate(operation.axis, name=name), lambda layer, args: layer(args[0])
    unary = _unary_layer(operation, kind, name) if is_paired(args[0]) else None
    if unary is None:
        raise NoCounterpart(f"tf_keras has no layer for the operation {kind}")
    return unary, lambda layer, args: layer(args[0])


def _unary_layer(operation: keras.Operation, kind: str, name: str) -> tf_keras.layers.Layer | None:
    if kind in ACTIVATIONS:
        return activation_layer(getattr(keras.activations, ACTIVATIONS[kind]), name)
    if kind == "Softmax":
        return layers.Softmax(operation.axis, name=name)
    if kind == "Reshape":
        return layers.Reshape(tuple(operation.newshape)[1:], name=name)
    if kind == "Transpose" and operation.axes and operation.axes[0] == 0:
        return layers.Permute(tuple(operation.axes)[1:], name=name)
    return None


def _rescaling(kind: str, name: str, left: Any, right: Any) -> tuple[tf_keras.layers.Layer, Callable]:
    """Returns the sum or product of a tensor and a number as a Rescaling layer, and the function that calls it."""
    tensor_index, number = (0, right) if is_paired(left) else (1, left)
    if not isinstance(number, (int, float)) or (tensor_index == 1 and kind not in ("Add", "Multiply", "Subtract")):
        raise NoCounterpart(f"tf_keras has no layer for the operation {kind} with an array")
    scale, offset = {
        "Add": (1.0, number),
        "Subtract": (1.0, -number) if tensor_index == 0 else (-1.0, number),
        "Multiply": (number, 0.0),
    }.get(kind) or (1.0 / number, 0.0)
    return layers.Rescaling(scale, offset, name=name), lambda layer, args: layer(args[tensor_index])


def _have_same_dtype_and_rank(args: tuple) -> bool:
    """Tells whether arguments are two tensors of one dtype and rank: tf_keras broadcasts other ranks its own way."""
    kinds = {(each.symbol.dtype, len(each.symbol.shape)) for each in args if isinstance(each, PairedTensor)}
    return len(args) == 2 and all(map(is_paired, args)) and len(kinds) == 1
