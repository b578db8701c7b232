"""Geometric transforms: flips, crops and affine changes."""

import math
from dataclasses import dataclass

import tensorflow as tf

from kerasdl.core import checks

from .transforms import Geometric, Warp, drawn


def matrix(rows: list[list]) -> tf.Tensor:
    """Returns a (3, 3) matrix from numbers and scalars."""
    return tf.stack([tf.stack([tf.cast(value, tf.float32) for value in row]) for row in rows])


def shift(columns, rows) -> tf.Tensor:
    """Returns the matrix that adds to columns and rows."""
    return matrix([[1, 0, columns], [0, 1, rows], [0, 0, 1]])


@dataclass(frozen=True)
class Flip(Geometric):
    """Random flip, left to right or upside down.

    Example:
        >>> Flip()(tf.zeros((32, 32, 3)), tf.constant([0, 1])).shape
        TensorShape([32, 32, 3])
    """

    horizontal: float = 0.5
    """The chance of left for right."""
    vertical: float = 0.0
    """The chance of upside down."""

    def __post_init__(self):
        for name in ("horizontal", "vertical"):
            checks.within(name, getattr(self, name), 0.0, 1.0)

    def warp(self, height, width, seed):
        """Returns a random map of pixels; see `Geometric`."""
        across, down = drawn(seed, 0, 0.0, 1.0) < self.horizontal, drawn(seed, 1, 0.0, 1.0) < self.vertical
        across, down = tf.cast(across, tf.float32), tf.cast(down, tf.float32)
        back = [[1 - 2 * across, 0, across * (width - 1)], [0, 1 - 2 * down, down * (height - 1)], [0, 0, 1]]
        return Warp(matrix(back), tf.cast(tf.stack([height, width]), tf.int32))


@dataclass(frozen=True)
class Crop(Geometric):
    """Random crop after padding: a shift by whole pixels.

    Source: https://arxiv.org/abs/1512.03385, section 4.2.

    Example:
        >>> Crop(4)(tf.zeros((32, 32, 3)), tf.constant([0, 1])).shape
        TensorShape([32, 32, 3])
    """

    margin: int = 4
    """Pixels by which it moves at most, in each direction."""
    fill: float = 0.0
    """Value outside of the image."""

    def __post_init__(self):
        checks.at_least("margin", self.margin, 0)

    def warp(self, height, width, seed):
        """Returns a random map of pixels; see `Geometric`."""
        offsets = tf.floor(drawn(seed, 0, -self.margin, self.margin + 1, (2,)))
        return Warp(shift(offsets[0], offsets[1]), tf.cast(tf.stack([height, width]), tf.int32))


@dataclass(frozen=True)
class ResizedCrop(Geometric):
    """Random resized crop: a part of random size, shape and place, resized.

    Source: https://arxiv.org/abs/1409.4842, section 6.

    Example:
        >>> ResizedCrop((24, 24))(tf.zeros((32, 48, 3)), tf.constant([0, 1])).shape
        TensorShape([24, 24, 3])
    """

    size: tuple[int, int]
    """Height and width of the result in pixels."""
    share: tuple[float, float] = (0.08, 1.0)
    """Smallest and largest share of the image's area."""
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest width over height of the part."""

    def __post_init__(self):
        for side in self.size:
            checks.at_least("a side of size", side, 1)
        for name, high in {"share": 1.0, "aspect": 100.0}.items():
            for value in getattr(self, name):
                checks.within(f"a bound of {name}", value, 1e-4, high)

    def warp(self, height, width, seed):
        """Returns a random map of pixels; see `Geometric`."""
        part_area = drawn(seed, 0, *self.share) * height * width
        aspect = tf.exp(drawn(seed, 1, math.log(self.aspect[0]), math.log(self.aspect[1])))
        rows, columns = tf.minimum(tf.sqrt(part_area / aspect), height), tf.minimum(tf.sqrt(part_area * aspect), width)
        top, left = drawn(seed, 2, 0.0, 1.0) * (height - rows), drawn(seed, 3, 0.0, 1.0) * (width - columns)
        down, across = rows / self.size[0], columns / self.size[1]  # pixels of the image in one of the result
        back = [[across, 0, left + across / 2 - 0.5], [0, down, top + down / 2 - 0.5], [0, 0, 1]]
        return Warp(matrix(back), tf.constant(self.size, tf.int32))


@dataclass(frozen=True)
class Affine(Geometric):
    """Random affine transform: rotation, shear, zoom and shift about the centre.

    Example:
        >>> Affine(rotate=15, zoom=0.1)(tf.zeros((32, 32, 3)), tf.constant([0, 1])).shape
        TensorShape([32, 32, 3])
    """

    rotate: float = 0.0
    """Degrees at most, in both directions."""
    shear: float = 0.0
    """Pixels a row moves for each pixel of height, at most, in both directions."""
    zoom: float = 0.0
    """By how much larger or smaller at most: 0.1 is 1 / 1.1 to 1.1 times."""
    translate: float = 0.0
    """Share of height and width at most, in both directions."""
    fill: float = 0.0
    """Value outside of the image."""

    def __post_init__(self):
        for name, high in {"rotate": 180.0, "shear": 2.0, "zoom": 4.0, "translate": 1.0}.items():
            checks.within(name, getattr(self, name), 0.0, high)

    def warp(self, height, width, seed):
        """Returns a random map of pixels; see `Geometric`."""
        angle = drawn(seed, 0, -self.rotate, self.rotate) * math.pi / 180 if self.rotate else 0.0
        shear = drawn(seed, 1, -self.shear, self.shear) if self.shear else 0.0
        factor = tf.exp(drawn(seed, 2, -1.0, 1.0) * math.log1p(self.zoom))
        moves = drawn(seed, 3, -self.translate, self.translate, (2,)) if self.translate else (0.0, 0.0)
        return centred(height, width, angle, shear, 0.0, factor, moves[0] * width, moves[1] * height)


def centred(height, width, angle, shear_x, shear_y, factor, columns, rows) -> Warp:
    """Returns the warp that turns (anticlockwise, radians), shears, enlarges and moves an image about its centre."""
    cosine, sine = tf.cos(tf.cast(angle, tf.float32)), tf.sin(tf.cast(angle, tf.float32))
    turn = matrix([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    lean = matrix([[1, shear_x, 0], [shear_y, 1, 0], [0, 0, 1]])
    scale = matrix([[1 / factor, 0, 0], [0, 1 / factor, 0], [0, 0, 1]])
    middle = shift((width - 1) / 2, (height - 1) / 2)
    back = middle @ turn @ lean @ scale @ shift(-(width - 1) / 2 - columns, -(height - 1) / 2 - rows)
    return Warp(back, tf.cast(tf.stack([height, width]), tf.int32))
