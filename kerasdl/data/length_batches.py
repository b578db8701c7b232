"""Batches of texts of similar length, each cut to its longest text, so that little padding is computed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks

from . import trees
from .batching.samplers import LengthBuckets
from .dataset import Dataset
from .images import Scale
from .sources import Examples

STEP = 8
"""Batches are cut to a multiple of so many tokens, so that few lengths are compiled."""


@dataclass(eq=False)
class CutExamples(Examples):
    """Padded examples whose batches are cut behind the last token that is no padding."""

    padding_id: int = 0
    """Id of the padding in the inputs."""

    def gather(self, image_shape: tuple | None, scale: Scale | None) -> Callable[[tf.Tensor], Any]:
        """Returns a function from a batch of indices to the cut element of a pipeline."""
        read = super().gather(image_shape, scale)
        whole = self.inputs.shape[1]

        def gather(places: tf.Tensor) -> Any:
            inputs, labels, weights = trees.unpacked(read(places))
            used = tf.reduce_any(inputs != self.padding_id, axis=0)
            last = tf.reduce_max(tf.where(used, tf.range(1, whole + 1), 1))
            length = tf.minimum(-(-last // STEP) * STEP, whole)
            cut = [None if each is None else _cut(each, whole, length) for each in (inputs, labels, weights)]
            return trees.packed(*cut)

        return gather


def _cut(tensor: tf.Tensor, whole: int, length: tf.Tensor) -> tf.Tensor:
    """Returns a tensor of one entry a token (B, T, ...) cut to a length; others as they are."""
    per_token = tensor.shape.rank is not None and tensor.shape.rank > 1 and tensor.shape[1] == whole
    return tensor[:, :length] if per_token else tensor


def bucket_by_length(dataset: Dataset, batch_size: int = 32, *, pool: int = 50, padding_id: int = 0) -> Dataset:
    """Returns token ids in batches of texts of similar length, each as long as its longest text.

    A net with masks gives the same outputs for less padding; it must take any length (`length=None`). Batches are
    those of `LengthBuckets`, so that each epoch has another order; lengths are rounded up to a multiple of 8.

    Args:
        dataset: token ids, int (N, T) with padding behind, or of different lengths; labels and weights may be one an
            example, or one a token.
        batch_size: examples a batch.
        pool: number of batches that are sorted together; with more there is less padding and less randomness.
        padding_id: id of the padding; labels of padded positions are -1.

    Returns:
        The dataset, whose batches are (B, t) with t up to T.

    Raises:
        ArgumentError: the inputs are no token ids in memory, or a number breaks its rule.

    Example:
        >>> ids = np.array([[4, 0] * 1 + [0] * 30, [5] * 32, [6] + [0] * 31, [7] * 32], "int32")
        >>> data = bucket_by_length(as_dataset((ids, np.zeros(4, "int32"))), batch_size=2)
        >>> sorted(int(x.shape[1]) for x, _ in data.batches())
        [8, 32]
    """
    inputs = dataset.source.inputs if dataset.any_order else None
    if isinstance(inputs, trees.Ragged):
        inputs = _padded(inputs, padding_id)
    if not isinstance(inputs, np.ndarray) or inputs.ndim != 2 or inputs.dtype.kind not in "iu":
        rule = "bucket_by_length takes token ids in memory, integers (N, T)"
        checks.refuse(rule, dataset.name, "Turn texts into ids first, by Bundle.ready or Tokenizer.encode_batch.")
    labels, weights = (
        _padded(each, filler) if isinstance(each, trees.Ragged) else each
        for each, filler in ((dataset.source.labels, -1), (dataset.source.weights, 0))
    )
    places = np.arange(1, inputs.shape[1] + 1)
    lengths = np.where(inputs == padding_id, 0, places).max(1, initial=0)
    examples = CutExamples(inputs, labels, weights, padding_id=checks.at_least("padding_id", padding_id, 0))
    return dataset.of_examples(examples).batched_by(LengthBuckets(lengths, batch_size, pool))


def _padded(ragged: trees.Ragged, filler: int) -> np.ndarray:
    """Returns rows of different length as one array (N, T), with a filler behind each."""
    array = np.full((len(ragged), max(int(ragged.lengths.max(initial=0)), 1)), filler, ragged.values.dtype)
    array[np.arange(array.shape[1]) < ragged.lengths[:, None]] = ragged.values
    return array
