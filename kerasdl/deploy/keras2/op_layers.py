"""Built-in tf_keras layers for bare operations of a Keras 3 graph, such as `x + y` or `keras.ops.reshape(x, ...)`."""

from collections.abc import Callable
from typing import Any

import keras
import tf_keras

from .activations import activation_layer
from .counterparts import NoTwin
from .custom_layers import Product
from .masks import Both, is_both

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
    """Returns a layer that may compute what an operation computes on the given arguments, and how it is called.

    It is a guess by name, which the caller checks on numbers.

    Args:
        operation: the operation.
        name: the layer's name.
        args: the operation's positional arguments, with `Both` for tensors.

    Returns:
        The layer, and a function from it and the arguments to its output.

    Raises:
        NoTwin: there is none.
    """
    kind = type(operation).__name__
    if kind in MERGES and _alike(args):
        return MERGES[kind](name=name), lambda layer, args: layer(list(args))
    if kind in ("Add", "Subtract", "Multiply", "Divide", "TrueDivide") and len(args) == 2:
        return _with_number(kind, name, *args)
    if kind == "Matmul" and all(map(is_both, args)):
        return Product(name=name), lambda layer, args: layer(list(args))
    if kind == "Concatenate" and all(map(is_both, args[0])):
        return layers.Concatenate(operation.axis, name=name), lambda layer, args: layer(args[0])
    made = _on_one(operation, kind, name) if is_both(args[0]) else None
    if made is None:
        raise NoTwin(f"tf_keras has no layer for the operation {kind}")
    return made, lambda layer, args: layer(args[0])


def _on_one(operation: keras.Operation, kind: str, name: str) -> tf_keras.layers.Layer | None:
    if kind in ACTIVATIONS:
        return activation_layer(getattr(keras.activations, ACTIVATIONS[kind]), name)
    if kind == "Softmax":
        return layers.Softmax(operation.axis, name=name)
    if kind == "Reshape":
        return layers.Reshape(tuple(operation.newshape)[1:], name=name)
    if kind == "Transpose" and operation.axes and operation.axes[0] == 0:
        return layers.Permute(tuple(operation.axes)[1:], name=name)
    return None


def _with_number(kind: str, name: str, left: Any, right: Any) -> tuple[tf_keras.layers.Layer, Callable]:
    """Returns a sum or product with one number as Rescaling."""
    at, number = (0, right) if is_both(left) else (1, left)
    if not isinstance(number, (int, float)) or (at == 1 and kind not in ("Add", "Multiply", "Subtract")):
        raise NoTwin(f"tf_keras has no layer for the operation {kind} with an array")
    scale, offset = {
        "Add": (1.0, number),
        "Subtract": (1.0, -number) if at == 0 else (-1.0, number),
        "Multiply": (number, 0.0),
    }.get(kind) or (1.0 / number, 0.0)
    return layers.Rescaling(scale, offset, name=name), lambda layer, args: layer(args[at])


def _alike(args: tuple) -> bool:
    """Tells whether these are two tensors of one dtype and rank: tf_keras broadcasts unequal ranks in its own way."""
    kinds = {(each.symbol.dtype, len(each.symbol.shape)) for each in args if isinstance(each, Both)}
    return len(args) == 2 and all(map(is_both, args)) and len(kinds) == 1
