"""Arrays and foreign pipelines as the record that everything here takes."""

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import DataError

from .dataset import Dataset
from .sources import Examples

MOST_CLASSES = 1_000_000  # beyond, labels are no classes that could be named


def as_dataset(
    source: Any, *, name: str = "data", task: str | None = None, class_names: tuple[str, ...] | None = None
) -> Dataset:
    """Returns what was given as a `Dataset`.

    Arrays are taken as they are (64-bit numbers become 32-bit ones). Where `task` is not given it follows from them:
    whole-number labels (B,) with inputs (B, H, W, C) are image classification and with float inputs (B, D) tabular
    classification; float labels with float inputs (B, D) are tabular regression; all else is `unknown`.

    Args:
        source: a `Dataset`, a pair of arrays (inputs, labels), or a `tf.data.Dataset` of batched pairs. A name is
            what `load` takes.
        name: what messages call it.
        task: what the labels mean.
        class_names: the name of each class; `"0"`, `"1"`, ... where not given.

    Raises:
        ArgumentError: it is none of these.
        DataError: the arrays are empty or differ in length.

    Example:
        >>> as_dataset((np.zeros((10, 4), np.float32), np.arange(10) % 2)).class_names
        ('0', '1')
    """
    if isinstance(source, Dataset):
        return source
    if isinstance(source, tf.data.Dataset):
        return _foreign(source, name, task or "unknown", tuple(class_names or ()))
    if not isinstance(source, (tuple, list)) or len(source) != 2:
        rule = "data must be a Dataset, a pair of arrays (inputs, labels) or a tf.data.Dataset of batches"
        checks.refuse(rule, type(source).__name__, "For data by name, use kerasdl.data.load.")
    inputs, labels = (_as_array(what, part) for what, part in zip(("inputs", "labels"), source, strict=True))
    if not inputs.ndim or not labels.ndim or len(inputs) != len(labels) or len(inputs) == 0:
        lengths = [len(part) if part.ndim else "no length" for part in (inputs, labels)]
        raise DataError(f"inputs and labels must have one length, 1 or more; got {lengths[0]} and {lengths[1]}.")
    task = task or _infer_task(inputs, labels)
    numbered = labels.ndim == 1 and labels.dtype.kind in "iufb" and float(labels.max()) < MOST_CLASSES
    if class_names is None and task.endswith("classification") and numbered:
        class_names = tuple(str(label) for label in range(int(labels.max()) + 1))
    images = inputs.dtype == np.uint8 and inputs.ndim == 4 and inputs.shape[3] in (1, 3, 4)
    return Dataset(
        name=name,
        task=task,
        class_names=tuple(class_names or ()),
        input_shape=inputs.shape[1:],
        input_dtype=inputs.dtype.name,
        size=len(inputs),
        licence="not stated",
        seekable=True,
        scale=None,
        source=Examples(inputs, labels),
        images=images,
    )


def _foreign(source: tf.data.Dataset, name: str, task: str, class_names: tuple[str, ...]) -> Dataset:
    spec = source.element_spec
    if not isinstance(spec, tuple) or len(spec) != 2:
        rule = "a tf.data.Dataset must give batched pairs (inputs, labels), each a tensor or several"
        checks.refuse(rule, spec, "Sample weights are not taken; RunConfig(class_weights=...) weighs classes.")
    first = tf.nest.flatten(spec[0])[0]  # of several inputs
    shape, batches = first.shape, int(source.cardinality())
    known = shape.rank and shape[0] is not None and batches >= 0
    return Dataset(
        name=name,
        task=task,
        class_names=class_names,
        input_shape=tuple(shape[1:]) if shape.rank else (),
        input_dtype=first.dtype.name,
        size=shape[0] * batches if known else None,
        licence="not stated",
        seekable=False,
        scale=None,
        source=source,
    )


def _as_array(what: str, given: Any) -> np.ndarray:
    try:
        array = np.asarray(given)
    except ValueError:  # arrays of unlike shape in a list
        _refuse_objects(what, given, nested=True)
    if array.dtype.kind == "O" and array.size and all(isinstance(each, (str, bytes)) for each in array.flat):
        return array.astype(str)
    if array.dtype.kind == "O":
        _refuse_objects(what, given, nested=isinstance(given, Mapping) or any(map(np.ndim, array.flat)))
    return _narrow(array)


def _refuse_objects(what: str, given: Any, nested: bool) -> NoReturn:
    if nested:
        rule = "arrays must be one of inputs and one of labels"
        hint = "Pass several inputs as a tf.data.Dataset of ((first, second), labels)."
        checks.refuse(rule, f"several {what}, or arrays of unlike shape", hint)
    odd = next(each for each in np.asarray(given, object).flat if not isinstance(each, (int, float)))
    rule = f"{what} must be numbers in an array of one type"
    checks.refuse(rule, f"objects such as {type(odd).__name__} {odd!r}"[:80], "Convert them with .astype.")


def _narrow(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.float64:
        return array.astype(np.float32)
    fits = array.dtype == np.int64 and array.size and array.min() >= -(2**31) and array.max() < 2**31
    return array.astype(np.int32) if fits else array


def _infer_task(inputs: np.ndarray, labels: np.ndarray) -> str:
    whole = labels.ndim == 1 and labels.dtype.kind in "iu"
    if whole and inputs.ndim == 4:
        return "image_classification"
    if inputs.ndim == 2 and inputs.dtype.kind == "f":
        if whole:
            return "tabular_classification"
        if labels.dtype.kind == "f":
            return "tabular_regression"
    return "unknown"
