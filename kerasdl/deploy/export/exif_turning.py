"""EXIF orientation of JPEG and PNG files in TensorFlow operations: read from the content, and pixels upright by it.

The segment APP1 of a JPEG and the chunk eXIf of a PNG are read; an orientation given only in XMP is not.
"""

import tensorflow as tf

ORIENTATION = 0x0112
LONG = 4
PNG_START = int.from_bytes(b"\x89PNG", "big", signed=True)


def orientation_of(content: tf.Tensor) -> tf.Tensor:
    """Returns the orientation, 1 to 8, that a file states; 1 where it states none."""
    data = tf.io.decode_raw(content, tf.uint8)
    start = tf.cond(tf.equal(_number(data, 0, 4), PNG_START), lambda: _in_png(data), lambda: _in_jpeg(data))
    return tf.cond(start > 0, lambda: _in_tiff(data, start), lambda: tf.constant(1))


def upright(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Returns pixels (H, W, C) upright."""

    def within(*values: int) -> tf.Tensor:
        return tf.reduce_any(tf.equal(orientation, values))

    pixels = tf.cond(orientation >= 5, lambda: tf.transpose(pixels, (1, 0, 2)), lambda: pixels)
    pixels = tf.cond(within(2, 3, 6, 7), lambda: tf.reverse(pixels, [1]), lambda: pixels)
    return tf.cond(within(3, 4, 7, 8), lambda: tf.reverse(pixels, [0]), lambda: pixels)


def _in_jpeg(data: tf.Tensor) -> tf.Tensor:
    """Returns the position of the TIFF header in the segments before the picture; 0 where there is none."""

    def going_on(at: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
        marker = _number(data, at + 1, 1)
        at_segment = tf.equal(_number(data, at, 1), 0xFF) & tf.not_equal(marker, 0xDA) & tf.not_equal(marker, 0xD9)
        return tf.equal(start, 0) & at_segment

    def step(at: tf.Tensor, start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        marker = _number(data, at + 1, 1)
        is_exif = tf.equal(marker, 0xE1) & tf.equal(_number(data, at + 4, 4), int.from_bytes(b"Exif", "big"))
        length = tf.where(tf.equal(marker, 0xFF), 1, 2 + _number(data, at + 2, 2))  # a marker may be padded
        return at + length, tf.where(is_exif, at + 10, 0)

    return tf.while_loop(going_on, step, (tf.constant(2), tf.constant(0)))[1]


def _in_png(data: tf.Tensor) -> tf.Tensor:
    """Returns the position of the TIFF header among the chunks; 0 where there is none."""

    def going_on(at: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
        return tf.equal(start, 0) & (at + 12 <= tf.size(data))

    def step(at: tf.Tensor, start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        is_exif = tf.equal(_number(data, at + 4, 4), int.from_bytes(b"eXIf", "big"))
        length = tf.clip_by_value(_number(data, at, 4), 0, tf.size(data))
        return at + 12 + length, tf.where(is_exif, at + 8, 0)

    return tf.while_loop(going_on, step, (tf.constant(8), tf.constant(0)))[1]


def _in_tiff(data: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Returns the orientation in the first directory behind a TIFF header."""
    is_little = tf.equal(_number(data, start, 1), ord("I"))
    directory = start + tf.clip_by_value(_number(data, start + 4, 4, is_little), 0, tf.size(data))
    entries = directory + 2 + 12 * tf.range(_number(data, directory, 2, is_little))
    kinds, short = _number(data, entries + 2, 2, is_little), _number(data, entries + 8, 2, is_little)
    stated = tf.where(tf.equal(kinds, LONG), _number(data, entries + 8, 4, is_little), short)
    fits = tf.equal(_number(data, entries, 2, is_little), ORIENTATION) & (stated >= 1) & (stated <= 8)
    return tf.concat([[1], stated[fits]], axis=0)[-1]


def _number(data: tf.Tensor, at: tf.Tensor | int, size: int, is_little: tf.Tensor | bool = False) -> tf.Tensor:
    """Returns the numbers of `size` bytes at some places, int32; bytes beyond the end are zeros."""
    order = tf.range(size)
    order = tf.where(is_little, size - 1 - order, order)
    places = tf.expand_dims(at, -1) + order
    inside = (places >= 0) & (places < tf.size(data))
    values = tf.where(inside, tf.cast(tf.gather(data, tf.where(inside, places, 0)), tf.int32), 0)
    return tf.reduce_sum(tf.bitwise.left_shift(values, 8 * tf.range(size)[::-1]), axis=-1)
