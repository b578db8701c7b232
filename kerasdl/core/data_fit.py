"""Checks of data against a model's inputs: number, names, shapes, dtypes and token ids."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from . import checks


def check_fits(model: keras.Model, inputs: Any, *, name: str = "data") -> None:
    """Checks that a model takes inputs of these shapes and dtypes; a subclassed model takes anything.

    Differences that Keras corrects itself are allowed: integers for floats, a missing or extra last axis of 1, dicts by
    name.

    Args:
        model: a Keras model.
        inputs: the inputs as the model is called on them, with the batch first: arrays, or whatever has a shape and a
            dtype, such as `dataset.element_spec[0]`; in a tuple, list or dict where there are several. Of arrays the
            values of integer inputs are checked too.
        name: what messages call the data.

    Raises:
        ArgumentError: an input is missing, or its shape, dtype or token ids do not fit.

    Example:
        >>> check_fits(model, tf.TensorSpec((None, 32, 32, 3), tf.float32))
    """
    if not getattr(model, "inputs", None):
        return
    expected = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    for tensor, value in _pairs(model, expected, inputs, name):
        if value is None or getattr(value, "shape", None) is None or getattr(value.shape, "rank", 0) is None:
            continue  # shape unknown until the data are read
        _check_one(model, tensor, value, name, several=len(model.inputs) > 1)


def _pairs(model: keras.Model, expected: Any, inputs: Any, name: str) -> list[tuple[Any, Any]]:
    """Pairs each input of a model with the value for it, as Keras does."""
    tensors = keras.tree.flatten(expected)
    if isinstance(inputs, Mapping):
        keys = list(expected) if isinstance(expected, Mapping) else [tensor.name for tensor in tensors]
        if not isinstance(expected, Mapping) and not all(map(_is_named, tensors)):
            rule = f"{name} may come by name where every input of {model.name!r} has one"
            checks.refuse(rule, list(inputs), "Give inputs in their order, or pass name= to keras.Input.")
        by_key = dict(expected) if isinstance(expected, Mapping) else dict(zip(keys, tensors, strict=True))
        missing = [key for key in keys if key not in inputs and not _is_optional(by_key[key])]
        if missing:
            checks.refuse(f"{name} must have the inputs {keys} of {model.name!r}", list(inputs))
        return [(by_key[key], inputs.get(key)) for key in keys if not keras.tree.is_nested(by_key[key])]
    values = keras.tree.flatten(inputs)
    if len(values) != len(tensors):
        described = ", ".join(f"{tensor.name!r} {_shape_of(tensor)}" for tensor in tensors)
        rule = f"{name} must have {len(tensors)} input{'s' * (len(tensors) > 1)} for {model.name!r}: {described}"
        hint = "Put them into one tuple, ((first, second), labels)." if len(tensors) > 1 else ""
        checks.refuse(rule, f"{len(values)} of {[_shape_of(each) for each in values]}", hint)
    return list(zip(tensors, values, strict=True))


def _check_one(model: keras.Model, tensor: Any, value: Any, name: str, *, several: bool) -> None:
    own, theirs, dtype = _shape_of(tensor), _shape_of(value), _name_of(value.dtype)
    place = f"input {tensor.name!r} of {model.name!r}" if several else f"{model.name!r}"
    strings = "string" in (tensor.dtype, dtype) and tensor.dtype != dtype
    unlike = strings or ("complex" in dtype and "complex" not in tensor.dtype)  # the imaginary part would be lost
    fits = any(_sizes_fit(own, shape) for shape in (theirs, *_adjusted(own, theirs)))
    if unlike or not (fits or _takes_any_size(model, theirs, dtype)):
        rule = f"{name} must have the shape and dtype that {place} takes, {own} {tensor.dtype}"
        checks.refuse(rule, f"{theirs} {dtype}", _remedy(own, theirs, strings))
    if "int" in tensor.dtype and hasattr(value, "__array__") and not isinstance(value, keras.KerasTensor):
        check_whole(model, tensor, np.asarray(value), f"{name} for {place}")


def _takes_any_size(model: keras.Model, shape: tuple, dtype: str) -> bool:
    """Returns whether a Sequential model runs on inputs of a shape other than the one it was built for."""
    if not isinstance(model, keras.Sequential):
        return False
    try:
        model(keras.ops.zeros([1 if size is None else size for size in (1, *shape[1:])], dtype), training=False)
    except Exception:  # TensorFlow and Keras raise several kinds of errors here
        return False
    return True


def check_whole(model: keras.Model, tensor: Any, values: np.ndarray, name: str) -> None:
    """Checks the values of an integer input: fractions would be cut off, ids out of range would read another row.

    Args:
        model: a Keras model.
        tensor: the input.
        values: numbers for it.
        name: what messages call them.

    Raises:
        ArgumentError: an embedding that reads the input has no row for a number, or a number is no whole one.
    """
    if not values.size or values.dtype.kind not in "iuf":
        return
    rows = rows_of(model, tensor)
    low, high = values.min(), values.max()
    small = rows is not None or max(abs(low), abs(high)) <= 1  # a fraction of a pixel level up to 255 does not matter
    if small and values.dtype.kind == "f" and not np.equal(np.mod(values, 1), 0).all():
        hint = "Prepare them as the model was trained: token ids, or pixels from 0 to 255."
        checks.refuse(f"{name} must be whole numbers ({tensor.dtype})", f"values from {low:.4g} to {high:.4g}", hint)
    if rows is not None and not 0 <= low <= high < rows:
        hint = "Build the model with a larger vocabulary, or give unknown tokens an id of their own."
        checks.refuse(f"{name} must be token ids from 0 to {rows - 1}", f"{int(low)} to {int(high)}", hint)


def rows_of(model: keras.Model, tensor: Any) -> int | None:
    """Returns the rows of the smallest embedding that reads an input: ids are below; None where none does."""
    tables = [layer for layer in model._flatten_layers() if isinstance(layer, layers.Embedding)]
    return min((table.input_dim for table in tables if _reads(table, tensor)), default=None)


def _reads(layer: keras.Layer, tensor: Any) -> bool:
    """Returns whether a layer reads an input in one of its calls; a tied embedding is called for the logits too."""
    return any(tensor is each for node in layer._inbound_nodes for each in node.input_tensors)  # no public name


def _sizes_fit(own: tuple, theirs: tuple) -> bool:
    """Returns whether shapes agree in all axes but the batch; None agrees with any size."""
    pairs = zip(own[1:], theirs[1:], strict=False)
    return len(own) == len(theirs) and all(None in pair or pair[0] == pair[1] for pair in pairs)


def _adjusted(own: tuple, theirs: tuple) -> list[tuple]:
    """Returns the shapes that Keras derives from a shape by adding or dropping a last axis of 1."""
    if len(theirs) == len(own) + 1 and theirs[-1] in (1, None):
        return [theirs[:-1]]
    return [(*theirs, 1)] if len(theirs) == len(own) - 1 and own[-1] == 1 else []


def _remedy(own: tuple, theirs: tuple, strings: bool) -> str:
    if strings:
        return "Turn texts into token ids first."
    if len(own) == 4 and len(theirs) == 3 and _sizes_fit(own[:3], theirs):
        return f"Give grey images their channels: np.stack([images] * {own[3]}, axis=-1)."
    if len(own) == len(theirs) + 1:
        return "Data come in batches: call .batch(size) on the pipeline, or give one example a first axis, x[None]."
    if len(own) == 4 and len(theirs) == 4:
        shape = tuple(theirs[axis] if size is None else size for axis, size in enumerate(own))[1:]
        return f"Load images with load(..., image_shape={shape}), or build the model with image_shape={theirs[1:]}."
    return "Prepare the data as the model was trained, or build the model for them."


def _shape_of(each: Any) -> tuple:
    shape = getattr(each, "shape", ())
    return ("?",) if getattr(shape, "rank", 0) is None else tuple(shape)


def _name_of(dtype: Any) -> str:
    name = getattr(dtype, "name", str(dtype))
    return "string" if getattr(dtype, "kind", "") in ("U", "S", "O") else name


def _is_named(tensor: Any) -> bool:
    """Returns whether the layer of an input has its tensor's name: Keras looks up both in a dict."""
    return getattr(getattr(tensor, "_keras_history", (None,))[0], "name", tensor.name) == tensor.name


def _is_optional(tensor: Any) -> bool:
    return bool(getattr(getattr(tensor, "_keras_history", (None,))[0], "optional", False))
