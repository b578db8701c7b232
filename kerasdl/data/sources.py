"""Sources of a dataset: examples that can be read in any order, and streams."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core.errors import DataError

from . import trees
from .images import Scale, level_table, scale_pixels, stack_pixels, to_pixels

MEMORY_LIMIT = 2**30
TENSOR_LIMIT = 2**28
SHUFFLE_BUFFER = 2048


@dataclass(eq=False)
class Examples:
    """Examples that can be read in any order: trees whose leaves hold one row per example."""

    inputs: Any
    """A tree of arrays; or a list of uint8 images of any size; or a list of image files."""
    labels: Any = None
    """A tree of arrays, some perhaps `Ragged`; None if there are none."""
    weights: Any = None
    """Weight of each example in the loss, or of each of its labels, nested like these; None for 1."""
    ready: np.ndarray | None = None
    """Images at the shape last requested, uint8, if they fit in memory."""
    levels: int | None = None
    """The value that is white in 16-bit image files; None for 65535."""
    sizes: np.ndarray | None = None
    """Height and width of each image, (N, 2), where images of several sizes have boxes in their own pixels."""
    _tensors: Any = None
    _held_leaves: list = field(default_factory=list)

    def __len__(self) -> int:
        return len(trees.leaves(self.inputs)[0])

    def reader(self, image_shape: tuple | None) -> Callable[[np.ndarray], Any]:
        """Returns a function from indices to inputs: images as uint8 of `image_shape`, other inputs unchanged."""
        if image_shape is None:
            return lambda places: trees.picked(self.inputs, places)
        if self.ready is None or self.ready.shape[1:] != image_shape:
            if len(self) * int(np.prod(image_shape)) > MEMORY_LIMIT:
                return lambda places: stack_pixels([self.inputs[place] for place in places], image_shape, self.levels)
            self.ready = stack_pixels(self.inputs, image_shape, self.levels)
        return self.ready.__getitem__

    def gather(self, image_shape: tuple | None, scale: Scale | None) -> Callable[[tf.Tensor], Any]:
        """Returns a function from a batch of indices to the element of a pipeline, images at `scale`.

        It reads rows from tensors on the CPU if all are small enough for a copy, else from arrays in Python.
        """
        read = self.reader(image_shape)
        inputs = self.inputs if image_shape is None else self.ready
        whole = trees.packed(inputs, self.labels, self.weights)
        if inputs is not None and sum(leaf.nbytes for leaf in trees.leaves(whole)) <= TENSOR_LIMIT:
            tensors = self._held(whole)
            table = None if scale is None else level_table(scale)

            def gather(places: tf.Tensor) -> Any:
                element = tf.nest.map_structure(lambda leaf: tf.gather(leaf, places), tensors)
                if table is None:
                    return element
                pixels, labels, weights = trees.unpacked(element)
                return trees.packed(looked_up(table, pixels), labels, weights)

            return gather
        if image_shape is None:
            return lambda places: trees.mapped(lambda leaf: _rows(leaf, places), whole)
        dtype = tf.uint8 if scale is None else tf.float32

        def gather_images(places: tf.Tensor) -> Any:
            scaled = lambda at: scale_pixels(read(at), scale)  # noqa: E731
            images = tf.ensure_shape(tf.numpy_function(scaled, [places], dtype, stateful=False), (None, *image_shape))
            rest = (trees.mapped(lambda leaf: _rows(leaf, places), part) for part in (self.labels, self.weights))
            return trees.packed(images, *rest)

        return gather_images

    def _held(self, whole: Any) -> Any:
        leaves = trees.leaves(whole)
        if len(self._held_leaves) != len(leaves) or any(
            a is not b for a, b in zip(self._held_leaves, leaves, strict=True)
        ):
            with tf.init_scope(), tf.device("CPU:0"):  # outlives the pipeline that is traced now
                self._tensors, self._held_leaves = trees.mapped(_as_tensor, whole), leaves
        return self._tensors

    def pick(self, places: np.ndarray) -> "Examples":
        """Returns the examples at some indices, in that order."""
        parts = [trees.picked(part, places) for part in (self.inputs, self.labels, self.weights)]
        ready, sizes = (None if rows is None else rows[places] for rows in (self.ready, self.sizes))
        return Examples(*parts, ready, self.levels, sizes)

    def resized(self, old: tuple, new: tuple) -> "Examples":
        """Returns the same images with boxes, areas and maps in pixels of another size.

        Args:
            old: height and width in whose pixels the boxes are; None where it is each image's own.
            new: height and width to resize to; None keeps them.

        Raises:
            DataError: all boxes are in shares of their image, or a map has another size than its image.
        """
        sizes = self.sizes
        if sizes is None:
            sizes = [np.shape(each)[:2] for each in self.inputs] if None in old else [old] * len(self)
        sizes = np.asarray(sizes, float)
        targets = np.where([side is None for side in new], sizes, [side or 0 for side in new])
        down, across = (targets / sizes).T
        labels = dict(self.labels)
        refuse_shares(labels.get("boxes"))
        factors = {"boxes": np.stack([across, down, across, down], 1), "areas": across * down}
        for name in factors.keys() & labels.keys():
            labels[name] = trees.scaled_rows(labels[name], factors[name])
        known = None not in new
        for name in [each for each in ("masks", *trees.MAPS) if each in labels]:
            refuse_other_sizes(name, labels[name], sizes)
            labels[name] = trees.resized_maps(labels[name], *new)
        return Examples(self.inputs, labels, self.weights, None, self.levels, None if known else targets)


def refuse_other_sizes(name: str, maps: Any, sizes: np.ndarray) -> None:
    """Refuses maps of which one has another size than its image, before both are resized to one.

    Args:
        name: name of the labels.
        maps: as `trees.resized_maps` takes them.
        sizes: (B, 2) height and width of each image.
    """
    of_sizes = isinstance(maps, (trees.RaggedMaps, trees.LazyMaps))
    given = maps.sizes if of_sizes else (maps.values if isinstance(maps, trees.Ragged) else maps).shape[-2:]
    given = np.broadcast_to(given, sizes.shape)
    wrong = np.flatnonzero((given != sizes).any(axis=1))
    if wrong.size:
        place = int(wrong[0])
        one, other = (tuple(map(int, each[place])) for each in (given, sizes))
        raise DataError(f"{name} must have the size of their images, {other}; got {one} at {place}. Mend the labels.")


def refuse_shares(boxes: Any) -> None:
    """Refuses boxes of which none reaches beyond the first pixel, before a larger size hides that."""
    values = np.asarray(boxes.values if isinstance(boxes, trees.Ragged) else () if boxes is None else boxes)
    if values.size and 0 < values.max() <= 1 and (values.reshape(-1, 4)[:, :2] > 0).any():
        first = values.reshape(-1, 4)[np.argmax(values.reshape(-1, 4).max(axis=1))].tolist()
        raise DataError(f"boxes must be left, top, right, bottom in pixels, not in shares of the image; got {first}.")


def _as_tensor(leaf: Any) -> Any:
    return leaf.tensor() if isinstance(leaf, (trees.Ragged, trees.LazyMasks)) else tf.constant(np.asarray(leaf))


def _rows(leaf: Any, places: tf.Tensor) -> Any:
    """Returns rows of an array too large for a copy, or of arrays of different lengths."""
    if isinstance(leaf, trees.Ragged):
        return tf.gather(_as_tensor(leaf), places)
    if isinstance(leaf, trees.LazyMasks):
        return _drawn_masks(leaf, places)
    texts = leaf.dtype.kind == "U"
    read = (lambda at: np.char.encode(leaf[at], "utf-8")) if texts else lambda at: np.asarray(leaf[at])
    rows = tf.numpy_function(read, [places], tf.string if texts else tf.as_dtype(leaf.dtype), stateful=False)
    return tf.ensure_shape(rows, (None, *leaf.shape[1:]))


def _drawn_masks(masks: trees.LazyMasks, places: tf.Tensor) -> tf.RaggedTensor:
    def draw(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = masks[at].rows()
        return rows.values, rows.lengths

    values, lengths = tf.numpy_function(draw, [places], (tf.uint8, tf.int64), stateful=False)
    return tf.RaggedTensor.from_row_lengths(
        tf.ensure_shape(values, (None, *masks.shape[2:])), tf.ensure_shape(lengths, (None,))
    )


@dataclass(eq=False)
class Stream:
    """Examples too many for memory, read from the start in a fixed order."""

    examples: tf.data.Dataset
    """Single examples as Keras takes them, such as `(input, label)`; images as raw uint8 of any size."""
    size: int
    """Number of examples."""
    raw: tf.data.Dataset | None = None
    """Examples before they came into a letterbox."""

    def __len__(self) -> int:
        return self.size

    def batches(
        self, batch_size: int, start: int, shuffle_seed: int | None, image_shape: tuple | None, scale: Scale | None
    ) -> tf.data.Dataset:
        """Returns batches, images of `image_shape` at `scale`; shuffled within a window only."""

        def prepare(*example):
            image, labels, weights = trees.unpacked(example)
            pixels = tf.numpy_function(lambda array: to_pixels(array, image_shape), [image], tf.uint8, stateful=False)
            if isinstance(labels, Mapping) and "boxes" in labels:
                down, across = tf.unstack(image_shape[:2] / tf.shape(image)[:2])
                factors = tf.cast(tf.stack([across, down, across, down]), labels["boxes"].dtype)
                labels = {**labels, "boxes": labels["boxes"] * factors}
            return trees.packed(tf.ensure_shape(pixels, image_shape), labels, weights)

        def rescale(*batch):
            pixels, labels, weights = trees.unpacked(batch)
            inputs = tf.numpy_function(lambda p: scale_pixels(p, scale), [pixels], tf.float32, stateful=False)
            return trees.packed(tf.ensure_shape(inputs, (None, *image_shape)), labels, weights)

        examples = self.examples
        if image_shape is not None:
            examples = examples.map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        if shuffle_seed is not None:
            examples = examples.shuffle(SHUFFLE_BUFFER, seed=shuffle_seed, reshuffle_each_iteration=False)
        labels = trees.unpacked(examples.element_spec)[1]
        of_lengths = isinstance(labels, Mapping) and "boxes" in labels
        examples = examples.skip(start * batch_size)
        batches = examples.ragged_batch(batch_size) if of_lengths else examples.batch(batch_size)
        if scale is None:
            return batches
        return batches.map(rescale, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def looked_up(table: np.ndarray, pixels: tf.Tensor) -> tf.Tensor:
    """Returns pixels (B, H, W, C) replaced by the values of a table (256, C) or (256, 1)."""
    places = tf.cast(pixels, tf.int32)
    if table.shape[1] > 1:
        places = places * table.shape[1] + tf.range(table.shape[1])
    return tf.gather(tf.constant(table.ravel()), places)


def collect(examples: tf.data.Dataset, limit: float = float("inf")) -> Examples | None:
    """Reads single examples into memory; returns None if they take more than `limit` bytes."""
    elements, taken = [], 0
    for element in examples.as_numpy_iterator():
        elements.append(trees.unpacked(element))
        taken += sum(np.asarray(leaf).nbytes for leaf in trees.leaves(elements[-1]))
        if taken > limit:
            return None
    inputs, labels, weights = zip(*elements, strict=True) if elements else ((), (), None)
    if elements and not trees.is_nested(inputs[0]) and len({np.shape(each) for each in inputs}) > 1:
        inputs = list(inputs)  # images of any size
    else:
        inputs = _stacked(inputs)
    return Examples(inputs, _stacked(labels), None if weights is None else _stacked(weights))


def _stacked(parts: tuple, maps: bool = False) -> Any:
    """Returns trees of one example each stacked into one tree; arrays that differ in length become `Ragged`, maps that
    differ in their sides `RaggedMaps`."""
    if parts and isinstance(parts[0], Mapping):
        return {key: _stacked(tuple(part[key] for part in parts), key in trees.MAPS) for key in parts[0]}
    if parts and isinstance(parts[0], tuple):
        return tuple(map(_stacked, zip(*parts, strict=True)))
    if parts and parts[0] is None:
        return None
    same = len({np.shape(part) for part in parts}) <= 1
    return np.asarray(parts) if same else (trees.RaggedMaps if maps else trees.Ragged).of(parts)
