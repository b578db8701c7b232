"""Colour transforms, blur and random erasing."""

import math
from dataclasses import dataclass

import tensorflow as tf

from kerasdl.core import checks

from .transforms import Transform, drawn


@dataclass(frozen=True)
class Colour(Transform):
    """Colour jitter: random brightness, contrast, saturation and hue, and greyscale with a probability.

    Source: https://arxiv.org/abs/2002.05709, appendix A. One order, brightness first; images of one channel have no
    saturation and no hue.

    Example:
        >>> Colour(0.4, 0.4, 0.4, 0.1)(tf.zeros((32, 32, 3)), tf.constant([0, 1])).shape
        TensorShape([32, 32, 3])
    """

    brightness: float = 0.0
    """Share of the range that is added or taken at most."""
    contrast: float = 0.0
    """By how much more or less than 1 the distance from the mean is multiplied at most."""
    saturation: float = 0.0
    """The same for the distance from grey."""
    hue: float = 0.0
    """Share of the colour wheel by which hues turn at most, up to 0.5."""
    grey: float = 0.0
    """The chance of no colours at all."""
    scale: tuple[float, float] = (-1.0, 1.0)
    """What black and white are."""

    def __post_init__(self):
        for name, high in {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.5, "grey": 1.0}.items():
            checks.within(name, getattr(self, name), 0.0, high)

    def __call__(self, image, seed):
        """Returns the changed image, within its range."""
        low, high = self.scale
        x = (tf.cast(image, tf.float32) - low) / (high - low)
        if self.brightness:
            x += drawn(seed, 0, -self.brightness, self.brightness)
        if self.contrast:
            mean = tf.reduce_mean(x, (0, 1), keepdims=True)
            x = mean + (x - mean) * drawn(seed, 1, 1 - self.contrast, 1 + self.contrast)
        x = tf.clip_by_value(x, 0.0, 1.0)
        if image.shape[-1] == 3:
            if self.saturation:
                grey = tf.image.rgb_to_grayscale(x)
                x = grey + (x - grey) * drawn(seed, 2, 1 - self.saturation, 1 + self.saturation)
                x = tf.clip_by_value(x, 0.0, 1.0)
            if self.hue:
                x = tf.image.adjust_hue(x, drawn(seed, 3, -self.hue, self.hue))
            if self.grey:
                x = tf.where(drawn(seed, 4, 0.0, 1.0) < self.grey, tf.image.rgb_to_grayscale(x), x)
        return low + (high - low) * tf.clip_by_value(x, 0.0, 1.0)


@dataclass(frozen=True)
class Blur(Transform):
    """Gaussian blur of random width.

    Source: https://arxiv.org/abs/2002.05709, appendix A.

    Example:
        >>> Blur()(tf.zeros((32, 32, 3)), tf.constant([0, 1])).shape
        TensorShape([32, 32, 3])
    """

    sigma: tuple[float, float] = (0.1, 2.0)
    """Smallest and largest standard deviation in pixels."""

    def __post_init__(self):
        for value in self.sigma:
            checks.within("a bound of sigma", value, 1e-3, 50.0)

    def __call__(self, image, seed):
        """Returns the blurred image; its border is mirrored."""
        reach = math.ceil(3 * self.sigma[1])
        places = tf.range(-reach, reach + 1, dtype=tf.float32)
        weights = tf.exp(-0.5 * (places / drawn(seed, 0, *self.sigma)) ** 2)
        weights = tf.tile(
            (weights / tf.reduce_sum(weights))[:, tf.newaxis, tf.newaxis, tf.newaxis], (1, 1, image.shape[-1], 1)
        )
        x = mirrored(tf.cast(image, tf.float32), reach)[tf.newaxis]
        x = tf.nn.depthwise_conv2d(x, weights, (1, 1, 1, 1), "VALID")
        x = tf.nn.depthwise_conv2d(x, tf.transpose(weights, (1, 0, 2, 3)), (1, 1, 1, 1), "VALID")
        return tf.ensure_shape(x[0], image.shape)


def mirrored(image: tf.Tensor, reach: int) -> tf.Tensor:
    """Returns an image with its border mirrored outwards, also where it is smaller than the reach."""
    while reach:
        step = tf.minimum(reach, tf.reduce_min(tf.shape(image)[:2]))
        size = tf.get_static_value(step)
        size = reach if size is None else int(size)
        image = tf.pad(image, ((size, size), (size, size), (0, 0)), "SYMMETRIC")
        reach -= size
    return image


@dataclass(frozen=True)
class Erase(Transform):
    """Random erasing: one rectangle of random size, shape and place is painted over.

    Source: random erasing, https://arxiv.org/abs/1708.04896, algorithm 1; with a fixed share and shape it is cutout,
    https://arxiv.org/abs/1708.04552.

    Example:
        >>> Erase()(tf.ones((32, 32, 3)), tf.constant([0, 1])).shape
        TensorShape([32, 32, 3])
    """

    share: tuple[float, float] = (0.02, 0.33)
    """Smallest and largest share of the image's area."""
    aspect: tuple[float, float] = (0.3, 3.3)
    """Smallest and largest width over height."""
    value: float = 0.0
    """What is painted."""

    def __post_init__(self):
        for name, high in {"share": 1.0, "aspect": 100.0}.items():
            for bound in getattr(self, name):
                checks.within(f"a bound of {name}", bound, 1e-4, high)

    def __call__(self, image, seed):
        """Returns the image with the rectangle."""
        image = tf.cast(image, tf.float32)
        height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
        aspect = tf.exp(drawn(seed, 1, math.log(self.aspect[0]), math.log(self.aspect[1])))
        inside = rectangle(height, width, drawn(seed, 0, *self.share), aspect, drawn(seed, 2, 0.0, 1.0, (2,)))
        return tf.where(inside[..., tf.newaxis], self.value, image)


def rectangle(height, width, share, aspect, place) -> tf.Tensor:
    """Returns the mask of a rectangle: (H, W) booleans.

    Args:
        height: of the image in pixels, float32.
        width: of the image in pixels, float32.
        share: of the image's area.
        aspect: width over height.
        place: row and column, from 0 to 1 of the room that is left.
    """
    area = share * height * width
    rows, columns = (
        tf.minimum(tf.round(tf.sqrt(area / aspect)), height),
        tf.minimum(tf.round(tf.sqrt(area * aspect)), width),
    )
    top, left = tf.floor(place[0] * (height - rows + 1)), tf.floor(place[1] * (width - columns + 1))
    down, across = tf.range(height), tf.range(width)
    inside_rows = (down >= top) & (down < top + rows)
    return inside_rows[:, tf.newaxis] & ((across >= left) & (across < left + columns))[tf.newaxis]
