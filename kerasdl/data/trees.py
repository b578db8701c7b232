"""Trees of arrays: dicts and tuples whose leaves hold one row per example."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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


class LazyMaps:
    """Maps of classes (H, W), one per example, read from files or other items on demand, at a size of choice.

    Args:
        items: what `read` makes the maps of, such as files.
        read: function from an item to its map, (H, W) uint8.
        sizes: (N, 2) height and width of each map as it is given out.

    Example:
        >>> maps = LazyMaps([1, 2], lambda item: np.full((4, 6), item, np.uint8), [(4, 6), (4, 6)])
        >>> maps.shape, resized_maps(maps, 2, 3)[1].tolist()
        ((2, 4, 6), [[2, 2, 2], [2, 2, 2]])
    """

    dtype, ndim = np.dtype(np.uint8), 3

    def __init__(self, items: Sequence, read: Callable[[Any], np.ndarray], sizes: Any):
        self.items, self.read, self.sizes = items, read, np.asarray(sizes, np.int64).reshape(-1, 2)
        self._array: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: Any) -> Any:
        """Returns the map of one example, or the `LazyMaps` of an array of indices."""
        if np.ndim(place) == 0:
            return self._one(place) if self._array is None else self._array[place]
        part = LazyMaps([self.items[each] for each in place], self.read, self.sizes[place])
        part._array = None if self._array is None else self._array[place]
        return part

    @property
    def shape(self) -> tuple:
        """Shape, with None for height and width that differ."""
        same = len(self) and (self.sizes == self.sizes[0]).all()
        return (len(self), *(self.sizes[0].tolist() if same else (None, None)))

    @property
    def nbytes(self) -> int:
        """Size of all maps in bytes, read or not."""
        return int(self.sizes.prod(axis=1).sum())

    def tobytes(self) -> bytes:
        """Returns the sizes and a few maps as bytes, by which data are told apart."""
        few = np.unique(np.linspace(0, len(self) - 1, 8).astype(int)) if len(self) else ()
        return b"".join([self.sizes.tobytes(), *(self[place].tobytes() for place in few)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if None in self.shape:
            raise ValueError("Maps of several sizes are no array. Resize the images first.")
        if self._array is None:
            with ThreadPoolExecutor() as pool:
                self._array = np.stack(list(pool.map(self._one, range(len(self)))))
        return self._array if dtype is None else self._array.astype(dtype)

    def _one(self, place: int) -> np.ndarray:
        return resized_maps(self.read(self.items[place])[np.newaxis], *self.sizes[place].tolist())[0]


class LazyMasks(LazyMaps):
    """Masks of objects (N, H, W), one array per example, drawn on demand at a size of choice; see `LazyMaps`.

    Args:
        items: what `read` draws the masks of.
        read: function from an item to its masks, (N, H, W) uint8.
        sizes: (B, 2) height and width of each example.
        lengths: (B,) number of objects of each example.

    Example:
        >>> masks = LazyMasks([2, 0], lambda count: np.ones((count, 4, 6), np.uint8), [(4, 6), (4, 6)], [2, 0])
        >>> masks.shape, resized_maps(masks, 2, 3)[0].shape
        ((2, None, 4, 6), (2, 2, 3))
    """

    ndim = 4

    def __init__(self, items: Sequence, read: Callable[[Any], np.ndarray], sizes: Any, lengths: Any):
        super().__init__(items, read, sizes)
        self.lengths = np.asarray(lengths, np.int64)

    def __getitem__(self, place: Any) -> Any:
        if np.ndim(place) == 0:
            return resized_maps(self.read(self.items[place]), *self.sizes[place].tolist())
        items = [self.items[each] for each in place]
        return LazyMasks(items, self.read, self.sizes[place], self.lengths[place])

    @property
    def shape(self) -> tuple:
        """Shape, with None for the number of objects, and for height and width that differ."""
        count, *size = super().shape
        return (count, None, *size)

    @property
    def nbytes(self) -> int:
        """Size of all masks in bytes."""
        return int((self.sizes.prod(axis=1) * self.lengths).sum())

    def rows(self) -> Ragged:
        """Returns all masks, of one size, in memory."""
        return Ragged.of([self[place] for place in range(len(self))])

    def tensor(self) -> tf.RaggedTensor:
        """Returns all masks as one ragged tensor."""
        return self.rows().tensor()


def in_memory(tree: Any) -> Any:
    """Returns a tree with its lazy maps as arrays and its lazy masks as `Ragged`."""

    def read(leaf: Any) -> Any:
        if isinstance(leaf, LazyMasks):
            return leaf.rows()
        return np.asarray(leaf) if isinstance(leaf, LazyMaps) else leaf

    return mapped(read, tree)


def resized_maps(maps: Any, height: int, width: int) -> Any:
    """Returns maps of pixels in another size, without blending: each pixel takes the nearest.

    Args:
        maps: (B, h, w), `RaggedMaps`, `LazyMaps`, or the masks (N, h, w) of each example, `Ragged`, `LazyMasks` or an
            array.
        height: height of the result in pixels.
        width: width of the result in pixels.

    Example:
        >>> resized_maps(np.array([[[1, 2], [3, 4]]]), 1, 4).tolist()
        [[[3, 3, 4, 4]]]
    """
    if isinstance(maps, LazyMasks):
        return LazyMasks(maps.items, maps.read, [(height, width)] * len(maps), maps.lengths)
    if isinstance(maps, LazyMaps):
        return LazyMaps(maps.items, maps.read, [(height, width)] * len(maps))
    if isinstance(maps, RaggedMaps):
        return np.stack([resized_maps(each[np.newaxis], height, width)[0] for each in maps])
    if isinstance(maps, Ragged):
        return Ragged(resized_maps(maps.values, height, width), maps.lengths)
    rows, columns = (
        ((2 * np.arange(new) + 1) * old // (2 * new)) for new, old in zip((height, width), maps.shape[-2:], strict=True)
    )
    return maps[..., rows[:, np.newaxis], columns]


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
