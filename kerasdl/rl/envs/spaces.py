"""Spaces of observations and actions: whole numbers, several whole numbers, and boxes of real numbers."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks

Bound = float | tuple[float, ...]


@dataclass(frozen=True)
class Discrete:
    """One whole number from 0 to n - 1.

    Attributes:
        n: number of values.

    Raises:
        ArgumentError: n is no integer of 1 or more.

    Example:
        >>> Discrete(4).draw([[0.0], [0.99]]).numpy()
        array([0, 3], dtype=int32)
    """

    n: int
    shape = ()
    dtype = "int32"
    noise_size = 1

    def __post_init__(self) -> None:
        checks.at_least("n", self.n, 1)

    def draw(self, noise: Any) -> tf.Tensor:
        """Returns values (N,) int32 of equal probability, from noise (N, 1) in [0, 1)."""
        return _whole(tf.cast(noise, tf.float32)[:, 0], tf.constant(self.n, tf.float32))

    def contains(self, values: Any) -> np.ndarray:
        """Returns which of the values (N,) lie in the space, (N,) bool."""
        values = np.asarray(values)
        return np.ones(values.shape, bool) & (values.dtype.kind in "iu") & (values >= 0) & (values < self.n)


@dataclass(frozen=True)
class MultiDiscrete:
    """Several whole numbers, each from 0 to its size - 1.

    Attributes:
        sizes: number of values of each.

    Raises:
        ArgumentError: a size is no integer of 1 or more.

    Example:
        >>> MultiDiscrete((3, 2)).shape
        (2,)
    """

    sizes: tuple[int, ...]
    dtype = "int32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", checks.counts("sizes", self.sizes))

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.sizes),)

    @property
    def noise_size(self) -> int:
        return len(self.sizes)

    def draw(self, noise: Any) -> tf.Tensor:
        """Returns values (N, len(sizes)) int32 of equal probability, from noise of the same shape in [0, 1)."""
        return _whole(tf.cast(noise, tf.float32), tf.constant(self.sizes, tf.float32))

    def contains(self, values: Any) -> np.ndarray:
        """Returns which of the values (N, len(sizes)) lie in the space, (N,) bool."""
        values = np.asarray(values)
        fits = (values >= 0) & (values < np.asarray(self.sizes)) & (values.dtype.kind in "iu")
        return fits.reshape(len(values), -1).all(-1)


@dataclass(frozen=True)
class Box:
    """Real numbers between bounds, in an array of a fixed shape.

    Attributes:
        low: lowest value, one number or one for each entry of a vector; may be -inf.
        high: highest value likewise; may be inf.
        shape: shape of one element, without the batch.
        dtype: "float32", or "uint8" for the pixels of pictures.

    Raises:
        ArgumentError: a bound is not a number, low exceeds high, the bounds do not fit the shape, or dtype is another.

    Example:
        >>> Box(-2.0, 2.0, (1,)).draw([[0.75]]).numpy()
        array([[1.]], dtype=float32)
    """

    low: Bound
    high: Bound
    shape: tuple[int, ...] = ()
    dtype: str = field(default="float32", repr=False)

    def __post_init__(self) -> None:
        checks.one_of("dtype", self.dtype, ("float32", "uint8"))
        shape = tuple(self.shape)
        if not all(hasattr(side, "__index__") and side > 0 for side in shape):
            checks.refuse("shape must be a tuple of positive integers", self.shape)
        for name in ("low", "high"):
            value = np.asarray(getattr(self, name), dtype=float)
            if np.isnan(value).any() or value.shape not in ((), shape):
                checks.refuse(f"{name} must be one number, or numbers of the shape {shape}", getattr(self, name))
            object.__setattr__(self, name, float(value) if value.shape == () else _frozen(value))
        if not np.all(np.asarray(self.low) <= np.asarray(self.high)):
            checks.refuse("low must not exceed high", (self.low, self.high))
        object.__setattr__(self, "shape", tuple(map(int, shape)))

    @property
    def noise_size(self) -> int:
        return math.prod(self.shape)

    @property
    def bounded(self) -> bool:
        """Truth of "every entry has finite bounds"."""
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    def draw(self, noise: Any) -> tf.Tensor:
        """Returns values (N, *shape) of uniform density, from noise (N, noise_size) in [0, 1).

        Raises:
            ArgumentError: a bound is infinite, so that no uniform density exists.
        """
        if not self.bounded:
            checks.refuse("only a space of finite bounds has uniform values", self)
        low, high = (tf.constant(bound, tf.float32) for bound in (self.low, self.high))
        values = low + (high - low) * tf.reshape(tf.cast(noise, tf.float32), (-1, *self.shape))
        return tf.cast(values, self.dtype)

    def contains(self, values: Any) -> np.ndarray:
        """Returns which of the values (N, *shape) lie within the bounds of the space, (N,) bool."""
        values = np.asarray(values)
        low, high = (np.asarray(bound, self.dtype) for bound in (self.low, self.high))
        return ((values >= low) & (values <= high)).reshape(len(values), -1).all(-1)


Space = Discrete | MultiDiscrete | Box


def _whole(noise: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
    """Returns floor(noise * size), below the size also where the product is rounded up to it."""
    return tf.cast(tf.minimum(tf.floor(noise * sizes), sizes - 1.0), tf.int32)


def _frozen(value: np.ndarray) -> tuple:
    """Returns an array as nested tuples, which can be hashed."""
    return tuple(_frozen(each) if each.ndim else float(each) for each in value)
