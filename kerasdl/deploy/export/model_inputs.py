"""What goes into a model: its named inputs, real samples brought into their form, and random ones."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.keras_graph import all_layers, is_graph
from kerasdl.data import Dataset, as_dataset

FREE_SIZE = 64  # what a free dimension (None) is in random inputs where no real one shows its size


@dataclass(frozen=True)
class NamedInput:
    """One input of a model."""

    name: str
    """Its Keras name, all but letters, digits and _ replaced by _, and `input_` put before what is no letter."""
    shape: tuple[int | None, ...]
    """Its shape with the batch first; the batch is None or 1."""
    dtype: str
    """The dtype of its values, such as "float32"."""
    ids: int | None = None
    """Where an Embedding reads it: how many rows that table has."""


def has_nan(layer: keras.Layer) -> bool:
    """Tells whether a weight of a layer holds something that is no number."""
    return any(np.isnan(np.asarray(weight, "float64")).any() for weight in layer.weights)


def structure(model: keras.Model) -> Any:
    """Returns the nested structure of the model's inputs, as its call takes it."""
    if isinstance(model, keras.Sequential):
        return model.inputs[0]
    if is_graph(model):
        return model.input
    return keras.tree.map_shape_structure(_Shape, _build_shape(model))


def named_inputs(model: keras.Model, samples: Any = None) -> tuple[NamedInput, ...]:
    """Returns the inputs of a model in the order in which it takes them.

    A subclassed model does not record dtypes: they are read off `samples`, arrays in the order of its inputs.
    """
    if not isinstance(model, keras.Model):
        checks.refuse("model must be a keras.Model", type(model).__name__)
    if not is_graph(model):
        return _subclassed_inputs(model, samples)
    tables = [layer for layer in all_layers(model) if isinstance(layer, keras.layers.Embedding)]
    return tuple(
        NamedInput(_plain(tensor.name), _batched(_shape(model, tensor)), _dtype(tensor.dtype), _rows(tensor, tables))
        for tensor in model.inputs
    )


def sample_arrays(source: Any, inputs: tuple[NamedInput, ...], limit: int) -> dict[str, np.ndarray]:
    """Returns at most `limit` examples of `source` as one array for each input.

    Args:
        source: an array, a list with an array for each input, a dict by input name, a pair (x, y), or whatever
            `kerasdl.data.as_dataset` takes.
        inputs: the inputs of the model.
        limit: the number of examples, 1 or more.

    Returns:
        Arrays of shape (B, ...) by input name.

    Raises:
        ArgumentError: a shape or dtype does not fit its input, or a value is not finite.
    """
    x = _examples(source, len(inputs), limit)
    if not isinstance(x, Mapping):
        x = dict(zip((each.name for each in inputs), x if isinstance(x, (list, tuple)) else [x], strict=False))
    x = {_plain(name): array for name, array in x.items()}
    missing = [each.name for each in inputs if each.name not in x]
    if missing:
        checks.refuse(f"samples must hold an array for each input; {missing} lack one", sorted(x))
    arrays = {each.name: _fitting(each, np.asarray(x[each.name])[:limit]) for each in inputs}
    if len({len(array) for array in arrays.values()}) != 1 or not all(map(len, arrays.values())):
        lengths = {name: len(array) for name, array in arrays.items()}
        checks.refuse("samples must hold equally many examples for each input, one or more", lengths)
    return arrays


def random_arrays(
    inputs: tuple[NamedInput, ...], count: int, like: Mapping[str, np.ndarray], seed: int = 0
) -> dict[str, np.ndarray]:
    """Returns `count` random examples: floats from -1 to 1, token ids within their table, other integers 0 or 1.

    Free dimensions take their size from `like`, real examples, and else are 64; floats take their range from them: a
    net that expects pixels up to 255 sees a grey wall in values from -1 to 1, and magnifies every rounding.
    """
    generator = np.random.default_rng(seed)
    arrays = {}
    for each in inputs:
        sizes = like[each.name].shape if each.name in like else [FREE_SIZE] * len(each.shape)
        shape = (count, *(free if size is None else size for size, free in zip(each.shape[1:], sizes[1:], strict=True)))
        if each.ids is None and np.dtype(each.dtype).kind == "f":
            real = like.get(each.name, np.array([-1.0, 1.0]))
            low, high = (real.min(), real.max()) if real.min() < real.max() else (-1, 1)
            values = generator.uniform(low, high, shape)
        else:
            values = generator.integers(0, each.ids or 2, shape)
        arrays[each.name] = values.astype(each.dtype)
    return arrays


def _build_shape(model: keras.Model) -> Any:
    shape = (model.get_build_config() or {}).get("input_shape") if model.built else None
    if shape is None:
        checks.refuse(
            "a model must be built, and take one argument (a tensor, or a list or dict of them)",
            model.name,
            "Call it once on a real batch first.",
        )
    return shape


