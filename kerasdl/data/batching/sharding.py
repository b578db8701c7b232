"""Sharding of batches into parts for replicas: every example lies in one part, and no part is empty.

A part is a pair (batch, weight). The weight is the part's number of examples over the mean number of a part, so that
the mean over replicas of `weight * (mean loss of the part)` is the mean loss of the whole batch, uneven parts included.
If a batch has fewer examples than there are replicas, an otherwise empty part holds a placeholder of weight 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Share:
    """The replicas of one process among all that train together."""

    first: int
    """Number of its first replica, from 0 over all processes."""
    count: int
    """Number of replicas of this process."""
    of: int
    """Number of replicas of all processes."""

    @property
    def parts(self) -> range:
        """Numbers of the parts of this process."""
        return range(self.first, self.first + self.count)

    def batch_size(self, part: int, batch_size: int) -> int:
        """Returns the number of examples of a part of a full batch; the last batch of an epoch may have fewer."""
        return batch_size // self.of + (part < batch_size % self.of)


@dataclass(frozen=True)
class Part:
    """Examples that one replica reads in an epoch."""

    positions: np.ndarray
    """Positions in the order of the epoch, batch after batch."""
    weights: np.ndarray
    """The weight of each of its batches, float64: float32 would round 6/5."""
    sizes: np.ndarray
    """Number of examples of each of its batches, int64."""


def parts_of(sizes: np.ndarray, start: int, share: Share) -> Iterator[Part]:
    """Yields the parts of a share.

    Args:
        sizes: examples in each whole batch of an epoch.
        start: number of whole batches to skip.
        share: the replicas whose parts are yielded.
    """
    firsts = (np.cumsum(sizes) - sizes)[start:]
    sizes = sizes[start:]
    for part in share.parts:
        low, high, count = _bounds(sizes, part, share.of)
        places = [np.arange(first + a, first + b) for first, a, b in zip(firsts, low, high, strict=True)]
        yield Part(np.concatenate([np.zeros(0, np.int64), *places]), share.of * count / sizes, high - low)


def batch_sizes(size: int, batch_size: int) -> np.ndarray:
    """Returns the number of examples of each batch of an epoch; the last batch has the rest."""
    return np.minimum(batch_size, size - np.arange(0, size, batch_size))


def cut(batches: tf.data.Dataset, share: Share) -> tf.data.Dataset:
    """Returns, for each whole batch of a pipeline, the tuple of this process's parts."""

    def parts(*batch):
        size = rows_in(batch)
        return tuple(one(batch, size, part) for part in share.parts)

    def one(batch, size, part):
        low, high, count = _bounds(size, part, share.of)
        weight = share.of * tf.cast(count, tf.float64) / tf.cast(size, tf.float64)
        return tf.nest.map_structure(lambda whole: whole[low:high], batch), weight

    return batches.map(parts, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def rows_in(batch: Any) -> tf.Tensor:
    """Returns the number of examples in a batch, int64."""
    first = tf.nest.flatten(batch)[0]
    return first.nrows() if isinstance(first, tf.RaggedTensor) else tf.shape(first, tf.int64)[0]


def _bounds(size, part: int, of: int):
    """Returns begin and end of a part in a batch, and the number of examples that count (0 for a placeholder).

    If the size does not divide, the first parts have one example more, so no part of a smaller batch is larger.
    """
    least, most = (np.minimum, np.maximum) if isinstance(size, np.ndarray) else (tf.minimum, tf.maximum)
    low, high = (number * (size // of) + least(size % of, number) for number in (part, part + 1))
    first = least(size - 1, low)
    return first, first + most(high - low, 1), high - low
