"""Input checks before a run: shapes and dtypes against the model, and values that are not finite."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core.errors import DataError
from kerasdl.data import Dataset, trees
from kerasdl.data.model_fit import check_dataset_fits

from .label_checks import BEGIN, END


def check_inputs(model: keras.Model, data: Dataset) -> None:
    """Raises where the inputs of a dataset do not fit a model or, held in memory, are not finite.

    NaN and infinity are accepted where the model turns them into finite outputs, as one that fills gaps does.

    Args:
        model: a Keras model.
        data: the dataset.

    Raises:
        ArgumentError: an input is missing, or its shape, dtype or token ids do not fit.
        DataError: inputs hold NaN or infinity that reach the outputs.
    """
    check_dataset_fits(model, data)
    if not data.any_order or data.images:
        return
    inputs, wrong = data.source.inputs, np.zeros(len(data.source), bool)
    for leaf in trees.leaves(inputs):
        dense = isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f"
        if dense and not np.isfinite(np.add.reduce(leaf, axis=None, dtype=np.float64)):
            wrong |= ~np.isfinite(leaf).reshape(len(leaf), -1).all(1)
    indices = np.flatnonzero(wrong)
    if indices.size and not (model.built and _gives_finite(model, trees.picked(inputs, indices[:1]))):
        count, first = f"{len(indices)} of {len(wrong)} examples", indices[0]
        raise DataError(
            f"{data.name} must be finite; {count} hold NaN or infinity, number {first} first. Fill or drop."
        )


def check_finite(batches: tf.data.Dataset, limit: int | None, name: str) -> None:
    """Raises where a batch of a pipeline holds NaN or infinity.

    Args:
        batches: pairs (inputs, labels).
        limit: number of batches to check; None for all.
        name: name of the data in messages.

    Raises:
        DataError: a batch holds NaN or infinity.
    """
    for number, batch in enumerate(batches if limit is None else batches.take(limit)):
        floats = [each for each in tf.nest.flatten(batch) if each.dtype.is_floating]
        if not all(bool(tf.reduce_all(tf.math.is_finite(each))) for each in floats):
            raise DataError(f"{name} must be finite; batch {number} holds NaN or infinity. Fill or drop.")


def only_finite(data: Dataset) -> Dataset:
    """Returns a foreign pipeline that stops at NaN and infinity, within `label_errors_reported`; other data unchanged.

    Args:
        data: the dataset.
    """
    if not data.foreign:
        return data

    @tf.autograph.experimental.do_not_convert
    def check(*batch):
        floats = [each for each in tf.nest.flatten(batch) if each.dtype.is_floating]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(each)) for each in floats])
        message = f"{BEGIN}{data.name} must be finite; a batch holds NaN or infinity", END
        with tf.control_dependencies([tf.debugging.Assert(finite, message)]):
            return tf.nest.map_structure(tf.identity, batch)

    return dataclasses.replace(data, source=data.source.map(check))


def _gives_finite(model: keras.Model, inputs: Any) -> bool:
    outputs = keras.tree.flatten(model(inputs, training=False))
    return all(np.isfinite(keras.ops.convert_to_numpy(each)).all() for each in outputs)
