"""Stable formulas of activations and norms, which neither overflow nor divide by zero in a file's float32 kernels.

Keras and TensorFlow have right kernels of their own for these; a converter writes them out as plain operations, where
exp(100) is infinity and 0 * rsqrt(0) is NaN. Each formula here computes what Keras computes, at every magnitude.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import tensorflow as tf
from keras.src import backend  # the functions behind keras.ops, which have no public names
from keras.src.ops import nn as keras_nn
from tensorflow.python.ops import gen_nn_ops  # which softplus and log_sigmoid of TensorFlow both call

from .patching import replaced_functions

MAX_AXES_OF_L2 = 4  # of a tensor that L2_NORMALIZATION takes


@contextmanager
def stable_formulas() -> Iterator[None]:
    """Context manager in which Keras uses the formulas that every format needs."""
    with replaced_functions(backend.nn, sparse_plus=_sparse_plus), replaced_functions(backend.numpy, add=_add):
        yield


@contextmanager
def tflite_formulas(*, integers: bool) -> Iterator[None]:
    """Context manager in which Keras and TensorFlow use the formulas that TFLite needs.

    Args:
        integers: whether the file computes in integers. An L2 norm is then written so that the converter fuses it to
            L2_NORMALIZATION, the only form with an integer kernel; that takes norms below 1e-6 for 1e-6, so float files
            have the norm in single operations. Float files also get exact means; in integers these would not show.
    """
    activations = {"celu": _celu, "squareplus": _squareplus, "soft_shrink": _soft_shrink}
    with ExitStack() as stack:
        stack.enter_context(replaced_functions(gen_nn_ops, softplus=_softplus))
        stack.enter_context(replaced_functions(backend.nn, sparse_sigmoid=_sparse_sigmoid, **activations))
        stack.enter_context(replaced_functions(keras_nn, _normalize=partial(_normalize, fused=integers)))
        if not integers:
            stack.enter_context(replaced_functions(backend.nn, moments=_moments))
            stack.enter_context(replaced_functions(backend.numpy, var=_variance, std=_deviation))
        yield


def exact_mean(x: tf.Tensor, axes: Any) -> tf.Tensor:
    """Returns the mean over axes, kept with size 1, with its rounding error added back.

    The mean of equal numbers is then that number. TFLite's own mean is off in the last place, and a norm of a constant,
    which divides by almost zero, turns that into 1.
    """
    mean = tf.reduce_mean(x, axes, keepdims=True)
    return mean + tf.reduce_mean(x - mean, axes, keepdims=True)


def _moments(
    usual: Callable, x: Any, axes: Any, keepdims: bool = False, synchronized: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    x = tf.convert_to_tensor(x)
    if synchronized or x.dtype != tf.float32:
        return usual(x, axes, keepdims=keepdims, synchronized=synchronized)
    mean = exact_mean(x, axes)
    gap = x - mean
    return (mean if keepdims else tf.squeeze(mean, axes)), tf.reduce_mean(gap * gap, axes, keepdims=keepdims)


def _variance(usual: Callable, x: Any, axis: Any = None, keepdims: bool = False) -> tf.Tensor:
    x = tf.convert_to_tensor(x)
    if x.dtype != tf.float32:
        return usual(x, axis=axis, keepdims=keepdims)
    gap = x - exact_mean(x, axis)
    return tf.reduce_mean(gap * gap, axis, keepdims=keepdims)


def _deviation(usual: Callable, x: Any, axis: Any = None, keepdims: bool = False) -> tf.Tensor:
    x = tf.convert_to_tensor(x)
    if x.dtype != tf.float32:
        return usual(x, axis=axis, keepdims=keepdims)
    return tf.sqrt(_variance(usual, x, axis, keepdims))


def _add(usual: Callable, x1: Any, x2: Any) -> tf.Tensor:
    """Adds tensors of equal rank axis by axis: Keras takes a (1, 1, C) tensor for a bias of (1, C, 1)."""
    ranks = {getattr(getattr(x, "shape", None), "rank", None) for x in (x1, x2)}
    several = len(ranks) == 1 and None not in ranks and ranks != {1}
    return tf.add(x1, x2) if several and x1.dtype == x2.dtype else usual(x1, x2)


def _softplus(usual: Callable, features: Any, name: str | None = None) -> tf.Tensor:
    x = tf.convert_to_tensor(features)
    return tf.maximum(x, 0) + tf.math.log(1 + tf.exp(-tf.abs(x)))


def _celu(usual: Callable, x: Any, alpha: float = 1.0) -> tf.Tensor:
    return alpha * tf.nn.elu(tf.convert_to_tensor(x) / alpha)  # in int8, exp(x) - 1 loses what it subtracts


def _squareplus(usual: Callable, x: Any, b: float = 4) -> tf.Tensor:
    """Squareplus as a sum of positive terms: below zero, x + sqrt(x * x + b) subtracts two almost equal numbers."""
    x = tf.convert_to_tensor(x)
    return tf.maximum(x, 0) + (b / 2) / (tf.sqrt(x * x + b) + tf.abs(x))


def _soft_shrink(usual: Callable, x: Any, threshold: float = 0.5) -> tf.Tensor:
    x = tf.convert_to_tensor(x)
    return tf.nn.relu(x - threshold) - tf.nn.relu(-x - threshold)  # comparisons have no int16 kernel


def _sparse_plus(usual: Callable, x: Any) -> tf.Tensor:
    x = tf.convert_to_tensor(x)
    inside = tf.clip_by_value(x, -1.0, 1.0) + 1  # where x itself is squared, infinity times zero is NaN
    return inside * inside / 4 + tf.nn.relu(x - 1)


def _sparse_sigmoid(usual: Callable, x: Any) -> tf.Tensor:
    return 0.5 * (tf.clip_by_value(tf.convert_to_tensor(x), -1.0, 1.0) + 1)


def _normalize(
    usual: Callable, x: Any, axis: Any = -1, order: int = 2, epsilon: float | None = None, *, fused: bool
) -> tf.Tensor:
    x = tf.convert_to_tensor(x)
    if order != 2 or not x.shape.rank or not x.dtype.is_floating:
        return usual(x, axis=axis, order=order, epsilon=epsilon)
    epsilon = backend.epsilon() if epsilon is None else epsilon
    if fused and x.shape.rank > MAX_AXES_OF_L2 and axis in (-1, x.shape.rank - 1):
        rows = tf.reshape(x, (-1, x.shape[-1]))
        return tf.reshape(_normalize(usual, rows, -1, order, epsilon, fused=True), tf.shape(x))
    squares = tf.square(x) if fused else x * x
    total = tf.reduce_sum(squares, axis=axis, keepdims=True)
    return x * tf.math.rsqrt(tf.maximum(total, epsilon**2))
