"""Label conversion for a task's loss: class numbers, one-hot rows, names, several labels per example."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.registry.tasks import Task
from kerasdl.data import Dataset, trees

RULE = re.compile(r"\[(labels of (?:(?!\] \[).)*)\] \[(.*?)\] \[(.*?)\]", re.DOTALL)
ONE_HOT = "Give class numbers, or rows with a single 1."


def labels_for(model: keras.Model, data: Dataset, task: Task, labels: Sequence[str]) -> Dataset:
    """Returns data with labels as the loss of a task takes them, checked against a model's one output.

    Of an output (B, K) they are what `fitting_labels` says. Of one with more axes, a step or a pixel each (B, ..., K),
    they have the shape of the output, a classifier's without its last axis. Those of a task with a `predict` of its own
    are its loss's to judge.

    Args:
        model: a model of one output.
        data: the dataset.
        task: what its labels mean.
        labels: the names of the classes; empty where they have none.

    Raises:
        ArgumentError: the labels have another form, or name classes that there are not.
    """
    shape = tuple(model.outputs[0].shape)
    if task.predict is not None:
        return data
    if len(shape) < 3:
        return fitting_labels(data, task, labels, shape[-1])
    wanted = shape[:-1] if task.activation == "softmax" else shape
    spec = data.spec[1]
    given = None if spec is None or keras.tree.is_nested(spec) else spec.shape.rank and tuple(spec.shape)
    pairs = [] if given is None else zip(given[1:], wanted[1:], strict=False)
    if given is None or len(given) != len(wanted) or any(None not in pair and pair[0] != pair[1] for pair in pairs):
        checks.refuse(f"labels of {data.name} must have the shape {wanted}, as {model.name!r} gives {shape}", spec)
    if task.activation == "softmax" and data.any_order:
        ignored = getattr(task.loss(), "ignore_class", None)
        odd = [each for each in np.unique(data.source.labels) if each != ignored and each not in range(shape[-1])]
        if odd:
            checks.refuse(f"labels of {data.name} must be whole numbers from 0 to {shape[-1] - 1}", odd[:6])
    return data


def fitting_labels(data: Dataset, task: Task, labels: Sequence[str], outputs: int) -> Dataset:
    """Returns data with labels in the form of a task's loss, checked against the classes.

    A classifier's labels are class numbers (B,) or (B, 1) of any dtype, names of its classes, or one-hot rows (B, K),
    which become class numbers. Several labels per example stay rows (B, K) of 0 to 1, as float32; a regression's
    values are unchanged. A pipeline is checked while it is read.

    Args:
        data: the dataset.
        task: the task of its labels.
        labels: the names of the classes; empty if they have none.
        outputs: number of outputs of the model.

    Raises:
        ArgumentError: the labels have another form, or name unknown classes.
    """
    named = f"labels of {data.name}"
    if not data.labelled:
        checks.refuse(f"{data.name} must have labels", "inputs alone", "Pass (inputs, labels).")
    if data.any_order:
        if trees.is_nested(data.source.labels):
            checks.refuse(f"{named} must be one array, for a model of one output", f"{len(data.source.labels)} parts")
        numbers = _array(data.source.labels, task.activation, tuple(labels), outputs, named)
        source = dataclasses.replace(data.source, labels=numbers)
        return data if numbers is data.source.labels else dataclasses.replace(data, source=source)
    if not data.foreign:
        return data
    spec = data.spec[1]
    if keras.tree.is_nested(spec):
        kinds = list(spec) if isinstance(spec, dict) else f"{len(spec)} parts"
        checks.refuse(f"{named} must be one tensor, for a model of one output", kinds, "Map the pipeline to it.")
    if spec.dtype == tf.string:
        places = f"Map them to their place in {tuple(labels)}." if labels else "Map them to numbers."
        checks.refuse(f"{named} must be numbers", "texts", places)
    shape = _shape_of(data.source)
    if shape is None:
        return data
    _check_width(shape, task.activation, outputs, named)
    as_rows = len(shape) > 1 and shape[-1] != 1 and task.activation == "softmax"

    def converted(targets: tf.Tensor) -> tf.Tensor:
        targets = tf.ensure_shape(targets, (None, *shape[1:]))
        if task.activation is None:
            return _checked(targets, tf.float32.min, tf.float32.max, f"{named} must be finite")
        if task.activation == "sigmoid":
            return _checked(tf.cast(targets, tf.float32), 0, 1, f"{named} must be rows of 0 and 1")
        if as_rows:
            rows = tf.cast(targets, tf.float32)
            rule = f"{named} must be whole numbers from 0 to {outputs - 1} or one-hot rows. {ONE_HOT} Got"
            rows = _checked(_checked(rows, 0, 1, f"{rule} values"), 1, 1, f"{rule} sums of rows", tf.reduce_sum)
            return tf.argmax(_checked(rows, 1, 1, f"{rule} peaks of rows", tf.reduce_max), -1, tf.int32)
        rule = f"{named} must be whole numbers from 0 to {outputs - 1}"
        whole = _checked(_checked(targets, 0, outputs - 1, rule), 0, 0, f"{rule}. Got fractions", _fractions)
        return tf.cast(whole, tf.int32)

    def checked(inputs: Any, targets: tf.Tensor, *weights: Any) -> tuple:
        return inputs, converted(targets), *weights

    return dataclasses.replace(data, source=data.source.map(checked))


@contextmanager
def plain_label_errors() -> Iterator[None]:
    """Turns TensorFlow's error for a bad label in a pipeline of `fitting_labels` into one line.

    Raises:
        ArgumentError: a label was bad.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        match = RULE.search(str(error))
        if match is None:
            raise
        rule, low, high = match.groups()
        checks.refuse(rule, f"{low} to {high}" if low != high else low)


