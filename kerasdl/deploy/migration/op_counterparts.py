"""Counterparts in `keras.ops` of the TensorFlow functions that a tf_keras graph calls outside any layer."""

import inspect
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import tensorflow as tf
import tf_keras
from keras import ops

from kerasdl.core.errors import ExportError

BINARY, UNARY = ("x", "y"), ("x",)
REDUCING = ("input_tensor", "axis", "keepdims")
# By TensorFlow's name: the Keras function, and TensorFlow's names of its arguments, in order.
FUNCTIONS: dict[str, tuple[Callable, tuple[str, ...]]] = {
    **{
        name: (function, BINARY)
        for function, names in {
            ops.add: ("math.add", "__operators__.add", "add"),
            ops.subtract: ("math.subtract", "__operators__.sub", "subtract"),
            ops.multiply: ("math.multiply", "__operators__.mul", "multiply"),
            ops.true_divide: ("math.divide", "math.truediv", "__operators__.truediv", "divide"),
            ops.power: ("math.pow", "__operators__.pow"),
            ops.maximum: ("math.maximum",),
            ops.minimum: ("math.minimum",),
            ops.greater: ("math.greater", "__operators__.gt"),
            ops.less: ("math.less", "__operators__.lt"),
            ops.equal: ("math.equal",),
            ops.not_equal: ("math.not_equal",),
        }.items()
        for name in names
    },
    **{
        name: (function, UNARY)
        for function, names in {
            ops.negative: ("math.negative", "__operators__.neg"),
            ops.absolute: ("math.abs",),
            ops.square: ("math.square",),
            ops.sqrt: ("math.sqrt",),
            ops.rsqrt: ("math.rsqrt",),
            ops.exp: ("math.exp",),
            ops.log: ("math.log",),
            ops.sin: ("math.sin",),
            ops.cos: ("math.cos",),
            ops.tanh: ("math.tanh", "nn.tanh"),
            ops.sigmoid: ("math.sigmoid", "nn.sigmoid"),
            ops.erf: ("math.erf",),
        }.items()
        for name in names
    },
    **{f"math.reduce_{name}": (getattr(ops, name), REDUCING) for name in ("mean", "sum", "max", "min", "prod")},
    **{f"nn.{name}": (getattr(ops, name), ("features",)) for name in ("relu", "relu6", "elu", "selu", "softplus")},
    "nn.silu": (ops.silu, ("features",)),
    "nn.gelu": (lambda x, approximate=False: ops.gelu(x, approximate), ("features", "approximate")),
    "nn.leaky_relu": (ops.leaky_relu, ("features", "alpha")),
    "nn.softmax": (lambda x, axis=None: ops.softmax(x, -1 if axis is None else axis), ("logits", "axis")),
    "concat": (ops.concatenate, ("values", "axis")),
    "stack": (ops.stack, ("values", "axis")),
    "reshape": (ops.reshape, ("tensor", "shape")),
    "compat.v1.transpose": (ops.transpose, ("a", "perm")),
    "transpose": (ops.transpose, ("a", "perm")),
    "expand_dims": (ops.expand_dims, ("input", "axis")),
    "squeeze": (ops.squeeze, ("input", "axis")),
    "compat.v1.squeeze": (ops.squeeze, ("input", "axis")),
    "cast": (lambda x, dtype: ops.cast(x, getattr(dtype, "name", dtype)), ("x", "dtype")),
    "clip_by_value": (ops.clip, ("t", "clip_value_min", "clip_value_max")),
    "tile": (ops.tile, ("input", "multiples")),
    "where": (ops.where, ("condition", "x", "y")),
    "identity": (lambda x: x, ("input",)),
    "stop_gradient": (ops.stop_gradient, ("input",)),
    "ones_like": (ops.ones_like, ("input",)),
    "zeros_like": (ops.zeros_like, ("input",)),
    "math.softplus": (ops.softplus, ("features",)),
    "math.l2_normalize": (lambda x, axis=-1: ops.normalize(x, axis, order=2, epsilon=1e-6), ("x", "axis")),
    "unstack": (lambda x, number=None, axis=0: ops.unstack(x, number, axis), ("value", "num", "axis")),
    "split": (lambda x, sizes, axis=0: ops.split(x, _cuts(sizes), axis), ("value", "num_or_size_splits", "axis")),
    "einsum": (lambda equation, values: ops.einsum(equation, *values), ("equation", "inputs")),
    "linalg.matmul": (
        lambda a, b, left=False, right=False: ops.matmul(_transposed(a, left), _transposed(b, right)),
        ("a", "b", "transpose_a", "transpose_b"),
    ),
    "__operators__.getitem": (
        lambda x, at: x[tuple(at) if isinstance(at, (list, tuple)) else at],
        ("tensor", "slice_spec"),
    ),
}


def keras_function(layer: tf_keras.layers.Layer) -> Callable[..., Any]:
    """Returns the function on Keras 3 tensors that computes the same as a TensorFlow function in a tf_keras graph.

    Args:
        layer: a TFOpLambda or SlicingOpLambda, which holds the name of a TensorFlow function.

    Raises:
        ExportError: the function is not in `FUNCTIONS`.
    """
    symbol = layer.get_config()["function"]
    if symbol not in FUNCTIONS:
        raise ExportError(
            f"layer {layer.name!r} calls tf.{symbol}, which is not among the TensorFlow functions that have a "
            "counterpart in keras.ops. Put the call in a layer of your own, and pass that as custom_layers."
        )
    function, names = FUNCTIONS[symbol]
    signature = inspect.signature(layer.function)

    def run(*args: Any, **kwargs: Any) -> Any:
        arguments = signature.bind(*args, **kwargs).arguments
        unknown = {
            key for key, value in arguments.items() if key not in (*names, "name") and value not in (None, False)
        }
        if unknown:
            raise ExportError(
                f"tf.{symbol} in layer {layer.name!r} must be called with {names}; got {sorted(unknown)}."
            )
        values = [_value(arguments.get(key, signature.parameters[key].default)) for key in names]
        while values and values[-1] is None:
            values.pop()
        return function(*values)

    return run


def is_function(layer: tf_keras.layers.Layer) -> bool:
    """Tells whether a layer is a call of a TensorFlow function in a graph."""
    return type(layer).__name__ in ("TFOpLambda", "SlicingOpLambda")


def _value(value: Any) -> Any:
    """Returns an argument as a Python value: tf_keras stores slices as dicts, and numbers as tensors."""
    if isinstance(value, dict) and set(value) == {"start", "stop", "step"}:
        return slice(value["start"], value["stop"], value["step"])
    if isinstance(value, (list, tuple)):
        return [_value(each) for each in value]
    if isinstance(value, tf.Tensor) and tf.executing_eagerly() and not value.shape.rank:
        return value.numpy().item()
    return value


def _cuts(sizes: int | list[int]) -> int | list[int]:
    return sizes if isinstance(sizes, int) else list(accumulate(sizes))[:-1]


def _transposed(x: Any, transposed: bool) -> Any:
    return ops.swapaxes(x, -1, -2) if transposed else x
