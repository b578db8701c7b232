"""Window partition and merge of Swin transformers, with masks and relative positions."""

import math

import keras
import numpy as np
from keras import ops

from kerasdl.core import checks


@keras.saving.register_keras_serializable("kerasdl")
class WindowPartition(keras.layers.Layer):
    """Window partition: cuts an image into square windows after a cyclic shift, padded with zeros to whole windows.

    Source: Swin transformer, https://arxiv.org/abs/2103.14030, section 3.2 and figure 4.

    Args:
        window: side of a window in pixels.
        shift: pixels by which the image is first rolled up and left, less than the window.

    Input:
        (B, H, W, C) floats, H and W known.

    Returns:
        (B, windows, window * window, C) of the same dtype, row by row.

    Raises:
        ArgumentError: an argument breaks its range, or a side is unknown.

    Example:
        >>> WindowPartition(7, 3)(keras.Input((56, 56, 96))).shape
        (None, 64, 49, 96)
    """

    def __init__(self, window: int, shift: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.window, self.shift = checked_window(window, shift)

    def call(self, inputs):
        _, height, width, channels = inputs.shape
        rows, columns = (-(-side // self.window) for side in (height, width))
        x = inputs
        if height % self.window or width % self.window:
            margins = (rows * self.window - height, columns * self.window - width)
            x = ops.pad(x, ((0, 0), (0, margins[0]), (0, margins[1]), (0, 0)))
        if self.shift:
            x = ops.roll(x, (-self.shift, -self.shift), axis=(1, 2))
        # Two steps of at most five dimensions, which every runtime can transpose.
        x = ops.reshape(x, (-1, self.window, columns, self.window * channels))
        x = ops.transpose(x, (0, 2, 1, 3))  # (B * rows, columns, window, window * C)
        return ops.reshape(x, (-1, rows * columns, self.window**2, channels))

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        if None in (height, width):
            checks.refuse("an image to cut into windows must have known sides", (height, width))
        count = -(-height // self.window) * -(-width // self.window)
        return (batch, count, self.window**2, channels)

    def get_config(self):
        return {**super().get_config(), "window": self.window, "shift": self.shift}


@keras.saving.register_keras_serializable("kerasdl")
class WindowMerge(keras.layers.Layer):
    """Window merge: the inverse of `WindowPartition`, including its shift and padding.

    Source: Swin transformer, https://arxiv.org/abs/2103.14030, section 3.2 and figure 4.

    Args:
        image_shape: height and width of the image in pixels.
        window: side of a window in pixels.
        shift: pixels by which the image was rolled, less than the window.

    Input:
        (B, windows, window * window, C) floats.

    Returns:
        (B, height, width, C) of the same dtype.

    Raises:
        ArgumentError: an argument breaks its range, or the input does not match the windows of such an image.

    Example:
        >>> WindowMerge((56, 56), 7, 3)(keras.Input((64, 49, 96))).shape
        (None, 56, 56, 96)
    """

    def __init__(self, image_shape: tuple[int, int], window: int, shift: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.image_shape = tuple(checks.at_least("a side", side, 1) for side in image_shape)
        self.window, self.shift = checked_window(window, shift)

    def build(self, input_shape):
        check_windows_of(self.image_shape, self.window, input_shape)
        self.built = True

    def call(self, inputs):
        height, width = self.image_shape
        rows, columns = (-(-side // self.window) for side in self.image_shape)
        channels = inputs.shape[-1]
        x = ops.reshape(inputs, (-1, columns, self.window, self.window * channels))
        x = ops.transpose(x, (0, 2, 1, 3))  # (B * rows, window, columns, window * C)
        x = ops.reshape(x, (-1, rows * self.window, columns * self.window, channels))
        if self.shift:
            x = ops.roll(x, (self.shift, self.shift), axis=(1, 2))
        return x[:, :height, :width]

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.image_shape, input_shape[-1])

    def get_config(self):
        own = {"image_shape": self.image_shape, "window": self.window, "shift": self.shift}
        return {**super().get_config(), **own}


def checked_window(window: int, shift: int) -> tuple[int, int]:
    """Returns a window side of 1 or more and a smaller shift; else raises `ArgumentError`."""
    window = checks.at_least("window", window, 1)
    return window, int(checks.within("shift", checks.at_least("shift", shift, 0), 0, window - 1))


def check_windows_of(image_shape: tuple[int, int], window: int, shape: tuple) -> None:
    """Checks that a shape (B, windows, places, C) matches the windows of an image; else raises `ArgumentError`."""
    count = math.prod(-(-side // window) for side in image_shape)
    if tuple(shape[1:3]) != (count, window**2):
        rule = f"an image of {image_shape[0]} x {image_shape[1]} must come as {count} windows of {window**2} places"
        checks.refuse(rule, tuple(shape))


def relative_positions(window: int) -> np.ndarray:
    """Returns the index of the offset of each pair of places in a table of (2 window - 1)^2: (T, T) integers.

    Source: https://arxiv.org/abs/2103.14030, section 3.2, relative position bias.
    """
    places = np.stack(np.meshgrid(range(window), range(window), indexing="ij"), -1).reshape(-1, 2)
    offsets = places[:, None] - places[None] + window - 1  # (T, T, 2)
    return offsets[..., 0] * (2 * window - 1) + offsets[..., 1]


def shifted_mask(image_shape: tuple[int, int], window: int, shift: int) -> np.ndarray:
    """Returns the attention mask of shifted windows: (windows, T, T) booleans, true for pairs that may attend.

    After the cyclic shift, windows at the border hold parts that are not neighbours in the image.

    Source: https://arxiv.org/abs/2103.14030, section 3.2 and figure 4.
    """
    rows, columns = (-(-side // window) for side in image_shape)
    regions = []
    for count in (rows, columns):
        region = np.zeros(count * window, int)
        if shift:
            region[-window:-shift], region[-shift:] = 1, 2
        regions.append(region)
    labels = 3 * regions[0][:, None] + regions[1]
    windows = labels.reshape(rows, window, columns, window).transpose(0, 2, 1, 3).reshape(-1, window**2)
    return windows[:, :, None] == windows[:, None]
