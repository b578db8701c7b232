"""Formulas for TensorFlow operations that tf2onnx or TFLite lacks, in operations that both have.

Each formula takes the node, whose attributes it may read, and the operation's inputs, and returns its only output.
Complex numbers are pairs (real, imaginary) in a last dimension of 2; keys of their formulas start with "complex".
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

# Giles, Approximating the erfinv function (2010): coefficients near the middle and in the tails.
ERFINV_MIDDLE = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087)
ERFINV_MIDDLE += (-0.00125372503, -0.00417768164, 0.246640727, 1.50140941)
ERFINV_TAILS = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773)
ERFINV_TAILS += (-0.0076224613, 0.00943887047, 1.00167406, 2.83297682)
# Lanczos's series of the gamma function, g = 7.
LANCZOS = (676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059, 12.507343278686905)
LANCZOS += (-0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7)
RADIUS = {"triangle": 1, "keyscubic": 2, "lanczos1": 1, "lanczos3": 3, "lanczos5": 5, "box": 0.5}


def _is_negative(_: Any, x: tf.Tensor, _same: tf.Tensor) -> tf.Tensor:
    return (x < 0) | (1 / x < 0)  # 1 / -0.0 is minus infinity


def _erfc(_: Any, x: tf.Tensor) -> tf.Tensor:
    return 1 - tf.math.erf(x)


def _expm1(_: Any, x: tf.Tensor) -> tf.Tensor:
    return tf.tanh(x / 2) * (tf.exp(x) + 1)


def _log1p(_: Any, x: tf.Tensor) -> tf.Tensor:
    shifted = 1 + x
    gained = shifted - 1  # the part of x that is left after rounding
    exact = (gained == x) | (gained == 0)
    nonzero = tf.where(exact, tf.ones_like(x), gained)
    return tf.where(gained == 0, x, tf.math.log(shifted) * tf.where(exact, tf.ones_like(x), x / nonzero))


def _erfinv(_: Any, x: tf.Tensor) -> tf.Tensor:
    depth = -tf.math.log((1 - x) * (1 + x))
    middle, tails = depth - 2.5, tf.sqrt(tf.maximum(depth, 5)) - 3
    value = x * tf.where(depth < 5, _polynomial(ERFINV_MIDDLE, middle), _polynomial(ERFINV_TAILS, tails))
    return tf.where(tf.abs(x) == 1, x * np.inf, value)


def _lgamma(_: Any, x: tf.Tensor) -> tf.Tensor:
    reflected = tf.where(x < 0.5, 1 - x, x)
    series, base = 0.99999999999980993, reflected - 1 + 7.5
    for index, coefficient in enumerate(LANCZOS):
        series += coefficient / (reflected + index)
    value = 0.5 * math.log(2 * math.pi) + (reflected - 0.5) * tf.math.log(base) - base + tf.math.log(series)
    beyond = math.log(math.pi) - tf.math.log(tf.abs(tf.sin(math.pi * (x - tf.floor(x))))) - value
    return tf.where(x < 0.5, beyond, value)


def _digamma(_: Any, x: tf.Tensor) -> tf.Tensor:
    shifted = tf.where(x < 0.5, 1 - x, x)
    value = tf.zeros_like(x)
    for _ in range(6):  # the asymptotic series below holds from 6 on
        value -= 1 / shifted
        shifted += 1
    inverse = 1 / (shifted * shifted)
    value += tf.math.log(shifted) - 0.5 / shifted - inverse * (1 / 12 - inverse * (1 / 120 - inverse / 252))
    return tf.where(x < 0.5, value - math.pi / tf.tan(math.pi * x), value)


def _xlogy(_: Any, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    return x * tf.math.log(tf.where(x == 0, tf.ones_like(y), y))


def _xlog1py(node: Any, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    return x * _log1p(node, tf.where(x == 0, tf.zeros_like(y), y))


def _xdivy(_: Any, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    return x / tf.where(x == 0, tf.ones_like(y), y)


def _bucketize(node: Any, x: tf.Tensor) -> tf.Tensor:
    bounds = tf.constant(list(node.attr["boundaries"].list.f), tf.float32)
    return tf.reduce_sum(tf.cast(tf.cast(x, tf.float32)[..., None] >= bounds, tf.int32), axis=-1)


def _bound(compare: Callable, node: Any, ordered: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    dtype = tf.as_dtype(node.attr["out_type"].type)
    return tf.reduce_sum(tf.cast(compare(ordered[:, None, :], values[:, :, None]), dtype), axis=-1)


def _broadcast_shape(_: Any, one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    lack = tf.maximum(tf.size(one), tf.size(other)) - tf.stack([tf.size(one), tf.size(other)])
    one = tf.concat([tf.ones([lack[0]], one.dtype), one], 0)
    other = tf.concat([tf.ones([lack[1]], other.dtype), other], 0)
    return tf.where(one == 1, other, one)


def _update_slice(_: Any, x: tf.Tensor, update: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
    room = tf.shape(x) - tf.shape(update)
    starts = tf.clip_by_value(tf.cast(starts, tf.int32), 0, room)
    around = tf.stack([starts, room - starts], axis=1)
    inside = tf.pad(tf.ones(tf.shape(update)), around)
    return tf.where(inside > 0, tf.pad(update, around), x)


def _hsv_of_rgb(_: Any, rgb: tf.Tensor) -> tf.Tensor:
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    value = tf.reduce_max(rgb, axis=-1)
    spread = value - tf.reduce_min(rgb, axis=-1)
    unit = 1 / (6 * tf.where(spread > 0, spread, tf.ones_like(spread)))
    by_blue = tf.where(green == value, unit * (blue - red) + 1 / 3, unit * (red - green) + 2 / 3)
    hue = tf.where(red == value, unit * (green - blue), by_blue)
    hue = tf.where(spread > 0, tf.where(hue < 0, hue + 1, hue), tf.zeros_like(hue))
    saturation = tf.where(value > 0, spread / tf.where(value > 0, value, tf.ones_like(value)), tf.zeros_like(value))
    return tf.stack([hue, saturation, value], axis=-1)


def _scale_and_translate(node: Any, images: tf.Tensor, size: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor):
    kernel, antialias = node.attr["kernel_type"].s.decode(), node.attr["antialias"].b
    return resample(kernel, antialias, images, size, scale, shift)


def resample(kernel: str, antialias: bool, images: tf.Tensor, size: tf.Tensor, scale: Any, shift: Any, steps: int = 0):
    """Resizes images (B, H, W, C) by two products with matrices of kernel values."""
    old = _sizes(images)[1:3]
    rows, columns = (_resampling(kernel, antialias, old[k], size[k], scale[k], shift[k], steps) for k in (0, 1))
    return tf.einsum("bhwc,yh,xw->byxc", tf.cast(images, tf.float32), rows, columns)


def _sizes(x: tf.Tensor) -> list:
    """Returns the size of each dimension: a number where it is known, so that values computed from it are constants."""
    return [known or tf.shape(x)[axis] for axis, known in enumerate(x.shape)]


def _bicubic(_: Any, images: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    scale = tf.cast(size, tf.float32) / tf.cast(tf.stack(_sizes(images)[1:3]), tf.float32)
    return resample("keyscubic", False, images, size, scale, tf.zeros([2]), steps=1024)


def _area(_: Any, images: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    old = _sizes(images)[1:3]
    rows, columns = (_overlaps(old[k], size[k]) for k in (0, 1))
    return tf.einsum("bhwc,yh,xw->byxc", tf.cast(images, tf.float32), rows, columns)


def _overlaps(old: Any, new: tf.Tensor) -> tf.Tensor:
    """Returns the share (new, old) that each old cell has of each new one."""
    width = tf.cast(old, tf.float32) / tf.cast(new, tf.float32)
    start, cell = tf.range(tf.cast(new, tf.float32))[:, None] * width, tf.range(tf.cast(old, tf.float32))[None]
    return tf.nn.relu(tf.minimum(start + width, cell + 1) - tf.maximum(start, cell)) / width


def _resampling(kernel: str, antialias: bool, old: Any, new: tf.Tensor, scale: Any, shift: Any, steps: int):
    """Returns the weights (new, old) with which old samples enter new ones; positions are rounded to 1 / steps."""
    width = tf.maximum(1 / scale, 1) if antialias else tf.constant(1.0)
    centre = (tf.range(tf.cast(new, tf.float32))[:, None] + 0.5 - shift) / scale
    if steps:  # TensorFlow reads its kernel from a table
        centre = tf.round((centre - 0.5) * steps) / steps + 0.5
    offset = (tf.range(tf.cast(old, tf.float32))[None] + 0.5 - centre) / width
    weights = tf.where(tf.abs(offset) <= RADIUS[kernel], _kernel(kernel, tf.abs(offset)), tf.zeros_like(offset))
    total = tf.reduce_sum(weights, axis=1, keepdims=True)
    weights = tf.where(tf.abs(total) > 1e-30, weights / total, tf.zeros_like(weights))
    return tf.where((centre >= 0) & (centre <= tf.cast(old, tf.float32)), weights, tf.zeros_like(weights))


def _kernel(name: str, x: tf.Tensor) -> tf.Tensor:
    if name == "box":
        return tf.where(x < 0.5, tf.ones_like(x), tf.fill(tf.shape(x), 0.5))  # TensorFlow's, one half at its ends
    if name == "triangle":
        return 1 - x
    if name == "keyscubic":
        return tf.where(x < 1, (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2)
    radius, safe = RADIUS[name], tf.maximum(math.pi * x, 1e-3)
    return tf.where(x < 1e-3, tf.ones_like(x), radius * tf.sin(safe) * tf.sin(safe / radius) / (safe * safe))


def _wave(rows: tf.Tensor, columns: tf.Tensor, length: tf.Tensor, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns cos and sin of 2 pi row column / length, as matrices (rows, columns)."""
    turn = tf.math.floormod(tf.range(rows)[:, None] * tf.range(columns)[None], length)
    angle = 2 * math.pi * tf.cast(turn, dtype) / tf.cast(length, dtype)
    return tf.cos(angle), tf.sin(angle)


