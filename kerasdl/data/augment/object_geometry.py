"""Geometric transforms of scenes with objects: scale jitter, and crops that keep an object whole."""

import math
from dataclasses import dataclass

import tensorflow as tf

from kerasdl.core import checks

from .geometry import matrix
from .transforms import Geometric, Warp, drawn


@dataclass(frozen=True)
class ScaleJitter(Geometric):
    """Random zoom: a part of the image enlarged, or the whole made smaller at a random place, of the same size.

    Source: large scale jitter, https://arxiv.org/abs/2012.07177, section 3.

    Example:
        >>> ScaleJitter()(tf.zeros((32, 48, 3)), tf.constant([0, 1])).shape
        TensorShape([32, 48, 3])
    """

    zoom: tuple[float, float] = (0.5, 2.0)
    """Smallest and largest factor; the square of one is as likely as the factor itself."""
    fill: float = 0.0
    """Value outside of the image."""

    def __post_init__(self):
        for value in self.zoom:
            checks.within("a bound of zoom", value, 0.05, 20.0)

    def warp(self, height, width, seed):
        """Returns a random map of pixels; see `Geometric`."""
        zoom = tf.exp(drawn(seed, 0, math.log(self.zoom[0]), math.log(self.zoom[1])))
        columns, rows = width / zoom, height / zoom
        left, top = drawn(seed, 1, 0.0, 1.0) * (width - columns), drawn(seed, 2, 0.0, 1.0) * (height - rows)
        return window(left, top, columns, rows, tf.cast(tf.stack([height, width]), tf.int32))


@dataclass(frozen=True)
class ObjectCrop(Geometric):
    """Random resized crop around an object: one object, drawn at random, stays whole, others may be cut.

    Without boxes, or where there are none, it is a `ResizedCrop`.

    Source: after the sampling of SSD, https://arxiv.org/abs/1512.02325, section 2.2.

    Example:
        >>> crop = ObjectCrop((24, 24))
        >>> moved = crop.with_targets(tf.zeros((32, 48, 3)), tf.constant([0, 1]), boxes=[[30.0, 4.0, 40.0, 12.0]])
        >>> moved["image"].shape, moved["kept"].numpy()
        (TensorShape([24, 24, 3]), array([ True]))
    """

    size: tuple[int, int]
    """Height and width of the result in pixels."""
    share: tuple[float, float] = (0.3, 1.0)
    """Smallest and largest share of the image's area, before it grows to hold the object."""
    aspect: tuple[float, float] = (0.5, 2.0)
    """Smallest and largest width over height of the part, before it grows."""

    def __post_init__(self):
        for side in self.size:
            checks.at_least("a side of size", side, 1)
        for name, high in {"share": 1.0, "aspect": 100.0}.items():
            for value in getattr(self, name):
                checks.within(f"a bound of {name}", value, 1e-4, high)

    def warp(self, height, width, seed, boxes=None):
        """Returns a random map of pixels; see `Geometric`."""
        place = drawn(seed, 2, 0.0, 1.0, (2,))
        boxes = tf.zeros((0, 4)) if boxes is None else tf.convert_to_tensor(boxes, tf.float32)
        # Where there is no object, one of no area anywhere stands for it.
        spot = tf.tile(place * tf.stack([width, height]), [2])[tf.newaxis]
        boxes = tf.cond(tf.shape(boxes)[0] > 0, lambda: boxes, lambda: spot)
        boxes = tf.clip_by_value(boxes, 0.0, tf.stack([width, height, width, height]))
        number = tf.cast(drawn(seed, 4, 0.0, 1.0) * tf.cast(tf.shape(boxes)[0], tf.float32), tf.int32)
        left, top, right, bottom = tf.unstack(boxes[number])
        area = drawn(seed, 0, *self.share) * height * width
        aspect = tf.exp(drawn(seed, 1, math.log(self.aspect[0]), math.log(self.aspect[1])))
        rows = tf.minimum(tf.maximum(tf.sqrt(area / aspect), bottom - top), height)
        columns = tf.minimum(tf.maximum(tf.sqrt(area * aspect), right - left), width)
        start = _between(place[0], tf.maximum(0.0, right - columns), tf.minimum(left, width - columns))
        above = _between(place[1], tf.maximum(0.0, bottom - rows), tf.minimum(top, height - rows))
        return window(start, above, columns, rows, tf.constant(self.size, tf.int32))

    def _drawn(self, image, seed, boxes=None):
        height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
        return self.warp(height, width, seed, boxes)


def window(left, top, columns, rows, size: tf.Tensor) -> Warp:
    """Returns the warp that shows a part of an image, from edges and sides in its pixels, at a size."""
    height, width = tf.unstack(tf.cast(size, tf.float32))
    down, across = rows / height, columns / width  # pixels of the image in one of the result
    return Warp(matrix([[across, 0, left + across / 2 - 0.5], [0, down, top + down / 2 - 0.5], [0, 0, 1]]), size)


def _between(share, low, high):
    return low + share * tf.maximum(high - low, 0.0)
