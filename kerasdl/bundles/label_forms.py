"""Labels of any form as a task's loss takes them: class numbers, one-hot rows, names, several labels an example."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.task import Task
from kerasdl.data import Dataset
from kerasdl.data.sources import Examples

RULE = re.compile(r"\[(labels of (?:(?!\] \[).)*)\] \[(.*?)\] \[(.*?)\]", re.DOTALL)
ONE_HOT = "Give class numbers, or rows with a single 1."


def fitting_labels(data: Dataset, task: Task, labels: Sequence[str], outputs: int) -> Dataset:
    """Returns data with labels as the loss of a task takes them, checked against the classes.

    A classifier's labels are class numbers (B,) or (B, 1) of any dtype, names of its classes, or one-hot rows (B, K),
    which become class numbers. Several labels an example stay rows (B, K) of 0 to 1, as float32; a regression's values
    stay as they are. A pipeline is checked while it is read.

    Args:
        data: the dataset.
        task: what its labels mean.
        labels: the names of the classes; empty where they have none.
        outputs: how many outputs the model has, or is to have.

    Raises:
        ArgumentError: the labels have another form, or name classes that there are not.
    """
    named = f"labels of {data.name}"
    if isinstance(data.source, Examples):
        found = _array(data.source.labels, task.activation, tuple(labels), outputs, named)
        source = dataclasses.replace(data.source, labels=found, _tensors=None)
        return data if found is data.source.labels else dataclasses.replace(data, source=source)
    if not isinstance(data.source, tf.data.Dataset):
        return data
    spec = data.source.element_spec[1]
    if keras.tree.is_nested(spec):
        kinds = list(spec) if isinstance(spec, dict) else f"{len(spec)} parts"
        checks.refuse(f"{named} must be one tensor, for a model of one output", kinds, "Map the pipeline to it.")
    if task.activation is None or spec.shape.rank is None:
        _check_width(spec.shape, task.activation, outputs, named)
        return data
    if spec.dtype == tf.string:
        checks.refuse(f"{named} must be numbers", "texts", f"Map them to their place in {tuple(labels)}.")
    _check_width(spec.shape, task.activation, outputs, named)
    as_rows = spec.shape.rank > 1 and spec.shape[-1] != 1 and task.activation == "softmax"

    def checked(inputs: Any, targets: tf.Tensor) -> tuple:
        if task.activation == "sigmoid":
            return inputs, _checked(tf.cast(targets, tf.float32), 0, 1, f"{named} must be rows of 0 and 1")
        if as_rows:
            sums = tf.reduce_sum(tf.cast(targets, tf.float32), -1)
            rule = f"{named} must be whole numbers from 0 to {outputs - 1} or one-hot rows. {ONE_HOT} Got sums of rows"
            with tf.control_dependencies([_checked(sums, 1, 1, rule)]):
                peaks = _checked(tf.reduce_max(tf.cast(targets, tf.float32), -1), 1, 1, rule)
            with tf.control_dependencies([peaks]):
                return inputs, tf.argmax(tf.cast(targets, tf.float32), -1, tf.int32)
        rule = f"{named} must be whole numbers from 0 to {outputs - 1}"
        return inputs, tf.cast(_checked(targets, 0, outputs - 1, rule), tf.int32)

    return dataclasses.replace(data, source=data.source.map(checked))


@contextmanager
def plain_label_errors() -> Iterator[None]:
    """Turns what TensorFlow says of a label that `fitting_labels` found in a pipeline into one line.

    Raises:
        ArgumentError: such a label was met.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = RULE.search(str(error))
        if found is None:
            raise
        rule, low, high = found.groups()
        raise_from = f"{low} to {high}" if low != high else low
        checks.refuse(rule, raise_from)


def _checked(values: tf.Tensor, low: int, high: int, rule: str) -> tf.Tensor:
    numbers = tf.cast(values, tf.float32)
    fits = tf.reduce_all((numbers >= low) & (numbers <= high))
    ends = [tf.reduce_min(numbers), tf.reduce_max(numbers)]
    with tf.control_dependencies([tf.debugging.Assert(fits, [tf.constant(rule), *ends])]):
        return tf.identity(values)


def _check_width(shape: Sequence, activation: str | None, outputs: int, named: str) -> None:
    """Refuses labels whose rows have another width than the model's outputs."""
    shape = tuple(shape)
    if len(shape) == 0:
        checks.refuse(f"{named} must come in batches", "single labels", "Call .batch(size) on the pipeline.")
    width = shape[-1] if len(shape) > 1 else 1
    if activation == "sigmoid" and (len(shape) > 2 or width not in (None, outputs)):
        hint = "Give each example a row with a 1 for every label that it has."
        checks.refuse(f"{named} must be rows of {outputs} numbers 0 and 1", f"shape {shape}", hint)
    if activation == "softmax" and (len(shape) > 2 or width not in (None, 1, outputs)):
        rule = f"{named} must be whole numbers from 0 to {outputs - 1} or one-hot rows of {outputs}"
        checks.refuse(rule, f"shape {shape}", "Pass labels= with a name for each class, or check the data.")
    if activation is None and (len(shape) > 2 or width not in (None, outputs)):
        checks.refuse(f"{named} must have {outputs} value{'s' * (outputs > 1)} an example", f"shape {shape}")


def _array(values: np.ndarray, activation: str | None, labels: tuple, outputs: int, named: str) -> np.ndarray:
    """Returns an array of labels in the form of the loss."""
    if values.dtype.kind in "USO":
        return _named(values, labels, named) if activation == "softmax" else _not_numbers(values, named)
    _check_width(values.shape, activation, outputs, named)
    if activation is None:
        return values
    if activation == "sigmoid":
        if values.min() < 0 or values.max() > 1:
            checks.refuse(f"{named} must be rows of 0 and 1", f"{values.min()} to {values.max()}")
        return values.reshape(len(values), outputs).astype(np.float32)
    if values.ndim == 2 and values.shape[1] > 1:
        if not (np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all()):
            rule = f"{named} must be whole numbers from 0 to {outputs - 1} or one-hot rows"
            bad = values[(values.sum(axis=1) != 1) | (values.max(axis=1) != 1)][0].tolist()
            checks.refuse(rule, f"the row {bad}", ONE_HOT)
        return values.argmax(axis=1).astype(np.int32)
    whole = values.ravel()
    if whole.min() < 0 or whole.max() >= outputs or not np.equal(np.mod(whole, 1), 0).all():
        hint = f"They are the places of {labels}." if 0 < len(labels) <= 12 else ""
        checks.refuse(f"{named} must be whole numbers from 0 to {outputs - 1}", sorted(set(whole.tolist()))[-12:], hint)
    return values if values.ndim == 1 and values.dtype.kind == "i" else whole.astype(np.int32)


def _named(values: np.ndarray, labels: tuple, named: str) -> np.ndarray:
    places = {name: place for place, name in enumerate(labels)}
    names = [each.decode() if isinstance(each, bytes) else each for each in values.ravel().tolist()]
    unknown = sorted({repr(name) for name in names if name not in places})
    if unknown:
        checks.refuse(f"{named} must be among the classes {labels[:12]}", ", ".join(unknown[:6]))
    return np.array([places[name] for name in names], np.int32)


def _not_numbers(values: np.ndarray, named: str) -> NoReturn:
    checks.refuse(f"{named} must be numbers", values.ravel()[:3].tolist())
