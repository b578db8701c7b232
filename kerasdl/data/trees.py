"""Trees of arrays: dicts and tuples whose leaves hold one row per example."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

MAPS = ("panoptic", "semantic", "pixel_weights")
"""Labels (H, W) of the pixels of an image."""
MOVING = ("boxes", "masks", *MAPS)
"""Labels that move with their image."""


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
        if not len(place):
            return Ragged(self.values[:0], self.lengths[:0])
        return type(self).of([self[each] for each in place])

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


class RaggedMaps(Ragged):
    """Maps (H, W) of the pixels of images of several sizes, one per example.

    Example:
        >>> maps = RaggedMaps.of([np.zeros((2, 3)), np.zeros((4, 4))])
        >>> maps.shape, maps[0].shape
        ((2, None), (2, 3))
    """

    def __init__(self, values: np.ndarray, sizes: Sequence[tuple[int, int]]):
        self.sizes = np.array(sizes, np.int64).reshape(-1, 2)
        super().__init__(values, self.sizes.prod(axis=1))

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray]) -> "RaggedMaps":
        """Returns maps (H, W) of any sizes as one `RaggedMaps`."""
        return cls(np.concatenate([np.ravel(each) for each in arrays]), [each.shape for each in arrays])

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return found if np.ndim(place) else found.reshape(self.sizes[place])


def resized_maps(maps: Any, height: int, width: int) -> Any:
    """Returns maps of pixels in another size, without blending: each pixel takes the nearest.

    Args:
        maps: (B, h, w), `RaggedMaps`, or a `Ragged` of the masks (N, h, w) of each example.
        height: height of the result in pixels.
        width: width of the result in pixels.

    Example:
        >>> resized_maps(np.array([[[1, 2], [3, 4]]]), 1, 4).tolist()
        [[[3, 3, 4, 4]]]
    """
    if isinstance(maps, RaggedMaps):
        return np.stack([resized_maps(each[np.newaxis], height, width)[0] for each in maps])
    if isinstance(maps, Ragged):
        return Ragged(resized_maps(maps.values, height, width), maps.lengths)
    rows, columns = (
        ((2 * np.arange(new) + 1) * old // (2 * new)) for new, old in zip((height, width), maps.shape[1:3], strict=True)
    )
    return maps[:, rows[:, np.newaxis], columns]


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
