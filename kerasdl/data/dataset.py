"""The record of a dataset and its pipeline: every batch of every epoch follows from the seed alone."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import DataError

from .drawing import augment_seeds, augmented, mixed, mixing_seeds, ready
from .images import Scale, check_image_shape, check_scale, level_table, scale_pixels
from .pipelines import refuse_endless
from .sharding import Part, Share, cut, parts_of
from .sources import Examples, Stream, collect, looked_up

FINGERPRINT_EXAMPLES = 32


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled examples: what they are, and batches of them in an order that a seed fixes.

    Made by `load` and `as_dataset`.

    Example:
        >>> load("digits").per_class(10).size
        100
    """

    name: str
    """What was asked for, such as `digits` or `folder:flowers`."""
    task: str
    """The name of a registered task, such as `image_classification`, or `unknown`."""
    class_names: tuple[str, ...]
    """The name of each class, in the order of the labels; empty where there are none."""
    input_shape: tuple[int | None, ...]
    """The shape of one input; height and width are None where images differ in size and no shape was asked for."""
    input_dtype: str
    """The type of a batch's inputs: `float32`, `uint8` for raw pixels, or what a given array holds."""
    size: int | None
    """How many examples there are; None where a foreign pipeline does not say."""
    licence: str
    """The terms under which the data may be used."""
    seekable: bool
    """Whether batches can start anywhere in any epoch, so that a killed run resumes in the middle of one."""
    scale: Scale | None
    """What the pixel levels 0 and 255 become; None for raw pixels and for data that are no images."""
    source: Any = dataclasses.field(repr=False)
    """Where the examples come from: `Examples`, `Stream`, or a foreign `tf.data.Dataset`."""
    images: bool = False
    """Whether the source holds raw uint8 images, which `prepared` can resize and scale anew."""
    feature_names: tuple[str, ...] = ()
    """The name of each feature of tabular data."""
    feature_mean: tuple[float, ...] = ()
    """What was subtracted from each feature: its mean over the train split."""
    feature_std: tuple[float, ...] = ()
    """What each feature was divided by: its standard deviation over the train split."""
    levels: int | None = None
    """The value that became white in image files of 16 bits; None where that is 65535, or there are no files."""

    def batches(
        self,
        batch_size: int = 32,
        *,
        shuffle: bool = False,
        seed: int = 0,
        epoch: int = 0,
        start: int = 0,
        augment: Callable | None = None,
        mix: Callable | None = None,
        share: Share | None = None,
    ) -> tf.data.Dataset:
        """Returns the batches of one epoch, from batch `start` on; equal arguments give bit-equal batches.

        A foreign pipeline is returned as it is: it has its own batch size and order, and `start` skips by reading.

        Args:
            batch_size: examples a batch, 1 or more; the last batch may be smaller.
            shuffle: whether the order is drawn anew for each epoch; a stream is shuffled in a window of 2048.
            seed: the run's seed, 0 or more.
            epoch: which epoch's order, from 0.
            start: how many batches to leave out.
            augment: a function from one image (as a batch holds it) and a seed, int32 (2,), to an image of the same
                shape. It must draw by that seed alone (`tf.image.stateless_*`).
            mix: a function from the images and labels of a batch and a seed to those of a blended batch, such as
                `data.augment.Mixup`. With a share, each replica's part is blended by itself.
            share: which replicas' parts of each batch to read, where several compute together; see `data.sharding`.

        Returns:
            Pairs (inputs, labels): inputs (B, *input_shape); labels (B,), int32 for classes, float32 for figures.
            With a share, tuples with a pair ((inputs, labels), weight) for each of its replicas.

        Raises:
            ArgumentError: an argument breaks its rule.
            DataError: the images differ in size and no shape was asked for.

        Example:
            >>> x, y = next(iter(load("digits").batches(64, shuffle=True, seed=1, epoch=3)))
            >>> x.shape, y.dtype
            (TensorShape([64, 32, 32, 1]), tf.int32)
        """
        checks.at_least("batch_size", batch_size, 1)
        for name, value in {"seed": seed, "epoch": epoch, "start": start}.items():
            checks.at_least(name, value, 0)
        if isinstance(self.source, tf.data.Dataset):
            if augment is not None or mix is not None:
                rule = "augment and mix need data from kerasdl.data or arrays"
                checks.refuse(rule, "a tf.data.Dataset", "Map it yourself.")
            source = self.source.skip(start) if start else self.source
            return source if share is None else cut(source, share)
        if isinstance(self.source, Stream):
            rng = np.random.default_rng((seed, epoch)) if shuffle else None
            pipeline = self._stream(batch_size, rng, start)
            if augment is not None:
                seeds = augment_seeds(seed, epoch, self.size)[start * batch_size :]
                pipeline = augmented(pipeline, augment, seeds, batch_size)
            if mix is not None:
                pipeline = mixed(pipeline, mix, mixing_seeds(seed, epoch, self.steps(batch_size))[start:])
            return ready(pipeline if share is None else cut(pipeline, share))
        draw = self._drawing(batch_size, shuffle, seed, share)
        return ready(self._assembled(draw(epoch, start), batch_size, augment, mix, share))

    def stream(
        self,
        batch_size: int = 32,
        *,
        shuffle: bool = False,
        seed: int = 0,
        epoch: int = 0,
        start: int = 0,
        augment: Callable | None = None,
        mix: Callable | None = None,
        share: Share | None = None,
    ) -> tf.data.Dataset:
        """Returns the batches of an epoch and of all that follow, without end; else as `batches`.

        One pipeline for a whole run saves making one for each epoch, some 50 ms. Of data that can be read in any order
        alone.

        Args:
            batch_size: as in `batches`, like `shuffle`, `seed`, `augment`, `mix` and `share`.
            epoch: the first epoch.
            start: how many batches of the first epoch to leave out.

        Returns:
            What `batches` returns, epoch after epoch.

        Raises:
            ArgumentError: the data can be read from their start alone.

        Example:
            >>> data = load("iris")
            >>> rows = data.stream(30, shuffle=True).skip(3).take(1)
            >>> np.array_equal(next(iter(rows))[0], next(iter(data.batches(30, shuffle=True, epoch=1)))[0])
            True
        """
        if not isinstance(self.source, Examples):
            checks.refuse("stream needs data that can be read in any order", self.name, "Use batches.")
        draw = self._drawing(batch_size, shuffle, seed, share)
        self.source.tensors(self._image_shape())  # read now, not while a pipeline is traced
        kinds = [tf.int64, tf.int32, tf.float64, tf.int32] * (1 if share is None else share.count)

        @tf.autograph.experimental.do_not_convert
        def one(number):
            first = tf.where(number == epoch, tf.constant(start, tf.int64), 0)
            rows = tf.numpy_function(lambda e, s: draw(int(e), int(s)), [number, first], kinds, stateful=False)
            for place, rank in enumerate([(None,), (None, 2), (None,), (None, 2)] * (len(kinds) // 4)):
                rows[place].set_shape(rank)
            return self._assembled(rows, batch_size, augment, mix, share)

        return ready(tf.data.Dataset.range(epoch, np.iinfo(np.int64).max).flat_map(one))

    def _drawing(
        self, batch_size: int, shuffle: bool, seed: int, share: Share | None
    ) -> Callable[[int, int], list[np.ndarray]]:
        """Returns a function from an epoch and its first batch to what `_assembled` takes of each part."""

        def draw(epoch: int, start: int) -> list[np.ndarray]:
            order = np.random.default_rng((seed, epoch)).permutation(self.size) if shuffle else np.arange(self.size)
            seeds = augment_seeds(seed, epoch, self.size)
            of_batches = mixing_seeds(seed, epoch, self.steps(batch_size))[start:]
            whole = Part(np.arange(start * batch_size, self.size), np.zeros(0))
            parts = [whole] if share is None else parts_of(self.size, batch_size, start, share)
            rows = [(order[part.positions], seeds[part.positions], part.weights, of_batches) for part in parts]
            return [row for part in rows for row in part]

        return draw

    def _assembled(
        self,
        rows: Sequence,
        batch_size: int,
        augment: Callable | None,
        mix: Callable | None,
        share: Share | None,
    ) -> tf.data.Dataset:
        """Returns the batches of an epoch from indices, augment seeds, weights and mixing seeds of each part."""
        sizes = [batch_size] if share is None else [share.batch_size(part, batch_size) for part in share.parts]
        parts = []
        for place, size in enumerate(sizes):
            order, seeds, weights, of_batches = rows[4 * place : 4 * place + 4]
            examples = self._indexed(order, size)
            if augment is not None:
                examples = augmented(examples, augment, seeds, size)
            if mix is not None:
                examples = mixed(examples, mix, of_batches)
            if share is None:
                return examples
            parts.append(tf.data.Dataset.zip(examples, tf.data.Dataset.from_tensor_slices(weights)))
        return tf.data.Dataset.zip(tuple(parts))

    def fingerprint(self) -> str:
        """Returns a short digest of labels, scale and a few inputs, by which a run knows its data; empty for a stream.

        Example:
            >>> load("digits").fingerprint() == load("digits", "test").fingerprint()
            False
        """
        if not isinstance(self.source, Examples):
            return ""
        few = np.unique(np.linspace(0, self.size - 1, FINGERPRINT_EXAMPLES).astype(int))
        inputs = self.source.reader(self._image_shape())(few)
        parts = [self.source.labels.tobytes(), np.ascontiguousarray(inputs).tobytes(), repr(self.scale).encode()]
        return hashlib.sha256(b"".join(parts)).hexdigest()[:16]

    def steps(self, batch_size: int) -> int | None:
        """Returns the number of batches in an epoch, or None where it is not known.

        Raises:
            ArgumentError: `batch_size` breaks its rule.

        Example:
            >>> load("digits").steps(32)
            34
        """
        if isinstance(self.source, tf.data.Dataset):
            count = int(self.source.cardinality())
            return count if count >= 0 else None
        return math.ceil(self.size / checks.at_least("batch_size", batch_size, 1))

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns all inputs and labels as `batches` would give them, unshuffled.

        Raises:
            ArgumentError: the data never end.
            DataError: there are none, or the images differ in size and no shape was asked for.

        Example:
            >>> load("iris").arrays()[0].shape
            (90, 4)
        """
        if isinstance(self.source, Examples):
            inputs = self.source.reader(self._image_shape())(np.arange(self.size))
            return scale_pixels(inputs, self.scale if self.images else None), self.source.labels
        refuse_endless(f"{self.name}, taken as arrays,", self, "Use take(n) first.")
        parts = list(self.batches(256).as_numpy_iterator())
        if not parts:
            raise DataError(f"{self.name} holds no batches. Check the pipeline that was given.")
        return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])

    def take(self, count: int) -> "Dataset":
        """Returns the first `count` examples; those of a stream or a foreign pipeline are read into memory.

        Raises:
            ArgumentError: there are fewer.

        Example:
            >>> load("digits").take(50).size
            50
        """
        checks.at_least("count", count, 1)
        if isinstance(self.source, Examples):
            found = self.source.pick(np.arange(min(count, self.size)))
        else:
            found = self._read_first(count)
        if len(found) < count:
            checks.refuse(f"count must be at most {len(found)}, the size of {self.name}", count)
        return dataclasses.replace(self, source=found, size=count, seekable=True)

    def sample(self, count: int, seed: int = 0) -> "Dataset":
        """Returns at most `count` examples drawn by `seed`, over all classes; of a stream or a pipeline, the first.

        Raises:
            ArgumentError: `count` breaks its rule.

        Example:
            >>> load("digits").sample(100).size
            100
        """
        checks.at_least("count", count, 1)
        if isinstance(self.source, Examples):
            found = self.source.pick(np.random.default_rng(seed).permutation(self.size)[:count])
        else:
            found = self._read_first(count)
        return dataclasses.replace(self, source=found, size=len(found), seekable=True)

    def _read_first(self, count: int) -> Examples:
        examples = self.source.examples if isinstance(self.source, Stream) else self.source.unbatch()
        return collect(examples.take(count))

    def per_class(self, count: int, seed: int = 0) -> "Dataset":
        """Returns `count` examples of every class, drawn by `seed`; a larger count contains the smaller one.

        Raises:
            ArgumentError: a class has fewer, or the data have no classes or cannot be read in any order.

        Example:
            >>> load("glyphs").per_class(3).size
            78
        """
        checks.at_least("count", count, 1)
        checks.at_least("seed", seed, 0)
        if not self.class_names or not isinstance(self.source, Examples):
            checks.refuse("per_class needs data with classes, in memory or in files", self.name, "Use take(n) first.")
        rng, picked = np.random.default_rng(seed), []
        for label, name in enumerate(self.class_names):
            members = rng.permutation(np.flatnonzero(self.source.labels == label))
            if len(members) < count:
                checks.refuse(f"count must be at most {len(members)}, the size of class {name!r} in {self.name}", count)
            picked.append(members[:count])
        indices = np.sort(np.concatenate(picked))
        return dataclasses.replace(self, source=self.source.pick(indices), size=len(indices))

    def prepared(self, image_shape: tuple | None = None, scale: Scale | None = (-1.0, 1.0)) -> "Dataset":
        """Returns the same raw images at another size and scale.

        Args:
            image_shape: (height, width, channels); None keeps the present one.
            scale: what the levels 0 and 255 become, each a number or one for each channel; None gives raw uint8 pixels.

        Raises:
            ArgumentError: the data are no raw uint8 images.

        Example:
            >>> load("digits").prepared((64, 64, 3)).input_shape
            (64, 64, 3)
        """
        if not self.images:
            checks.refuse("only raw uint8 images can be resized and scaled anew", f"{self.name} ({self.input_dtype})")
        shape = self.input_shape if image_shape is None else check_image_shape(image_shape)
        scale = check_scale(scale, shape[2])
        dtype = "uint8" if scale is None else "float32"
        return dataclasses.replace(self, input_shape=shape, scale=scale, input_dtype=dtype)

    def _image_shape(self) -> tuple | None:
        if self.images and None in self.input_shape:
            raise DataError(
                f"the images of {self.name} differ in size and batches need one. "
                "Pass image_shape=(height, width, channels) to load, or call .prepared(image_shape)."
            )
        return self.input_shape if self.images else None

    def _indexed(self, order: np.ndarray, batch_size: int) -> tf.data.Dataset:
        shape, scale = self._image_shape(), self.scale if self.images else None
        indices = tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
        if (tensors := self.source.tensors(shape)) is None:
            return indices.map(self._reader(shape, scale), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        inputs, labels = tensors
        table = None if scale is None else level_table(scale)

        def gather(picked):
            found, targets = tf.gather(inputs, picked), tf.gather(labels, picked)
            return (found if table is None else looked_up(table, found)), targets

        return indices.map(gather, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _reader(self, shape: tuple | None, scale: Scale | None) -> Callable:
        """Returns what reads examples that are not held as tensors."""
        read, labels = self.source.reader(shape), self.source.labels

        def gather(indices):
            inputs, targets = tf.numpy_function(
                lambda picked: (scale_pixels(read(picked), scale), labels[picked]),
                [indices],
                (tf.as_dtype(self.input_dtype), tf.as_dtype(labels.dtype)),
                stateful=False,
            )
            inputs.set_shape((None, *self.input_shape))
            targets.set_shape((None, *labels.shape[1:]))
            return inputs, targets

        return gather

    def _stream(self, batch_size: int, rng: np.random.Generator | None, start: int) -> tf.data.Dataset:
        shuffle_seed = None if rng is None else int(rng.integers(2**31))
        batches = self.source.ordered(self._image_shape(), shuffle_seed).skip(start * batch_size).batch(batch_size)
        if not self.images or self.scale is None:
            return batches

        def rescale(pixels, labels):
            inputs = tf.numpy_function(lambda p: scale_pixels(p, self.scale), [pixels], tf.float32, stateful=False)
            return tf.ensure_shape(inputs, (None, *self.input_shape)), labels

        return batches.map(rescale, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
