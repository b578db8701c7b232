"""Adapters that turn arrays and foreign tf.data pipelines into a `Dataset`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import DataError

from . import trees
from .dataset import Dataset
from .sources import Examples

PARTS = ("inputs", "labels", "weights")
CHANNELS = (1, 3, 4)
MOST_CLASSES = 1_000_000  # with more, integer labels are not classes with names


def as_dataset(
    source: Any, *, name: str = "data", task: str | None = None, class_names: tuple[str, ...] | None = None
) -> Dataset:
    """Returns arrays or a tf.data pipeline as a `Dataset`.

    Arrays keep their values (64-bit numbers become 32-bit ones). Without `task` the arrays decide: integer labels (B,)
    with inputs (B, H, W, C) are image classification, with float inputs (B, D) tabular classification; float labels
    with float inputs (B, D) are tabular regression, unless they are all 0 and 1 and so may be classes; all else is
    `unknown`. Of a pipeline the specs decide, integer labels alone.

    Args:
        source: a `Dataset`; arrays, as a pair (inputs, labels), as (inputs, labels, weights), or inputs alone; or a
            `tf.data.Dataset` of batches of the same forms. Inputs and labels may be several arrays in a dict or a tuple
            (or in a list, if the other part shows the number of examples), each with one row per example; a list of
            arrays that differ in length alone, such as boxes (N, 4), is ragged, and a list of uint8 images (H, W, C) of
            several sizes is raw images, which `Dataset.prepared` brings to one. Weights are Keras's `sample_weight`.
            For a dataset by name use `load`.
        name: its name in messages.
        task: the task that the labels belong to.
        class_names: the name of each class; None takes those of `keras.utils.image_dataset_from_directory`, or `"0"`,
            `"1"`, ... for arrays.

    Raises:
        ArgumentError: the source has another form.
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
        named = getattr(source, "class_names", ()) if class_names is None else class_names
        return _foreign(source, name, task, tuple(named or ()))
    parts = _parts(source)
    trees_of_parts = [_as_tree(kind, part, parts) for kind, part in zip(PARTS[1:], parts[1:], strict=True)]
    trees_of_parts[0] = _with_float_boxes(trees_of_parts[0])
    pictures = _pictures_of_sizes(parts[0])
    if pictures is not None:
        return _of_pictures(pictures, trees_of_parts, name, task or "unknown", tuple(class_names or ()))
    examples = Examples(_as_tree(PARTS[0], parts[0], parts), *trees_of_parts)
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
        images=images and inputs.shape[3] in CHANNELS,
    )


def _with_float_boxes(labels: Any) -> Any:
    """Returns labels whose boxes, if there are some in whole pixels, are float32: a resized image moves their edges."""
    boxes = labels.get("boxes") if isinstance(labels, Mapping) else None
    if isinstance(boxes, np.ndarray) and boxes.ndim == 2 and not boxes.size:  # empty lists, no image with an object
        boxes = trees.Ragged(np.zeros((0, 4), np.float32), np.zeros(len(boxes), np.int64))
        return {**labels, "boxes": boxes}
    if not isinstance(boxes, (np.ndarray, trees.Ragged)) or boxes.dtype.kind not in "iu":
        return labels
    if isinstance(boxes, np.ndarray):
        return {**labels, "boxes": boxes.astype(np.float32)}
    return {**labels, "boxes": trees.Ragged(boxes.values.astype(np.float32), boxes.lengths)}


def _pictures_of_sizes(value: Any) -> list[np.ndarray] | None:
    """Returns a list of raw images of several sizes; None for other inputs."""
    if not isinstance(value, list) or not all(isinstance(each, np.ndarray) and each.ndim == 3 for each in value):
        return None
    raw = all(each.dtype == np.uint8 and each.shape[2] in CHANNELS for each in value)
    return value if raw and len({each.shape for each in value}) > 1 else None


