"""Patches of TensorFlow and Keras functions for which TFLite has no operation, in operations that it has."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import tensorflow as tf
from keras.src import backend  # the functions behind keras.ops, which have no public names

from ..formulas.op_formulas import FORMULAS, resample
from ..formulas.patching import replaced_functions

# Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: off by at most 1.5e-7.
ERF = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
# Klambauer and others, Self-Normalizing Neural Networks (2017).
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
KERNELS = {"bilinear": "triangle", "bicubic": "keyscubic", "lanczos3": "lanczos3", "lanczos5": "lanczos5"}


@contextmanager
def tflite_functions() -> Iterator[None]:
    """Context manager in which models call these functions in place of those of TensorFlow and Keras."""
    with ExitStack() as stack:
        stack.enter_context(
            replaced_functions(tf.math, erf=_erf, erfinv=_erfinv, cumprod=_cumulative_product, bincount=_counts)
        )
        stack.enter_context(replaced_functions(tf.nn, selu=_selu))
        stack.enter_context(replaced_functions(tf.image, resize=_resize))
        stack.enter_context(replaced_functions(backend.nn, conv=_conv))
        transforms = {"fft": "FFT", "fft2": "FFT2D"}
        stack.enter_context(
            replaced_functions(
                backend.math, irfft=_irfft, **{name: partial(_fft, each) for name, each in transforms.items()}
            )
        )
        yield


def _erf(_: Callable, x: Any, name: str | None = None) -> tf.Tensor:
    x = tf.convert_to_tensor(x)
    share, value = 1 / (1 + 0.3275911 * tf.abs(x)), tf.zeros_like(x)
    for coefficient in ERF:
        value = (value + coefficient) * share
    return tf.sign(x) * (1 - value * tf.exp(-x * x))


def _selu(_: Callable, features: Any, name: str | None = None) -> tf.Tensor:
    x = tf.convert_to_tensor(features)  # the converter's own form takes exp(x) where x is large
    return SELU_SCALE * (tf.nn.relu(x) + SELU_ALPHA * tf.nn.elu(tf.minimum(x, 0)))


def _erfinv(_: Callable, x: Any, name: str | None = None) -> tf.Tensor:
    return FORMULAS["Erfinv"](None, tf.convert_to_tensor(x))


def _cumulative_product(
    usual: Callable, x: Any, axis: int = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None
) -> tf.Tensor:
    x = tf.convert_to_tensor(x)
    if exclusive or reverse or x.shape[axis] is None:
        return usual(x, axis, exclusive, reverse, name)
    products = tf.unstack(x, axis=axis)
    for index in range(1, len(products)):
        products[index] = products[index - 1] * products[index]
    return tf.stack(products, axis=axis)


def _counts(
    usual: Callable,
    arr: Any,
    weights: Any = None,
    minlength: Any = None,
    maxlength: Any = None,
    dtype: Any = tf.int32,
    name: str | None = None,
    axis: int | None = None,
    binary_output: bool = False,
) -> tf.Tensor:
    """Bin counts as sums of one-hot rows, for a fixed number of bins, as in CategoryEncoding and Discretization."""
    if not isinstance(minlength, int) or minlength != maxlength or axis != -1:
        return usual(arr, weights, minlength, maxlength, dtype, name, axis, binary_output)
    rows = tf.one_hot(tf.cast(arr, tf.int32), minlength, dtype=dtype if weights is None else weights.dtype)
    if binary_output:
        return tf.reduce_max(rows, axis=-2)
    return tf.reduce_sum(rows if weights is None else rows * weights[..., None], axis=-2)


def _resize(
    usual: Callable,
    images: Any,
    size: Any,
    method: str = "bilinear",
    preserve_aspect_ratio: bool = False,
    antialias: bool = False,
    name: str | None = None,
) -> tf.Tensor:
    """Resizing as products with matrices of kernel values, along the rows and along the columns."""
    images = tf.convert_to_tensor(images)
    has_operation = method not in (*KERNELS, "area") or (method == "bilinear" and not antialias)
    if has_operation or preserve_aspect_ratio or images.shape.rank != 4:
        return usual(images, size, method, preserve_aspect_ratio, antialias, name)
    size = tf.convert_to_tensor(size, tf.int32)
    if method == "area":
        return FORMULAS["ResizeArea"](None, images, size)
    if method == "bicubic" and not antialias:
        return FORMULAS["centred ResizeBicubic"](None, images, size)
    old = [known or tf.shape(images)[axis] for axis, known in enumerate(images.shape)][1:3]
    scale = tf.cast(size, tf.float32) / tf.cast(tf.stack(old), tf.float32)
    return resample(KERNELS[method], antialias, images, size, scale, tf.zeros([2]))


def _conv(
    usual: Callable,
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> tf.Tensor:
    """Grouped Conv3D as one convolution for each group."""
    inputs, kernel = tf.convert_to_tensor(inputs), tf.convert_to_tensor(kernel)
    channels = 1 if backend.standardize_data_format(data_format) == "channels_first" else -1
    groups = (inputs.shape[channels] or kernel.shape[-2]) // kernel.shape[-2]
    settings = (strides, padding, data_format, dilation_rate)
    if groups == 1 or inputs.shape.rank != 5:
        return usual(inputs, kernel, *settings)
    pairs = zip(tf.split(inputs, groups, channels), tf.split(kernel, groups, -1), strict=True)
    return tf.concat([usual(part, own, *settings) for part, own in pairs], channels)


def _fft(operation: str, _: Callable, x: tuple) -> tuple:
    pairs = FORMULAS[f"complex {operation}"](None, tf.stack(x, axis=-1))
    return pairs[..., 0], pairs[..., 1]


def _irfft(_: Callable, x: tuple, fft_length: int | None = None) -> tf.Tensor:
    pairs = tf.stack(x, axis=-1)
    length = fft_length or 2 * ((pairs.shape[-2] or tf.shape(pairs)[-2]) - 1)
    return FORMULAS["complex IRFFT"](None, pairs, tf.reshape(length, [1]))