def _fourier(sign: int, axes: int, _: Any, x: tf.Tensor) -> tf.Tensor:
    """Returns the discrete Fourier transform over the last axis or two; sign 1 is the inverse, over its length."""
    real, imaginary = x[..., 0], x[..., 1]
    for axis in range(axes):
        length = _sizes(real)[-1 - axis]
        through = _across if axis == 0 else _down
        cosine, sine = _wave(length, length, length, x.dtype)
        real, imaginary = (
            through(real, cosine) - sign * through(imaginary, sine),
            through(imaginary, cosine) + sign * through(real, sine),
        )
        if sign > 0:
            real, imaginary = (part / tf.cast(length, x.dtype) for part in (real, imaginary))
    return tf.stack([real, imaginary], axis=-1)


def _across(x: tf.Tensor, wave: tf.Tensor) -> tf.Tensor:
    return tf.matmul(x, wave)


def _down(x: tf.Tensor, wave: tf.Tensor) -> tf.Tensor:
    return tf.matmul(wave, x)  # the wave is symmetric


def _real_fourier(_: Any, x: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    length = lengths[0]
    x = x[..., :length]
    cosine, sine = _wave(_sizes(x)[-1], length // 2 + 1, length, x.dtype)
    return tf.stack([tf.matmul(x, cosine), -tf.matmul(x, sine)], axis=-1)


def _inverse_real_fourier(_: Any, x: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    length = lengths[0]
    x = x[..., : length // 2 + 1, :]
    count = _sizes(x)[-2]
    cosine, sine = _wave(count, length, length, x.dtype)
    index = tf.range(count)[:, None]
    twice = tf.where((index == 0) | (2 * index == length), 1.0, 2.0)  # the other half mirrors this one
    weight = tf.cast(twice, x.dtype) / tf.cast(length, x.dtype)
    return tf.matmul(x[..., 0], weight * cosine) - tf.matmul(x[..., 1], weight * sine)


def _polynomial(coefficients: tuple[float, ...], x: tf.Tensor) -> tf.Tensor:
    value = tf.zeros_like(x)
    for coefficient in coefficients:
        value = value * x + coefficient
    return value


def _in_top_k(_: Any, scores: tf.Tensor, targets: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
    wanted = tf.gather(scores, targets, axis=1, batch_dims=1)[:, None]
    known = tf.reduce_all(tf.abs(scores) < np.inf, axis=1)  # TensorFlow says no where a score is not finite
    return known & (tf.reduce_sum(tf.cast(scores > wanted, k.dtype), axis=1) < k)


def _cross(_: Any, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    parts = [x[..., i] * y[..., (i + 1) % 3] - x[..., (i + 1) % 3] * y[..., i] for i in (1, 2, 0)]
    return tf.stack(parts, axis=-1)


def _product(_: Any, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    real = x[..., 0] * y[..., 0] - x[..., 1] * y[..., 1]
    return tf.stack([real, x[..., 0] * y[..., 1] + x[..., 1] * y[..., 0]], axis=-1)


SIGN_TEST = "sign test"  # the comparison of a float's bits with 0

FORMULAS: dict[str, Callable[..., tf.Tensor]] = {
    SIGN_TEST: _is_negative,
    "Cross": _cross,
    "InTopKV2": _in_top_k,
    "Erfc": _erfc,
    "Expm1": _expm1,
    "Log1p": _log1p,
    "Erfinv": _erfinv,
    "Lgamma": _lgamma,
    "Digamma": _digamma,
    "Xlogy": _xlogy,
    "Xlog1py": _xlog1py,
    "Xdivy": _xdivy,
    "Bucketize": _bucketize,
    "LowerBound": partial(_bound, tf.less),
    "UpperBound": partial(_bound, tf.less_equal),
    "BroadcastArgs": _broadcast_shape,
    "XlaDynamicUpdateSlice": _update_slice,
    "RGBToHSV": _hsv_of_rgb,
    "centred ResizeBicubic": _bicubic,
    "ResizeArea": _area,
    "ScaleAndTranslate": _scale_and_translate,
    "complex Complex": lambda _, real, imaginary: tf.stack([real, imaginary], axis=-1),
    "complex Real": lambda _, x: x[..., 0],
    "complex Imag": lambda _, x: x[..., 1],
    "complex ComplexAbs": lambda _, x: tf.sqrt(tf.reduce_sum(x * x, axis=-1)),
    "complex Conj": lambda _, x: tf.stack([x[..., 0], -x[..., 1]], axis=-1),
    "complex Mul": _product,
    "complex FFT": partial(_fourier, -1, 1),
    "complex IFFT": partial(_fourier, 1, 1),
    "complex FFT2D": partial(_fourier, -1, 2),
    "complex IFFT2D": partial(_fourier, 1, 2),
    "complex RFFT": _real_fourier,
    "complex IRFFT": _inverse_real_fourier,
}
