"""What stands behind a dataset: examples that can be read in any order, or a stream that is read from its start."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from .images import stack_pixels, to_pixels

MEMORY_LIMIT = 2**30
TENSOR_LIMIT = 2**28
SHUFFLE_BUFFER = 2048


@dataclass(eq=False)
class Examples:
    """Examples that can be read in any order."""

    inputs: np.ndarray | Sequence
    """An array of features or images; or a list of uint8 images of any size; or a list of image files."""
    labels: np.ndarray
    """One label an example."""
    ready: np.ndarray | None = None
    """The images at the shape last asked for, uint8, where they fit in memory."""
    levels: int | None = None
    """The value that is white in image files of 16 bits; None stands for 65535."""
    _tensors: tuple[tf.Tensor, tf.Tensor] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def reader(self, image_shape: tuple | None) -> Callable[[np.ndarray], np.ndarray]:
        """Returns a function from indices to inputs: images as uint8 of `image_shape`, features as they are."""
        if image_shape is None:
            return self.inputs.__getitem__
        if self.ready is None or self.ready.shape[1:] != image_shape:
            if len(self) * int(np.prod(image_shape)) > MEMORY_LIMIT:
                return lambda indices: stack_pixels([self.inputs[index] for index in indices], image_shape, self.levels)
            self.ready = stack_pixels(self.inputs, image_shape, self.levels)
        return self.ready.__getitem__

    def tensors(self, image_shape: tuple | None) -> tuple[tf.Tensor, tf.Tensor] | None:
        """Returns inputs and labels as tensors on the CPU, where they are arrays and small enough to hold twice."""
        self.reader(image_shape)
        inputs = self.inputs if image_shape is None else self.ready
        if not isinstance(inputs, np.ndarray) or inputs.nbytes + self.labels.nbytes > TENSOR_LIMIT:
            return None
        if self._tensors is None or self._tensors[0].shape[1:] != inputs.shape[1:]:
            with tf.init_scope(), tf.device("CPU:0"):  # kept beyond the pipeline that is traced now
                self._tensors = tf.constant(inputs), tf.constant(self.labels)
        return self._tensors

    def pick(self, indices: np.ndarray) -> "Examples":
        """Returns the examples at `indices`, in that order."""
        is_array = isinstance(self.inputs, np.ndarray)
        inputs = self.inputs[indices] if is_array else [self.inputs[index] for index in indices]
        return Examples(inputs, self.labels[indices], None if self.ready is None else self.ready[indices], self.levels)


@dataclass(eq=False)
class Stream:
    """Examples too many for memory, always in the same order, read from the start."""

    examples: tf.data.Dataset
    """Single `(input, label)` pairs, images as raw uint8 of any size."""
    size: int
    """How many there are."""

    def __len__(self) -> int:
        return self.size

    def ordered(self, image_shape: tuple | None, shuffle_seed: int | None) -> tf.data.Dataset:
        """Returns single examples, images as uint8 of `image_shape`; shuffled in a window, not over the whole."""

        def prepare(image, label):
            pixels = tf.numpy_function(lambda array: to_pixels(array, image_shape), [image], tf.uint8, stateful=False)
            return tf.ensure_shape(pixels, image_shape), label

        examples = self.examples
        if image_shape is not None:
            examples = examples.map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        if shuffle_seed is not None:
            examples = examples.shuffle(SHUFFLE_BUFFER, seed=shuffle_seed, reshuffle_each_iteration=False)
        return examples


def looked_up(table: np.ndarray, pixels: tf.Tensor) -> tf.Tensor:
    """Returns pixels (B, H, W, C) as the levels of a table (256, C) or (256, 1)."""
    places = tf.cast(pixels, tf.int32)
    if table.shape[1] > 1:
        places = places * table.shape[1] + tf.range(table.shape[1])
    return tf.gather(tf.constant(table.ravel()), places)


def collect(examples: tf.data.Dataset, limit: float = float("inf")) -> Examples | None:
    """Reads single `(input, label)` pairs into memory, or returns None once they take more than `limit` bytes."""
    inputs, labels, taken = [], [], 0
    for value, label in examples.as_numpy_iterator():
        inputs.append(value)
        labels.append(label)
        taken += value.nbytes
        if taken > limit:
            return None
    if inputs and len({value.shape for value in inputs}) == 1:
        inputs = np.stack(inputs)
    return Examples(inputs, np.asarray(labels))