def _of_pictures(pictures: list[np.ndarray], others: list, name: str, task: str, class_names: tuple) -> Dataset:
    """Returns raw images of several sizes with their labels and weights as a dataset, to be prepared at one size."""
    _check_rows(Examples(np.arange(len(pictures)), *others))
    channels = {each.shape[2] for each in pictures}
    return Dataset(
        name=name,
        task=task,
        class_names=class_names,
        input_shape=(None, None, channels.pop() if len(channels) == 1 else 3),
        input_dtype="uint8",
        size=len(pictures),
        licence="not stated",
        seekable=True,
        scale=None,
        source=Examples(pictures, *others),
        images=True,
    )


def _parts(source: Any) -> tuple[Any, Any, Any]:
    """Returns inputs, labels and weights of a source of arrays."""
    if isinstance(source, Mapping) or hasattr(source, "__array__"):
        return source, None, None
    if isinstance(source, tuple) and 1 <= len(source) <= 3:
        return (*source, None, None)[:3]
    if isinstance(source, list) and len(source) == 2:
        return (*source, None)
    rule = "data must be a Dataset, arrays (inputs, labels), or a tf.data.Dataset of batches"
    kind = f"{type(source).__name__} of {len(source)}" if isinstance(source, (tuple, list)) else type(source).__name__
    checks.refuse(rule, kind, "Weights come third, inputs may come alone. For data by name, use kerasdl.data.load.")


def _check_rows(examples: Examples) -> None:
    parts = [leaf for part in (examples.inputs, examples.labels, examples.weights) for leaf in trees.leaves(part)]
    lengths = [len(leaf) if leaf.ndim else "no length" for leaf in parts]
    if len(set(lengths)) > 1 or lengths[0] in (0, "no length"):
        counts = " and ".join(map(str, lengths))
        raise DataError(f"inputs and labels must have one length, 1 or more; got {counts}.")
    for leaf in trees.leaves(examples.weights):
        if leaf.dtype.kind not in "iufb" or not np.isfinite(leaf.astype(float)).all():
            raise DataError(f"weights must be finite numbers; got {leaf.dtype.name} with NaN, infinity or none.")


def _foreign(source: tf.data.Dataset, name: str, task: str | None, class_names: tuple[str, ...]) -> Dataset:
    spec = source.element_spec
    if isinstance(spec, (tuple, list)) and not 1 <= len(spec) <= 3:
        rule = "a tf.data.Dataset must give batches of inputs, (inputs, labels) or (inputs, labels, weights)"
        checks.refuse(rule, spec, "Put several inputs into one tuple: ((first, second), labels).")
    first = tf.nest.flatten(trees.unpacked(spec)[0])[0]  # the first of several inputs
    shape, batches = first.shape, int(source.cardinality())
    known = shape.rank and shape[0] is not None and batches >= 0
    return Dataset(
        name=name,
        task=task or _task_of_specs(*trees.unpacked(spec)[:2]),
        class_names=class_names,
        input_shape=tuple(shape[1:]) if shape.rank else (),
        input_dtype=first.dtype.name,
        size=shape[0] * batches if known else None,
        licence="not stated",
        seekable=False,
        scale=None,
        source=source,
    )


def _as_tree(name: str, value: Any, whole: tuple = ()) -> Any:
    """Returns a part of the data as a tree of arrays; `whole` holds all parts."""
    if value is None or isinstance(value, trees.Ragged):
        return value
    if isinstance(value, Mapping):
        return {
            key: _maps(part) if key in trees.MAPS and _of_sizes(part) else _as_tree(f"{name} {key!r}", part)
            for key, part in value.items()
        }
    nested = isinstance(value, tuple) and all(map(_is_part, value))
    if nested or (isinstance(value, list) and whole and _are_several(value, whole)):
        return tuple(_as_tree(f"{name} {place}", part) for place, part in enumerate(value))
    return _as_array(name, value)


def _of_sizes(value: Any) -> bool:
    """Returns whether a value is a list of maps (H, W) of several sizes."""
    shapes = {np.shape(each) for each in value} if isinstance(value, (list, tuple)) else set()
    return len(shapes) > 1 and all(len(shape) == 2 for shape in shapes)


def _maps(value: Any) -> trees.RaggedMaps:
    maps = trees.RaggedMaps.of([np.asarray(each) for each in value])
    return trees.RaggedMaps(_narrow(maps.values), maps.sizes)


