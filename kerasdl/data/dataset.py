"""Dataset record and its deterministic pipeline: the seed decides every batch of every epoch."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import DataError

from . import trees
from .batching.drawing import augment_seeds, augmented, mixed, mixing_seeds, ready
from .batching.epochs import Epochs
from .batching.sharding import Share, batch_sizes, cut
from .example_access import ExampleAccess
from .images import Scale, check_image_shape, check_scale, scale_pixels
from .pipelines import refuse_endless
from .sources import Examples, Stream, collect

FINGERPRINT_EXAMPLES = 32


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(ExampleAccess):
    """Examples with their description, in batches whose order depends on a seed alone.

    An example has inputs, and may have labels and a weight; inputs and labels may be several arrays, nested in dicts
    and tuples. `load` and `as_dataset` return it. `data[0]` is an example, `data[:10]` a dataset, `for x, y in
    data` goes through all examples as NumPy arrays.

    Example:
        >>> load("digits").per_class(10).size
        100
        >>> image, label = load("digits")[0]
        >>> image.shape
        (32, 32, 1)
    """

    name: str
    """Name of the dataset, such as `digits` or `folder:flowers`."""
    task: str
    """The name of a registered task, such as `image_classification`, or `unknown`."""
    class_names: tuple[str, ...]
    """The name of each class, in the order of the labels; empty if there are none."""
    input_shape: tuple[int | None, ...]
    """The shape of one input, the first of several; height and width are None if images differ in size and no
    shape was requested."""
    input_dtype: str
    """The type of a batch's inputs: `float32`, `uint8` for raw pixels, or the dtype of the given array."""
    size: int | None
    """Number of examples; None if a foreign pipeline does not report it."""
    licence: str
    """The terms under which the data may be used."""
    seekable: bool
    """True if batches can start anywhere in any epoch, so that a killed run resumes in the middle of an epoch."""
    scale: Scale | None
    """Values of the pixel levels 0 and 255; None for raw pixels and for data other than images."""
    source: Any = dataclasses.field(repr=False)
    """Source of the examples: `Examples`, `Stream`, or a foreign `tf.data.Dataset`."""
    images: bool = False
    """True if the source holds raw uint8 images, which `prepared` can resize and scale."""
    feature_names: tuple[str, ...] = ()
    """The name of each feature of tabular data."""
    feature_mean: tuple[float, ...] = ()
    """Mean of each feature over the train split, which was subtracted."""
    feature_std: tuple[float, ...] = ()
    """Standard deviation of each feature over the train split, by which it was divided."""
    levels: int | None = None
    """The value that became white in 16-bit image files; None for 65535, or without files."""
    sampler: Callable | None = None
    """Sampler that draws the batches of an epoch; see `batched_by`. None cuts an order into batches of one size."""

    @cached_property
    def spec(self) -> tuple[Any, Any, Any]:
        """Specs of the inputs, labels and weights of a batch; None for a missing part."""
        return trees.unpacked(self.batches(1).element_spec)

    @property
    def labelled(self) -> bool:
        """True if examples have labels."""
        return self.source.labels is not None if self.any_order else self.spec[1] is not None

    @property
    def any_order(self) -> bool:
        """True if examples can be read in any order."""
        return isinstance(self.source, Examples)

    @property
    def foreign(self) -> bool:
        """True if batches come from a pipeline of the user, with its own size and order."""
        return isinstance(self.source, tf.data.Dataset)

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
            shuffle: whether each epoch has a new random order; a stream is shuffled in a window of 2048.
            seed: the run's seed, 0 or more.
            epoch: number of the epoch, from 0.
            start: number of batches to skip.
            augment: a function from one image (as a batch holds it) and a seed, int32 (2,), to an image of the same
                shape. It must use that seed alone (`tf.image.stateless_*`).
            mix: a function from the images and labels of a batch and a seed to those of a blended batch, such as
                `data.augment.Mixup`. With a share, each replica's part is blended separately.
            share: the replicas of this process among all that train together, whose parts of each batch are read; see
                `data.batching.sharding`.

        Returns:
            Pairs (inputs, labels): inputs (B, *input_shape); labels (B,), int32 for classes, float32 for figures. Data
            with weights give (inputs, labels, weights), data without labels the inputs alone. Arrays that differ in
            length, such as boxes, are a `tf.RaggedTensor`. With a share, tuples of a pair (batch, weight) for each of
            its replicas.

        Raises:
            ArgumentError: an argument breaks its rule.
            DataError: the images differ in size and no shape was requested.

        Example:
            >>> x, y = next(iter(load("digits").batches(64, shuffle=True, seed=1, epoch=3)))
            >>> x.shape, y.dtype
            (TensorShape([64, 32, 32, 1]), tf.int32)
        """
        checks.at_least("batch_size", batch_size, 1)
        for name, value in {"seed": seed, "epoch": epoch, "start": start}.items():
            checks.at_least(name, value, 0)
        if self.foreign:
            if augment is not None or mix is not None:
                rule = "augment and mix need data from kerasdl.data or arrays"
                checks.refuse(rule, "a tf.data.Dataset", "Map it yourself.")
            source = self.source.skip(start) if start else self.source
            return source if share is None else cut(source, share)
        if isinstance(self.source, Stream):
            order = int(np.random.default_rng((seed, epoch)).integers(2**31)) if shuffle else None
            scale = self.scale if self.images else None
            pipeline = self.source.batches(batch_size, start, order, self._image_shape(), scale)
            if augment is not None:
                seeds = augment_seeds(seed, epoch, self.size)[start * batch_size :]
                pipeline = augmented(pipeline, augment, seeds, lambda examples: examples.ragged_batch(batch_size))
            if mix is not None:
                pipeline = mixed(pipeline, mix, mixing_seeds(seed, epoch, self.steps(batch_size))[start:])
            return ready(pipeline if share is None else cut(pipeline, share))
        return self._epochs(batch_size, shuffle, seed, augment, mix, share).batches(epoch, start)

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
        """Returns the batches of an epoch and of all later ones, without end; otherwise as `batches`.

        One pipeline for a whole run saves about 50 ms per epoch. It needs data that can be read in any order.

        Args:
            batch_size: as in `batches`, like `shuffle`, `seed`, `augment`, `mix` and `share`.
            epoch: the first epoch.
            start: number of batches of the first epoch to skip.

        Returns:
            The elements of `batches`, epoch after epoch.

        Raises:
            ArgumentError: the data can only be read from their start.

        Example:
            >>> data = load("iris")
            >>> rows = data.stream(30, shuffle=True).skip(3).take(1)
            >>> np.array_equal(next(iter(rows))[0], next(iter(data.batches(30, shuffle=True, epoch=1)))[0])
            True
        """
        if not self.any_order:
            checks.refuse("stream needs data that can be read in any order", self.name, "Use batches.")
        return self._epochs(batch_size, shuffle, seed, augment, mix, share).stream(epoch, start)

    def _epochs(self, batch_size: int, shuffle: bool, seed: int, *changes: Any) -> Epochs:
        shape, scale = self._image_shape(), self.scale if self.images else None
        return Epochs(self.source, shape, scale, batch_size, shuffle, seed, *changes, sampler=self.sampler)

    def batched_by(self, sampler: Callable[[int, int], Sequence[np.ndarray]]) -> "Dataset":
        """Returns the same examples in batches that a sampler draws, instead of batches of one size.

        Args:
            sampler: a function from the seed of a run and an epoch to the indices of the examples of each batch, like
                `LengthBuckets` and `Episodes` of `kerasdl.data`. It must depend on these two numbers alone, and return
                the same number of batches in each epoch.

        Raises:
            ArgumentError: the data can only be read from their start, or the sampler gives no valid indices.

        Example:
            >>> pairs = load("iris").batched_by(lambda seed, epoch: [np.array([0, 1]), np.array([2])])
            >>> [int(x.shape[0]) for x, y in pairs.batches()]
            [2, 1]
        """
        if not self.any_order:
            checks.refuse("batched_by needs data that can be read in any order", self.name, "Use take(n) first.")
        dataset = dataclasses.replace(self, sampler=sampler)
        dataset.sizes(1)
        return dataset

    def sizes(self, batch_size: int) -> np.ndarray | None:
        """Returns the number of examples of each batch of an epoch; None if unknown.

        Raises:
            ArgumentError: `batch_size` breaks its rule.

        Example:
            >>> load("iris").sizes(40)
            array([40, 40, 10])
        """
        if self.any_order and self.sampler is not None:
            return self._epochs(batch_size, True, 0, None, None, None).sizes()
        checks.at_least("batch_size", batch_size, 1)
        return None if self.foreign else batch_sizes(self.size, batch_size)

    def fingerprint(self) -> str:
        """Returns a short digest of labels, scale and a few inputs, which identifies the data; empty for a stream.

        Example:
            >>> load("digits").fingerprint() == load("digits", "test").fingerprint()
            False
        """
        if not self.any_order:
            return ""
        few = np.unique(np.linspace(0, self.size - 1, FINGERPRINT_EXAMPLES).astype(int))
        inputs = trees.leaves(self.source.reader(self._image_shape())(few))
        arrays = [*trees.leaves(self.source.labels), *trees.leaves(self.source.weights)]
        parts = [(leaf.values if isinstance(leaf, trees.Ragged) else leaf).tobytes() for leaf in arrays]
        parts += [np.ascontiguousarray(leaf).tobytes() for leaf in inputs]
        if self.sampler is not None:
            parts += [each.tobytes() for each in self.sampler(0, 0)]
        return hashlib.sha256(b"".join([*parts, repr(self.scale).encode()])).hexdigest()[:16]

    def steps(self, batch_size: int) -> int | None:
        """Returns the number of batches in an epoch, or None if unknown.

        Raises:
            ArgumentError: `batch_size` breaks its rule.

        Example:
            >>> load("digits").steps(32)
            34
        """
        if self.foreign:
            count = int(self.source.cardinality())
            return count if count >= 0 else None
        if self.sampler is not None:
            return len(self.sizes(batch_size))
        return math.ceil(self.size / checks.at_least("batch_size", batch_size, 1))

    def arrays(self) -> tuple[Any, Any]:
        """Returns all inputs and labels as `batches` gives them, unshuffled; None for missing labels.

        Raises:
            ArgumentError: the data are endless.
            DataError: there are none, or the images differ in size and no shape was requested.

        Example:
            >>> load("iris").arrays()[0].shape
            (90, 4)
        """
        if self.any_order:
            inputs = self.source.reader(self._image_shape())(np.arange(self.size))
            return (scale_pixels(inputs, self.scale) if self.images else inputs), trees.in_memory(self.source.labels)
        refuse_endless(f"{self.name}, taken as arrays,", self, "Use take(n) first.")
        parts = [trees.unpacked(element)[:2] for element in self.batches(256).as_numpy_iterator()]
        if not parts:
            raise DataError(f"{self.name} holds no batches. Check the pipeline that was given.")
        return tf.nest.map_structure(lambda *leaves: np.concatenate(leaves), *parts)

    def take(self, count: int) -> "Dataset":
        """Returns the first `count` examples; examples of a stream or a foreign pipeline are read into memory.

        Raises:
            ArgumentError: there are fewer.

        Example:
            >>> load("digits").take(50).size
            50
        """
        checks.at_least("count", count, 1)
        examples = self.source.pick(np.arange(min(count, self.size))) if self.any_order else self._read_first(count)
        if len(examples) < count:
            checks.refuse(f"count must be at most {len(examples)}, the size of {self.name}", count)
        return self.of_examples(examples)

    def sample(self, count: int, seed: int = 0) -> "Dataset":
        """Returns up to `count` examples drawn by `seed` over all classes; of a stream or a pipeline, the first ones.

        Raises:
            ArgumentError: `count` breaks its rule.

        Example:
            >>> load("digits").sample(100).size
            100
        """
        checks.at_least("count", count, 1)
        if self.any_order:
            examples = self.source.pick(np.random.default_rng(seed).permutation(self.size)[:count])
        else:
            examples = self._read_first(count)
        return dataclasses.replace(self, source=examples, size=len(examples), seekable=True, sampler=None)

    def of_examples(self, examples: Examples) -> "Dataset":
        """Returns a dataset with other examples and the same description.

        Raises:
            ArgumentError: a sampler draws its batches, whose indices would name other examples.
        """
        if self.sampler is not None:
            checks.refuse("examples must be chosen before a sampler draws batches of them", self.name)
        return dataclasses.replace(self, source=examples, size=len(examples), seekable=True)

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
        if not self.class_names or not self.any_order or trees.is_nested(self.source.labels):
            checks.refuse("per_class needs data with classes, in memory or in files", self.name, "Use take(n) first.")
        rng, picked = np.random.default_rng(seed), []
        for label, name in enumerate(self.class_names):
            members = rng.permutation(np.flatnonzero(self.source.labels == label))
            if len(members) < count:
                checks.refuse(f"count must be at most {len(members)}, the size of class {name!r} in {self.name}", count)
            picked.append(members[:count])
        return self.of_examples(self.source.pick(np.sort(np.concatenate(picked))))

    def prepared(self, image_shape: tuple | None = None, scale: Scale | None = (-1.0, 1.0)) -> "Dataset":
        """Returns the same raw images at another size and scale, with boxes and masks in pixels of the new size.

        Args:
            image_shape: (height, width, channels); None keeps the current one.
            scale: values of the levels 0 and 255, each a number or one per channel; None gives raw uint8 pixels.

        Raises:
            ArgumentError: the data are not raw uint8 images, or have maps of one size for images of any.

        Example:
            >>> load("digits").prepared((64, 64, 3)).input_shape
            (64, 64, 3)
        """
        if not self.images:
            checks.refuse("only raw uint8 images can be resized and scaled", f"{self.name} ({self.input_dtype})")
        shape = self.input_shape if image_shape is None else check_image_shape(image_shape)
        labels = self.source.labels if self.any_order else None
        moving = sorted(set(trees.MOVING) & set(labels)) if isinstance(labels, Mapping) else []
        source, resizes = self.source, bool(moving) and shape[:2] != self.input_shape[:2]
        if resizes and (maps := [name for name in moving if name != "boxes"]) and None in shape[:2]:
            checks.refuse(f"images with {' and '.join(maps)} must be resized to known sides", shape[:2])
        if resizes:
            source = source.resized(self.input_shape[:2], shape[:2])
        scale = check_scale(scale, shape[2])
        dtype = "uint8" if scale is None else "float32"
        return dataclasses.replace(self, input_shape=shape, scale=scale, input_dtype=dtype, source=source)

    def _image_shape(self) -> tuple | None:
        if self.images and None in self.input_shape:
            raise DataError(
                f"the images of {self.name} differ in size and batches need one. "
                "Pass image_shape=(height, width, channels) to load, or call .prepared(image_shape)."
            )
        return self.input_shape if self.images else None
