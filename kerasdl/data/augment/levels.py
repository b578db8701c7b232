"""Image operations of RandAugment and AugMix on levels from 0 to 255, equal to Pillow's.

Each takes an image (H, W, C) of whole levels as float32 and a strength, and gives such an image.
"""

from collections.abc import Callable

import tensorflow as tf

from .geometry import centred
from .transforms import moved

GREY = 128.0  # value outside of a moved image, as in the authors' code
SMOOTH = tf.constant([[1, 1, 1], [1, 5, 1], [1, 1, 1]], tf.float32) / 13.0


def autocontrast(x, strength=0.0):
    """Stretches each channel of an image over the whole range."""
    low, high = tf.reduce_min(x, (0, 1)), tf.reduce_max(x, (0, 1))
    factor = tf.where(high > low, 255.0 / tf.maximum(high - low, 1.0), 1.0)
    offset = tf.where(high > low, -low * factor, 0.0)
    return tf.clip_by_value(tf.floor(x * factor + offset + 1e-3), 0.0, 255.0)


def equalize(x, strength=0.0):
    """Equalises the histogram of each channel of an image."""
    pixels = tf.cast(tf.reshape(x, (-1, x.shape[-1])), tf.int32)
    tables = [_flattened(pixels[:, channel]) for channel in range(x.shape[-1])]
    done = [tf.gather(table, pixels[:, channel]) for channel, table in enumerate(tables)]
    return tf.reshape(tf.cast(tf.stack(done, -1), tf.float32), tf.shape(x))


def _flattened(pixels: tf.Tensor) -> tf.Tensor:
    counts = tf.math.bincount(pixels, minlength=256, maxlength=256)
    last = tf.gather(counts, tf.reduce_max(pixels))
    step = (tf.reduce_sum(counts) - last) // 255
    table = (step // 2 + tf.cumsum(counts, exclusive=True)) // tf.maximum(step, 1)
    return tf.where(step > 0, tf.minimum(table, 255), tf.range(256))


def posterize(x, bits):
    """Reduces each level to its highest bits."""
    block = 2.0 ** (8.0 - bits)
    return tf.floor(x / block) * block


def solarize(x, threshold):
    """Inverts levels from a threshold on."""
    return tf.where(x < threshold, x, 255.0 - x)


def _blended(other, x, factor):
    return tf.clip_by_value(tf.floor(other + factor * (x - other) + 1e-3), 0.0, 255.0)


def _grey(x):
    if x.shape[-1] != 3:
        return x
    return tf.floor(tf.reduce_sum(x * [0.299, 0.587, 0.114], -1, keepdims=True) + 0.5)


def colour(x, factor):
    """Changes the saturation: a factor above 1 raises it, one below 1 lowers it."""
    return _blended(_grey(x), x, factor)


def contrast(x, factor):
    """Changes the contrast around the mean grey."""
    return _blended(tf.floor(tf.reduce_mean(_grey(x)) + 0.5), x, factor)


def brightness(x, factor):
    """Multiplies all levels by a factor."""
    return _blended(0.0, x, factor)


def sharpness(x, factor):
    """Changes the sharpness against a smoothed image; the border stays."""
    kernel = tf.tile(SMOOTH[:, :, tf.newaxis, tf.newaxis], (1, 1, x.shape[-1], 1))
    smooth = tf.floor(tf.nn.depthwise_conv2d(x[tf.newaxis], kernel, (1, 1, 1, 1), "VALID")[0] + 0.5)
    inner = tf.pad(tf.ones_like(smooth, tf.bool), ((1, 1), (1, 1), (0, 0)))
    return _blended(tf.where(inner, tf.pad(smooth, ((1, 1), (1, 1), (0, 0))), x), x, factor)


def _warped(x, angle=0.0, shear_x=0.0, shear_y=0.0, columns=0.0, rows=0.0):
    height, width = tf.unstack(tf.cast(tf.shape(x)[:2], tf.float32))
    warp = centred(height, width, angle, shear_x, shear_y, 1.0, columns * width, rows * height)
    return tf.round(moved(x, warp, "BILINEAR", GREY))


def rotate(x, degrees):
    """Rotates an image anticlockwise."""
    return _warped(x, angle=degrees * 0.017453292519943295)


def shear_x(x, share):
    """Shears an image along its rows."""
    return _warped(x, shear_x=share)


def shear_y(x, share):
    """Shears an image along its columns."""
    return _warped(x, shear_y=share)


def translate_x(x, share):
    """Shifts an image by a share of its width."""
    return _warped(x, columns=share)


def translate_y(x, share):
    """Shifts an image by a share of its height."""
    return _warped(x, rows=share)


def identity(x, strength=0.0):
    """Returns the image unchanged."""
    return x


def signed(operation: Callable, most: float) -> Callable:
    """Returns an operation of a level from 0 to 1 and a sign, of at most so much in both directions."""
    return lambda x, level, sign: operation(x, sign * level * most)


def factored(operation: Callable) -> Callable:
    """Returns an operation of a level from 0 to 1 and a sign, by the factor 1 + sign * 0.9 * level."""
    return lambda x, level, sign: operation(x, 1.0 + sign * 0.9 * level)


# Operation by name: a function of an image, a level from 0 to 1 and a sign.
PLACES = {
    "rotate": signed(rotate, 30.0),
    "shear_x": signed(shear_x, 0.3),
    "shear_y": signed(shear_y, 0.3),
    "translate_x": signed(translate_x, 0.45),
    "translate_y": signed(translate_y, 0.45),
}
TONES = {
    "autocontrast": lambda x, level, sign: autocontrast(x),
    "equalize": lambda x, level, sign: equalize(x),
    "posterize": lambda x, level, sign: posterize(x, 8.0 - tf.round(4.0 * level)),
    "solarize": lambda x, level, sign: solarize(x, 255.0 * (1.0 - level)),
}
ENHANCEMENTS = {
    "colour": factored(colour),
    "contrast": factored(contrast),
    "brightness": factored(brightness),
    "sharpness": factored(sharpness),
}
RAND_AUGMENT = {"identity": lambda x, level, sign: identity(x), **PLACES, **TONES, **ENHANCEMENTS}
AUG_MIX = {**PLACES, **TONES}