def _shape_of(source: tf.data.Dataset) -> tuple | None:
    """Returns the shape of a pipeline's labels, from the first batch if its spec has none; None if it is empty."""
    shape = source.element_spec[1].shape
    if shape.rank is None:
        shape = next((element[1].shape for element in source.take(1)), None)
    return None if shape is None else tuple(shape)


def _fractions(numbers: tf.Tensor, axis: int) -> tf.Tensor:
    return numbers - tf.floor(numbers)


def _checked(values: tf.Tensor, low: int, high: int, rule: str, measure: Callable | None = None) -> tf.Tensor:
    """Returns values after an assertion that they, or `measure` of their last axis, lie from `low` to `high`."""
    numbers = tf.cast(values, tf.float32)
    numbers = numbers if measure is None else measure(numbers, axis=-1)
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
    if activation != "softmax" and values.dtype.kind == "f" and not np.isfinite(values).all():
        place = int(np.argwhere(~np.isfinite(values))[0][0])
        checks.refuse(f"{named} must be finite", f"{values[place].tolist()} at {place}", "Leave such examples out.")
    if activation is None:
        return values
    if activation == "sigmoid":
        if values.min() < 0 or values.max() > 1:
            checks.refuse(f"{named} must be rows of 0 and 1", f"{values.min()} to {values.max()}")
        return values.reshape(len(values), outputs).astype(np.float32)
    if values.ndim == 2 and values.shape[1] > 1:
        fits = np.isin(values, (0, 1)).all(axis=1) & (values.sum(axis=1) == 1)
        if not fits.all():
            rule = f"{named} must be whole numbers from 0 to {outputs - 1} or one-hot rows"
            checks.refuse(rule, f"the row {values[~fits][0].tolist()}", ONE_HOT)
        return values.argmax(axis=1).astype(np.int32)
    whole = values.ravel()
    if whole.min() < 0 or float(whole.max()) >= outputs or not np.equal(np.mod(whole, 1), 0).all():
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
