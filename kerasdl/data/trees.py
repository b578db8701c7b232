"""Trees of arrays: dicts and tuples whose leaves hold one row per example."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


class Ragged:
    """Arrays of different lengths, one per example, such as the boxes (N, 4) of each image.

    Args:
        values: all arrays, concatenated along the first axis.
        lengths: number of rows of each example.

    Example:
        >>> boxes = Ragged.of([np.zeros((2, 4)), np.zeros((0, 4))])
        >>> boxes.shape, boxes[1].shape
        ((2, None, 4), (0, 4))
    """

    def __init__(self, values: np.ndarray, lengths: np.ndarray):
        self.values, self.lengths = values, lengths
        self._ends = np.cumsum(lengths)

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray]) -> "Ragged":
        """Returns arrays that differ only in their first axis as one `Ragged`."""
        return cls(np.concatenate(arrays), np.array([len(each) for each in arrays], np.int64))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, place: Any) -> Any:
        """Returns the array of one example, or the `Ragged` of an array of indices."""
        if np.ndim(place) == 0:
            return self.values[self._ends[place] - self.lengths[place] : self._ends[place]]
        return Ragged.of([self[each] for each in place]) if len(place) else Ragged(self.values[:0], self.lengths[:0])

    @property
    def shape(self) -> tuple:
        """Shape, with None for the length that differs."""
        return (len(self), None, *self.values.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the values."""
        return self.values.dtype

    @property
    def ndim(self) -> int:
        """Number of axes, including those of examples and lengths."""
        return self.values.ndim + 1

    @property
    def nbytes(self) -> int:
        """Size of the values in bytes."""
        return self.values.nbytes

    def tensor(self) -> tf.RaggedTensor:
        """Returns all arrays as one ragged tensor."""
        return tf.RaggedTensor.from_row_lengths(self.values, self.lengths)


def scaled_rows(rows: Any, factors: np.ndarray) -> Any:
    """Returns the rows of each example, an array or `Ragged`, multiplied by the factors of that example, (B, ...)."""
    if isinstance(rows, Ragged):
        values = rows.values * np.repeat(factors, rows.lengths, axis=0)
        return Ragged(values.astype(rows.dtype), rows.lengths)
    return (rows * factors[:, np.newaxis]).astype(rows.dtype)


def mapped(function: Callable, tree: Any) -> Any:
    """Returns a tree with a function applied to each leaf; None stays None."""
    if isinstance(tree, Mapping):
        return {key: mapped(function, part) for key, part in tree.items()}
    if isinstance(tree, tuple):
        return tuple(mapped(function, part) for part in tree)
    return None if tree is None else function(tree)


def leaves(tree: Any) -> list:
    """Returns the leaves of a tree in their order."""
    collected: list = []
    mapped(collected.append, tree)
    return collected


def is_nested(tree: Any) -> bool:
    """Returns whether a tree is a dict or a tuple, not a single leaf."""
    return isinstance(tree, (Mapping, tuple))


def picked(tree: Any, places: np.ndarray) -> Any:
    """Returns the rows at some indices of each leaf."""
    return mapped(lambda leaf: [leaf[at] for at in places] if isinstance(leaf, list) else leaf[places], tree)


def packed(inputs: Any, labels: Any = None, weights: Any = None) -> Any:
    """Returns an element of a pipeline as Keras takes it: (x, y, w), (x, y), or x alone."""
    if weights is not None:
        return inputs, labels, weights
    if labels is not None:
        return inputs, labels
    return (inputs,) if isinstance(inputs, (tuple, list)) else inputs


def unpacked(element: Any) -> tuple[Any, Any, Any]:
    """Returns inputs, labels and weights of a pipeline's element or its spec; None for a missing part."""
    if not isinstance(element, (tuple, list)):
        return element, None, None
    return (*element, None, None)[:3]
