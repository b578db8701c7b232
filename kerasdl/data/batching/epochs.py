"""Batches of epochs: one epoch or an endless stream, from any batch on, for examples in any order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks

from ..images import Scale
from ..sources import Examples
from .drawing import augment_seeds, augmented, mixed, mixing_seeds, ready
from .sharding import Part, Share, batch_sizes, parts_of

FIELDS = 5  # number of arrays that describe the batches of a part


@dataclass(frozen=True)
class Epochs:
    """All settings that determine the batches of an epoch."""

    examples: Examples
    image_shape: tuple | None
    """Shape of the resized images; None for data other than images."""
    scale: Scale | None
    batch_size: int
    shuffle: bool
    seed: int
    augment: Callable | None
    mix: Callable | None
    share: Share | None
    sampler: Callable | None = None
    """Sampler that draws the batches of an epoch; None cuts an order into batches of `batch_size`."""

    def batches(self, epoch: int, start: int) -> tf.data.Dataset:
        """Returns the batches of one epoch, from batch `start` on."""
        return ready(self._assembled(self._described(epoch, start)))

    def stream(self, epoch: int, start: int) -> tf.data.Dataset:
        """Returns the batches of an epoch and of all later ones, without end."""
        self.examples.gather(self.image_shape, self.scale)  # loads the arrays now, not while a pipeline is traced
        count = 1 if self.share is None else self.share.count
        kinds, shapes = (
            [tf.int64, tf.int32, tf.float64, tf.int64, tf.int32],
            [(None,), (None, 2), *[(None,)] * 2, (None, 2)],
        )

        @tf.autograph.experimental.do_not_convert
        def one(number):
            first = tf.where(number == epoch, tf.constant(start, tf.int64), 0)
            describe = lambda e, s: self._described(int(e), int(s))  # noqa: E731
            fields = tf.numpy_function(describe, [number, first], kinds * count, stateful=False)
            for field, shape in zip(fields, shapes * count, strict=True):
                field.set_shape(shape)
            return self._assembled(fields)

        return ready(tf.data.Dataset.range(epoch, np.iinfo(np.int64).max).flat_map(one))

    def sizes(self, epoch: int = 0) -> np.ndarray:
        """Returns the number of examples of each batch of an epoch."""
        return self._order(epoch)[1]

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the indices of the examples in the order of an epoch, and the sizes of its batches."""
        size = len(self.examples)
        if self.sampler is None:
            order = np.random.default_rng((self.seed, epoch)).permutation(size) if self.shuffle else np.arange(size)
            return order, batch_sizes(size, self.batch_size)
        drawn = [np.asarray(each) for each in self.sampler(self.seed, epoch if self.shuffle else 0)]
        _check_drawn(self.sampler, drawn, size)
        return np.concatenate(drawn).astype(np.int64), np.array([len(each) for each in drawn], np.int64)

    def _described(self, epoch: int, start: int) -> list[np.ndarray]:
        """Returns for each part: indices of examples, augmentation seeds, weights, batch sizes, mixing seeds."""
        order, sizes = self._order(epoch)
        seeds = augment_seeds(self.seed, epoch, len(order))
        of_batches = mixing_seeds(self.seed, epoch, len(sizes))[start:]
        whole = Part(np.arange(sizes[:start].sum(), len(order)), np.zeros(0), sizes[start:])
        parts = [whole] if self.share is None else parts_of(sizes, start, self.share)
        rows = [(order[each.positions], seeds[each.positions], each.weights, each.sizes, of_batches) for each in parts]
        return [field for row in rows for field in row]

    def _assembled(self, fields: Sequence) -> tf.data.Dataset:
        share, size = self.share, self.batch_size
        most = [size] if share is None else [share.batch_size(part, size) for part in share.parts]
        parts = []
        for place, most_of_part in enumerate(most):
            order, seeds, weights, sizes, of_batches = fields[FIELDS * place : FIELDS * (place + 1)]
            gather = self.examples.gather(self.image_shape, self.scale)
            batches = self._places(order, sizes, most_of_part)
            batches = batches.map(gather, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            if self.augment is not None:
                batches = augmented(batches, self.augment, seeds, self._batcher(sizes, most_of_part))
            if self.mix is not None:
                batches = mixed(batches, self.mix, of_batches)
            if share is None:
                return batches
            parts.append(tf.data.Dataset.zip(batches, tf.data.Dataset.from_tensor_slices(weights)))
        return tf.data.Dataset.zip(tuple(parts))

    def _places(self, order: Any, sizes: Any, most: int) -> tf.data.Dataset:
        if self.sampler is None:
            return tf.data.Dataset.from_tensor_slices(order).batch(most)
        ends = tf.cumsum(tf.convert_to_tensor(sizes))
        spans = tf.data.Dataset.from_tensor_slices((ends - sizes, ends))
        return spans.map(lambda low, high: tf.convert_to_tensor(order)[low:high])

    def _batcher(self, sizes: Any, most: int) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
        """Returns a function that batches single examples."""
        if self.sampler is None:
            return lambda examples: examples.ragged_batch(most)
        numbers = tf.repeat(tf.range(tf.shape(sizes, tf.int64)[0]), sizes)

        def batched(examples: tf.data.Dataset) -> tf.data.Dataset:
            return tf.data.Dataset.zip(tf.data.Dataset.from_tensor_slices(numbers), examples).group_by_window(
                key_func=lambda number, example: number,
                reduce_func=lambda number, window: window.map(lambda *pair: pair[1]).ragged_batch(
                    tf.gather(sizes, number)
                ),
                window_size_func=lambda number: tf.gather(sizes, number),
            )

        return batched


def _check_drawn(sampler: Callable, drawn: Sequence[np.ndarray], size: int) -> None:
    name = getattr(sampler, "__name__", type(sampler).__name__)
    rule = f"a sampler must give arrays of whole numbers from 0 to {size - 1}, one or more for each batch"
    for number, places in enumerate(drawn):
        if places.ndim != 1 or not places.size or places.dtype.kind not in "iu":
            checks.refuse(rule, f"{places.dtype.name} {places.shape} as batch {number} of {name}")
        if places.min() < 0 or places.max() >= size:
            checks.refuse(rule, f"{places.min()} to {places.max()} as batch {number} of {name}")
    if not drawn:
        checks.refuse(rule, f"no batches from {name}")