def _is_part(value: Any) -> bool:
    """Returns whether an item of a tuple is an array or a tree of arrays, not a number or a row of numbers."""
    if isinstance(value, (list, tuple)):
        return len(value) > 0 and all(map(_is_part, value))
    return isinstance(value, (Mapping, trees.Ragged)) or (hasattr(value, "__array__") and np.ndim(value) > 0)


def _are_several(value: list, whole: tuple) -> bool:
    """Returns whether a list holds several arrays with one row per example, judged by the rows of the other parts."""
    if not _holds_arrays(value):
        return False
    rows = {len(part) for part in value}
    others = [leaf for part in whole if part is not value for leaf in trees.leaves(part)]
    parts = [part for leaf in others for part in (leaf if _holds_arrays(leaf) else [leaf])]
    known = {len(part) for part in parts if hasattr(part, "__len__")}
    return len(rows) == 1 and len(value) not in rows | known


def _holds_arrays(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(map(_is_part, value))


def _as_array(name: str, value: Any) -> Any:
    try:
        array = np.asarray(value)
    except ValueError:  # a list of arrays of different shapes
        return _ragged(name, value)
    if array.dtype.kind == "O" and array.size and all(isinstance(each, (str, bytes)) for each in array.flat):
        return array.astype(str)
    if array.dtype.kind == "O" and array.size and any(map(np.ndim, array.flat)):
        return _ragged(name, list(array))
    if array.dtype.kind == "O":
        odd = next((each for each in array.flat if not isinstance(each, (int, float))), None)
        rule = f"{name} must be numbers in an array of one type"
        by_key = "Pass one dict of lists: {key: [each[key] for each in rows] for key in rows[0]}."
        hint = by_key if isinstance(odd, Mapping) else "Convert them with .astype."
        checks.refuse(rule, f"objects such as {type(odd).__name__} {odd!r}"[:80], hint)
    return _narrow(array)


def _ragged(name: str, value: Any) -> trees.Ragged:
    parts = [np.asarray(each) if hasattr(each, "__len__") else None for each in value]
    full = next((part for part in parts if part is not None and part.size), None)
    if full is not None:  # an empty list, such as the boxes of an image without objects
        parts = [full[:0] if part is not None and part.shape == (0,) else part for part in parts]
    shapes = {None if part is None or not part.ndim else part.shape[1:] for part in parts}
    kinds = {None if part is None else part.dtype.kind for part in parts}
    if len(shapes) > 1 or None in shapes or kinds & {"O", None}:
        rule = f"{name} must be an array, or arrays that differ in their length alone"
        hint = "Pass several inputs in a tuple or a dict: ((first, second), labels)."
        checks.refuse(rule, "arrays of different shape or type", hint)
    ragged = trees.Ragged.of(parts)
    return trees.Ragged(_narrow(ragged.values), ragged.lengths)


def _narrow(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.float64:
        return array.astype(np.float32)
    fits = array.dtype == np.int64 and array.size and array.min() >= -(2**31) and array.max() < 2**31
    return array.astype(np.int32) if fits else array


def _may_be_classes(labels: np.ndarray) -> bool:
    """Returns whether labels are all 0 and 1, like one-hot classes, and so may be other than figures."""
    return bool(labels.any() and not labels.all() and np.isin(labels, (0, 1)).all())


def _task_of_specs(inputs: Any, labels: Any) -> str:
    """Returns the task of batches with these specs: a classification where labels are one whole number an example."""
    plain = isinstance(inputs, tf.TensorSpec) and isinstance(labels, tf.TensorSpec)
    if not plain or labels.shape.rank != 1 or not labels.dtype.is_integer:
        return "unknown"
    if inputs.shape.rank == 4:
        return "image_classification"
    return "tabular_classification" if inputs.shape.rank == 2 and inputs.dtype.is_floating else "unknown"


def _infer_task(inputs: np.ndarray, labels: np.ndarray) -> str:
    whole = labels.ndim == 1 and labels.dtype.kind in "iu"
    if whole and inputs.ndim == 4:
        return "image_classification"
    if inputs.ndim == 2 and inputs.dtype.kind == "f":
        if whole:
            return "tabular_classification"
        if labels.dtype.kind == "f" and not _may_be_classes(labels):
            return "tabular_regression"
    return "unknown"