def _subclassed_inputs(model: keras.Model, samples: Any) -> tuple[NamedInput, ...]:
    named = keras.tree.flatten_with_path(keras.tree.map_shape_structure(_Shape, _build_shape(model)))
    keys = [path[-1] if path else None for path, _ in named]
    names = [_plain(key) if isinstance(key, str) else f"input_{index}" for index, key in enumerate(keys)]
    tables = [layer.input_dim for layer in all_layers(model) if isinstance(layer, keras.layers.Embedding)]
    if tables and samples is None:
        checks.refuse("a subclassed model with an Embedding needs samples, which show its inputs' dtypes", None)
    arrays = [None] * len(named) if samples is None else _examples(samples, len(named), 1)
    if isinstance(arrays, Mapping):
        arrays = [arrays.get(name) for name in names]
    arrays = arrays if isinstance(arrays, (list, tuple)) else [arrays]
    inputs = []
    for name, (_, shape), array in zip(names, named, arrays, strict=True):
        dtype = _dtype(model.input_dtype if array is None else str(np.asarray(array).dtype))
        dtype = "float32" if dtype == "float64" else dtype  # what NumPy makes of Python's floats
        rows = min(tables, default=None) if np.dtype(dtype).kind in "iu" else None
        inputs.append(NamedInput(name, _batched((None, *shape.sizes[1:])), dtype, rows))
    return tuple(inputs)


@dataclass(frozen=True)
class _Shape:  # a leaf for keras.tree, which would walk into a tuple
    sizes: tuple[int | None, ...]


def _examples(source: Any, inputs: int, limit: int) -> Any:
    if isinstance(source, Mapping) or hasattr(source, "__array__"):
        return source
    if isinstance(source, (list, tuple)) and len(source) == inputs > 1:
        return source
    if isinstance(source, list):
        return source[0] if len(source) == 1 and np.ndim(source[0]) > 0 else np.asarray(source)
    if isinstance(source, tf.data.Dataset) and not isinstance(source.element_spec, tuple):
        source = source.map(lambda batch: (batch, 0))  # inputs alone
    size = min(limit, 32)
    # The examples of a dataset may stand class by class.
    batches = [
        x for x, _ in islice(as_dataset(source).batches(size, shuffle=isinstance(source, Dataset)), -(-limit // size))
    ]
    return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *batches)


def _fitting(each: NamedInput, array: np.ndarray) -> np.ndarray:
    fits = len(array.shape) == len(each.shape) and all(
        size in (None, given) for size, given in zip(each.shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        checks.refuse(f"samples for input {each.name!r} must have the shape {each.shape}", array.shape)
    whole_for_real = np.dtype(each.dtype).kind == "f" and array.dtype.kind in "iub"
    if whole_for_real or not np.can_cast(array.dtype, each.dtype, "same_kind"):
        hint = "Prepare them as the model was trained, then pass samples.astype('float32')." if whole_for_real else ""
        checks.refuse(f"samples for input {each.name!r} must be {each.dtype}", str(array.dtype), hint)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        checks.refuse(f"samples for input {each.name!r} must be finite", "NaN or infinity")
    return array.astype(each.dtype)


def _rows(tensor: keras.KerasTensor, tables: list[keras.layers.Embedding]) -> int | None:
    reading = [table.input_dim for table in tables if _reads(table, tensor)]
    if not reading and np.dtype(_dtype(tensor.dtype)).kind in "iu":
        reading = [table.input_dim for table in tables]  # read through another layer: stay within every table
    return min(reading, default=None)


def _reads(layer: keras.Layer, tensor: keras.KerasTensor) -> bool:
    try:
        return layer.input is tensor
    except (AttributeError, ValueError):  # called more than once, or inside another layer
        return False


def _shape(model: keras.Model, tensor: keras.KerasTensor) -> tuple[int | None, ...]:
    """Returns an input's shape; a Sequential model that its first call built notes that call's batch, but takes any."""
    noted = isinstance(model, keras.Sequential) and tensor.shape[0] != 1
    if noted and not any(getattr(layer, "stateful", False) for layer in all_layers(model)):
        return (None, *tensor.shape[1:])
    return tensor.shape


def _batched(shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    if shape[0] not in (None, 1):
        checks.refuse("the batch size of a model for export must be free or 1", shape[0])
    return tuple(shape)


def _dtype(dtype: str) -> str:
    if dtype == "string":
        checks.refuse("the inputs of a model for export must be numbers or truth values", dtype)
    return "float32" if dtype in ("bfloat16", "float16") else dtype  # files take and give float32


def _plain(name: str) -> str:
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    return plain if plain[:1].isalpha() else f"input_{plain}"  # TensorFlow's names start with a letter
