"""Sum tree: numbers with the sums of their blocks, for draws in proportion, in TensorFlow variables.

Source: Schaul et al. 2016, https://arxiv.org/abs/1511.05952, appendix B.2.1.

Deviations: a node has 64 children instead of 2, since a level costs a fixed number of operations and not of numbers.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks

BRANCHES = 64


class SumTree:
    """Numbers of 0 or more that are drawn in proportion to their size; a draw and a change cost O(log n).

    Args:
        size: n, count of the numbers; all are 0 at first.

    Raises:
        ArgumentError: the size is below 1.

    Example:
        >>> tree = SumTree(1000)
        >>> tree.assign([3, 999], [1.0, 3.0])
        >>> tree.find([0.5, 1.5, 3.9]).numpy(), float(tree.total)
        (array([  3, 999, 999], dtype=int32), 4.0)
    """

    def __init__(self, size: int):
        self.size = checks.at_least("size", size, 1)
        sizes = [-(-self.size // BRANCHES) * BRANCHES]
        while sizes[-1] > BRANCHES:
            sizes.append(-(-(sizes[-1] // BRANCHES) // BRANCHES) * BRANCHES)
        self.levels = [
            tf.Variable(tf.zeros(each, tf.float64), trainable=False, name=f"level{depth}")
            for depth, each in enumerate(sizes)
        ]
        """The numbers, then the sums of their blocks of 64, and so on up to a single block."""

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """All variables by name."""
        return {f"level{depth}": level for depth, level in enumerate(self.levels)}

    @property
    def total(self) -> tf.Tensor:
        """Sum of all numbers, a scalar float64."""
        return tf.reduce_sum(self.levels[-1])

    def assign(self, index: Any, values: Any) -> None:
        """Sets numbers.

        Args:
            index: (B,) int32 places from 0 to n - 1; one that occurs twice must have equal values.
            values: (B,) numbers of 0 or more.
        """
        index, values = tf.cast(index, tf.int32), _double(values)
        self.levels[0].scatter_update(tf.IndexedSlices(values, index))
        for below, level in zip(self.levels, self.levels[1:], strict=False):
            index //= BRANCHES
            sums = tf.reduce_sum(_blocks(below, index), -1)  # of the children, so that no error adds up
            level.scatter_update(tf.IndexedSlices(sums, index))

    def find(self, at: Any) -> tf.Tensor:
        """Returns the places at which the running sum of the numbers passes given values.

        Args:
            at: (B,) values from 0 to below `total`. A place of the number 0 is never found unless all are 0.

        Returns:
            Places, (B,) int32.
        """
        at = _double(at)
        index = tf.zeros(tf.shape(at), tf.int32)
        for level in reversed(self.levels):
            block = _blocks(level, index)
            sums = tf.cumsum(block, axis=-1)
            at = tf.minimum(at, sums[:, -1] * (1.0 - 1e-12))  # the sum above may be rounded otherwise
            child = tf.minimum(tf.reduce_sum(tf.cast(sums <= at[:, None], tf.int32), -1), BRANCHES - 1)
            at -= tf.gather(sums - block, child, batch_dims=1)
            index = index * BRANCHES + child
        return tf.minimum(index, self.size - 1)

    def read(self, index: tf.Tensor) -> tf.Tensor:
        """Returns numbers by their places, (B,) float64."""
        return tf.gather(self.levels[0], index)


def _blocks(level: tf.Variable, block: tf.Tensor) -> tf.Tensor:
    """Returns blocks of a level by their numbers, (B, 64)."""
    return tf.gather(level, block[:, None] * BRANCHES + tf.range(BRANCHES))


def _double(values: Any) -> tf.Tensor:
    """Returns numbers as float64; TensorFlow alone would round lists to float32 first."""
    return tf.cast(values if tf.is_tensor(values) else np.asarray(values), tf.float64)
