"""Image decoding in TensorFlow operations for served graphs: `kerasdl.data.prepare_images`, equal to the last bit."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.data.image_files import PNG_BITS, PNG_START, check_levels
from kerasdl.data.images import check_image_shape, check_scale, scale_pixels

from .exif_turning import orientation_of, upright

# Pillow resizes eight-bit images with weights in units of 2 ** -22, across the columns first, and rounds in between.
UNIT = float(1 << 22)
LUMA = np.array([19595, 38470, 7471])  # ITU-R 601 in units of 2 ** -16


def image_reader(settings: Mapping[str, Any]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the function from files (B,), a tensor of strings, to images (B, H, W, C).

    PNG and JPEG of any size, grey or colour; alpha is dropped. A photo is turned upright by its EXIF tag.

    Args:
        settings: `image_shape` (H, W, 1 or 3), `scale` (what 0 and 255 become) and, optionally, `levels` (the
            value of white in a PNG of 16 bits; values above it become white too), as in `prepare_images`.

    Raises:
        ArgumentError: a setting is missing or breaks its rule.
    """
    missing = {"image_shape", "scale"} - set(settings)
    if missing:
        checks.refuse("image_bytes must hold 'image_shape' and 'scale'", sorted(settings))
    height, width, channels = shape = check_image_shape(settings["image_shape"])
    checks.one_of("channels of image_shape", channels, (1, 3), "A JPEG file holds no others.")
    table = scale_pixels(np.arange(256, dtype=np.uint8), check_scale(settings["scale"]))
    levels = check_levels(settings.get("levels"))

    def read(content: tf.Tensor) -> tf.Tensor:
        pixels = upright(_decoded(content, levels), orientation_of(content))
        if channels == 1:
            grey = tf.reduce_sum(tf.cast(pixels, tf.int32) * LUMA, axis=-1, keepdims=True)
            pixels = tf.cast((grey + (1 << 15)) // (1 << 16), tf.uint8)
        if width is not None:
            pixels = _resize_rows(tf.transpose(pixels, (1, 0, 2)), width)
            pixels = tf.transpose(pixels, (1, 0, 2))
        if height is not None:
            pixels = _resize_rows(pixels, height)
        return tf.gather(tf.constant(table), tf.cast(pixels, tf.int32))

    spec = tf.TensorSpec(shape, table.dtype)
    return lambda contents: tf.map_fn(read, contents, fn_output_signature=spec)


def _decoded(content: tf.Tensor, levels: int | None) -> tf.Tensor:
    """Returns the pixels (H, W, 3) of a file, uint8; of a PNG of 16 bits as `to_8_bits` makes them."""

    def of_8_bits() -> tf.Tensor:
        return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")  # reads PNG too

    def of_16_bits() -> tf.Tensor:
        values = tf.minimum(tf.cast(tf.io.decode_png(content, channels=3, dtype=tf.uint16), tf.int32), levels)
        return tf.cast(values * 256 // (levels + 1), tf.uint8)

    if levels is None:
        return of_8_bits()
    is_deep = tf.equal(tf.strings.substr(content, 0, len(PNG_START)), PNG_START)
    bits = tf.cond(is_deep, lambda: tf.strings.substr(content, PNG_BITS, 1), lambda: tf.constant(b""))
    return tf.cond(tf.equal(bits, b"\x10"), of_16_bits, of_8_bits)


def _resize_rows(pixels: tf.Tensor, size: int) -> tf.Tensor:
    """Returns pixels (rows, columns, channels) resized to `size` rows: bilinear, over whole blocks where it shrinks."""
    rows, columns, channels = tf.unstack(tf.shape(pixels))
    scale = tf.cast(rows, tf.float64) / size
    support = tf.maximum(scale, 1)
    centre = (tf.range(size, dtype=tf.float64) + 0.5) * scale
    first = tf.maximum(tf.cast(centre - support + 0.5, tf.int32), 0)
    last = tf.minimum(tf.cast(centre + support + 0.5, tf.int32), rows)
    source = first[:, None] + tf.range(tf.reduce_max(last - first))[None]
    distance = tf.abs(tf.cast(source, tf.float64) - centre[:, None] + 0.5) / support
    weight = tf.where(source < last[:, None], tf.maximum(1 - distance, 0), tf.zeros_like(distance))
    weight = tf.floor(weight / tf.reduce_sum(weight, axis=1, keepdims=True) * UNIT + 0.5)
    entries = tf.where(weight > 0)
    place = tf.stack([entries[:, 0], tf.cast(tf.gather_nd(source, entries), tf.int64)], axis=1)
    matrix = tf.SparseTensor(place, tf.gather_nd(weight, entries), (size, tf.cast(rows, tf.int64)))
    flat = tf.reshape(tf.cast(pixels, tf.float64), (rows, columns * channels))
    mixed = tf.floor(tf.sparse.sparse_dense_matmul(matrix, flat) / UNIT + 0.5)
    mixed = tf.clip_by_value(mixed, 0, 255)
    return tf.cast(tf.reshape(mixed, (size, columns, channels)), tf.uint8)
