"""Arrays and foreign pipelines as the record that everything here takes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import DataError

from . import trees
from .dataset import Dataset
from .sources import Examples

WHAT = ("inputs", "labels", "weights")
MOST_CLASSES = 1_000_000  # beyond, labels are no classes that could be named


def as_dataset(
    source: Any, *, name: str = "data", task: str | None = None, class_names: tuple[str, ...] | None = None
) -> Dataset:
    """Returns what was given as a `Dataset`.

    Arrays are taken as they are (64-bit numbers become 32-bit ones). Where `task` is not given it follows from them:
    whole-number labels (B,) with inputs (B, H, W, C) are image classification and with float inputs (B, D) tabular
    classification; float labels with float inputs (B, D) are tabular regression unless they are zeros and ones, which
    may be marks of classes; all else is `unknown`.

    Args:
        source: a `Dataset`; arrays, as a pair (inputs, labels), as (inputs, labels, weights), or inputs alone; or a
            `tf.data.Dataset` of batches of the same forms. Inputs and labels may be several arrays in a dict or a tuple
            (a list, where the other part tells that it is one), each with a row an example; a list of arrays that
            differ in length alone, such as boxes (N, 4), is ragged. Weights are those of Keras, `sample_weight`. A name
            is what `load` takes.
        name: what messages call it.
        task: what the labels mean.
        class_names: the name of each class; `"0"`, `"1"`, ... where not given.

    Raises:
        ArgumentError: it is none of these.
        DataError: the arrays are empty or differ in length, or weights are not finite.

    Example:
        >>> as_dataset((np.zeros((10, 4), np.float32), np.arange(10) % 2)).class_names
        ('0', '1')
        >>> as_dataset(({"left": np.zeros((3, 2)), "right": np.zeros((3, 5))}, np.ones(3))).size
        3
    """
    if isinstance(source, Dataset):
        return source
    if isinstance(source, tf.data.Dataset):
        return _foreign(source, name, task or "unknown", tuple(class_names or ()))
    given = _parts(source)
    examples = Examples(*(_as_tree(what, part, given) for what, part in zip(WHAT, given, strict=True)))
    _check_rows(examples)
    inputs, labels = examples.inputs, examples.labels
    plain = isinstance(inputs, np.ndarray) and isinstance(labels, np.ndarray)
    task = task or (_infer_task(inputs, labels) if plain else "unknown")
    numbered = plain and labels.ndim == 1 and labels.dtype.kind in "iufb" and float(labels.max()) < MOST_CLASSES
    if class_names is None and task.endswith("classification") and numbered:
        class_names = tuple(str(label) for label in range(int(labels.max()) + 1))
    images = isinstance(inputs, np.ndarray) and inputs.dtype == np.uint8 and inputs.ndim == 4
    first = trees.leaves(inputs)[0]
    return Dataset(
        name=name,
        task=task,
        class_names=tuple(class_names or ()),
        input_shape=tuple(first.shape[1:]),
        input_dtype=first.dtype.name,
        size=len(examples),
        licence="not stated",
        seekable=True,
        scale=None,
        source=examples,
        images=images and inputs.shape[3] in (1, 3, 4),
    )


def _parts(source: Any) -> tuple[Any, Any, Any]:
    """Returns inputs, labels and weights of what was given as arrays."""
    if isinstance(source, Mapping) or hasattr(source, "__array__"):
        return source, None, None
    if isinstance(source, tuple) and 1 <= len(source) <= 3:
        return (*source, None, None)[:3]
    if isinstance(source, list) and len(source) == 2:
        return (*source, None)
    rule = "data must be a Dataset, arrays (inputs, labels), or a tf.data.Dataset of batches"
    given = f"{type(source).__name__} of {len(source)}" if isinstance(source, (tuple, list)) else type(source).__name__
    checks.refuse(rule, given, "Weights come third, inputs may come alone. For data by name, use kerasdl.data.load.")


def _check_rows(examples: Examples) -> None:
    parts = [leaf for part in (examples.inputs, examples.labels, examples.weights) for leaf in trees.leaves(part)]
    lengths = [len(leaf) if leaf.ndim else "no length" for leaf in parts]
    if len(set(lengths)) > 1 or lengths[0] in (0, "no length"):
        said = " and ".join(map(str, lengths))
        raise DataError(f"inputs and labels must have one length, 1 or more; got {said}.")
    for leaf in trees.leaves(examples.weights):
        if leaf.dtype.kind not in "iufb" or not np.isfinite(leaf.astype(float)).all():
            raise DataError(f"weights must be finite numbers; got {leaf.dtype.name} with NaN, infinity or none.")


def _foreign(source: tf.data.Dataset, name: str, task: str, class_names: tuple[str, ...]) -> Dataset:
    spec = source.element_spec
    if isinstance(spec, (tuple, list)) and not 1 <= len(spec) <= 3:
        rule = "a tf.data.Dataset must give batches of inputs, (inputs, labels) or (inputs, labels, weights)"
        checks.refuse(rule, spec, "Put several inputs into one tuple: ((first, second), labels).")
    first = tf.nest.flatten(trees.unpacked(spec)[0])[0]  # of several inputs
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


def _as_tree(what: str, given: Any, whole: tuple = ()) -> Any:
    """Returns a part of the data, or of `whole`, as a tree of arrays."""
    if given is None or isinstance(given, trees.Ragged):
        return given
    if isinstance(given, Mapping):
        return {key: _as_tree(f"{what} {key!r}", part) for key, part in given.items()}
    nested = isinstance(given, tuple) and all(map(_is_part, given))
    if nested or (isinstance(given, list) and whole and _are_several(given, whole)):
        return tuple(_as_tree(f"{what} {place}", part) for place, part in enumerate(given))
    return _as_array(what, given)


def _is_part(given: Any) -> bool:
    """Tells whether what stands in a tuple is an array or a tree of some, not a number or a row of numbers."""
    if isinstance(given, (list, tuple)):
        return len(given) > 0 and all(map(_is_part, given))
    return isinstance(given, (Mapping, trees.Ragged)) or (hasattr(given, "__array__") and np.ndim(given) > 0)


def _are_several(given: list, whole: tuple) -> bool:
    """Tells whether a list is one of arrays, each with a row an example, by what else has such rows."""
    if not _holds_arrays(given):
        return False
    rows = {len(part) for part in given}
    others = [leaf for part in whole if part is not given for leaf in trees.leaves(part)]
    parts = [part for leaf in others for part in (leaf if _holds_arrays(leaf) else [leaf])]
    known = {len(part) for part in parts if hasattr(part, "__len__")}
    return len(rows) == 1 and len(given) not in rows | known


def _holds_arrays(given: Any) -> bool:
    return isinstance(given, list) and len(given) > 1 and all(map(_is_part, given))


def _as_array(what: str, given: Any) -> Any:
    try:
        array = np.asarray(given)
    except ValueError:  # arrays of unlike shape in a list
        return _ragged(what, given)
    if array.dtype.kind == "O" and array.size and all(isinstance(each, (str, bytes)) for each in array.flat):
        return array.astype(str)
    if array.dtype.kind == "O" and array.size and any(map(np.ndim, array.flat)):
        return _ragged(what, list(array))
    if array.dtype.kind == "O":
        odd = next((each for each in array.flat if not isinstance(each, (int, float))), None)
        rule = f"{what} must be numbers in an array of one type"
        checks.refuse(rule, f"objects such as {type(odd).__name__} {odd!r}"[:80], "Convert them with .astype.")
    return _narrow(array)


def _ragged(what: str, given: Any) -> trees.Ragged:
    parts = [np.asarray(each) if hasattr(each, "__len__") else None for each in given]
    shapes = {None if part is None or not part.ndim else part.shape[1:] for part in parts}
    kinds = {None if part is None else part.dtype.kind for part in parts}
    if len(shapes) > 1 or None in shapes or kinds & {"O", None}:
        rule = f"{what} must be an array, or arrays that differ in their length alone"
        hint = "Pass several inputs in a tuple or a dict: ((first, second), labels)."
        checks.refuse(rule, "arrays of unlike shape or type", hint)
    found = trees.Ragged.of(parts)
    return trees.Ragged(_narrow(found.values), found.lengths)


def _narrow(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.float64:
        return array.astype(np.float32)
    fits = array.dtype == np.int64 and array.size and array.min() >= -(2**31) and array.max() < 2**31
    return array.astype(np.int32) if fits else array


def _are_marks(labels: np.ndarray) -> bool:
    """Returns whether labels are zeros and ones alone, such as one-hot classes, which may mean more than a figure."""
    return np.unique(labels[:1000]).tolist() == [0.0, 1.0] and bool(np.isin(labels, (0, 1)).all())


def _infer_task(inputs: np.ndarray, labels: np.ndarray) -> str:
    whole = labels.ndim == 1 and labels.dtype.kind in "iu"
    if whole and inputs.ndim == 4:
        return "image_classification"
    if inputs.ndim == 2 and inputs.dtype.kind == "f":
        if whole:
            return "tabular_classification"
        if labels.dtype.kind == "f" and not _are_marks(labels):
            return "tabular_regression"
    return "unknown"
