"""Inputs of a model: their names, shapes and dtypes, real samples brought into that form, and random ones."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from kerasdl.core import checks
from kerasdl.core.keras_graph import all_layers, is_graph

FREE_SIZE = 64  # the size of a free dimension (None) in random inputs, where no real input shows another
TEXT = "string"
WORDS = ("", "the quick brown fox", "0", "unknown")  # texts that a vocabulary may lack


@dataclass(frozen=True)
class NamedInput:
    """One input of a model."""

    name: str
    """Its Keras name in lower case, as TensorFlow writes it, all but letters, digits and _ replaced by _, and `input_`
    put before what is no letter; a second one of the same name gets `_1`."""
    shape: tuple[int | None, ...]
    """Its shape with the batch first; the batch is None or 1."""
    dtype: str
    """The dtype of its values, such as "float32", or "string"."""
    ids: int | None = None
    """The number of rows or categories of the Embedding or CategoryEncoding that reads it, or None."""
    aliases: tuple[str, ...] = ()
    """Other names for it in a dict of samples: its Keras name, and its key where the model takes a dict."""
    words: tuple[str, ...] = ()
    """The words of its vocabulary, for texts."""


def has_nan(layer: keras.Layer) -> bool:
    """Tells whether a weight of a layer holds NaN."""
    return any(np.isnan(np.asarray(weight, "float64")).any() for weight in layer.weights)


def structure(model: keras.Model) -> Any:
    """Returns the nested structure of the model's inputs, as its call takes it."""
    if is_graph(model):
        return model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_shape_structure(_Shape, _build_shape(model))


def named_inputs(model: keras.Model, samples: Mapping[str, np.ndarray] | None = None) -> tuple[NamedInput, ...]:
    """Returns the inputs of a model in the order in which it takes them.

    A subclassed model does not record dtypes: they are read off `samples`, arrays by input name.
    """
    forms = input_forms(model)
    if is_graph(model):
        return forms
    tables = [layer.input_dim for layer in all_layers(model) if isinstance(layer, keras.layers.Embedding)]
    if tables and not samples:
        checks.refuse("a subclassed model with an Embedding needs samples, which show its inputs' dtypes", None)
    inputs = []
    for form in forms:
        dtype = _dtype(model.input_dtype if not samples else _dtype_of(samples[form.name]))
        is_integer = dtype != TEXT and np.dtype(dtype).kind in "iu"
        inputs.append(replace(form, dtype=dtype, ids=min(tables, default=None) if is_integer else None))
    return tuple(inputs)


def input_forms(model: keras.Model) -> tuple[NamedInput, ...]:
    """Returns the inputs of a model without the dtypes that a subclassed one does not record."""
    if not isinstance(model, keras.Model):
        checks.refuse("model must be a keras.Model", type(model).__name__)
    paths = [path for path, _ in keras.tree.flatten_with_path(structure(model))]
    keys = [path[-1] if path and isinstance(path[-1], str) else None for path in paths]
    if not is_graph(model):
        shapes = [leaf.sizes for leaf in keras.tree.flatten(structure(model))]
        names = _unique(key or f"input_{index}" for index, key in enumerate(keys))
        return tuple(
            NamedInput(name, _batched((None, *shape[1:]), name), "", aliases=(key,) if key else ())
            for name, shape, key in zip(names, shapes, keys, strict=True)
        )
    names = _unique(tensor.name for tensor in model.inputs)
    return tuple(
        NamedInput(
            name,
            _batched(_shape(model, tensor), tensor.name),
            _dtype(tensor.dtype),
            _rows(model, tensor),
            tuple(alias for alias in (tensor.name, key) if alias),
            _words(model) if tensor.dtype == TEXT else (),
        )
        for name, tensor, key in zip(names, model.inputs, keys, strict=True)
    )


def random_arrays(
    inputs: tuple[NamedInput, ...], count: int, like: Mapping[str, np.ndarray], seed: int = 0
) -> dict[str, np.ndarray]:
    """Returns `count` random examples within what each input takes.

    Numbers take their range from `like`, real examples: to a net that expects pixels up to 255, values from -1 to 1 are
    one grey, in which it magnifies every rounding. Without them floats are from -1 to 1, bytes from 0 to 255 and other
    integers 0 or 1; ids stay within their table, and texts are words of the vocabulary and others. Free dimensions take
    their size from `like`, and else are 64.
    """
    generator = np.random.default_rng(seed)
    arrays = {}
    for each in inputs:
        sizes = like[each.name].shape if each.name in like else [FREE_SIZE] * len(each.shape)
        shape = (count, *(free if size is None else size for size, free in zip(each.shape[1:], sizes[1:], strict=True)))
        if each.dtype == TEXT:
            arrays[each.name] = generator.choice(np.array(each.words or WORDS, object), shape)
        else:
            arrays[each.name] = _numbers(each, like.get(each.name), generator, shape)
    return arrays


def _numbers(each: NamedInput, real: np.ndarray | None, generator: np.random.Generator, shape: tuple) -> np.ndarray:
    kind = np.dtype(each.dtype).kind
    if kind == "f":
        low, high = (-1, 1) if real is None or real.min() == real.max() else (real.min(), real.max())
        return generator.uniform(low, high, shape).astype(each.dtype)
    if kind == "b" or (real is None and each.dtype != "uint8"):
        low, high = 0, 1
    else:
        low, high = (0, 255) if real is None else (int(real.min()), int(real.max()))
    if each.ids is not None:
        low, high = 0, each.ids - 1
    return generator.integers(low, high, shape, endpoint=True).astype(each.dtype)


def fitting(each: NamedInput, array: np.ndarray) -> np.ndarray:
    """Returns an array in the dtype of an input.

    Raises:
        ArgumentError: its shape or dtype does not fit, or a value is not finite.
    """
    fits = len(array.shape) == len(each.shape) and all(
        size in (None, given) for size, given in zip(each.shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        rule = f"samples for input {each.name!r} must have the shape {each.shape}, the number of examples first"
        checks.refuse(rule, array.shape, _advice(each, array.shape))
    if each.dtype == TEXT:
        if array.dtype.kind not in "OUS":
            checks.refuse(f"samples for input {each.name!r} must be texts", str(array.dtype))
        return array.astype(object)
    whole_for_real = np.dtype(each.dtype).kind == "f" and array.dtype.kind in "iub"
    if whole_for_real or not np.can_cast(array.dtype, each.dtype, "same_kind"):
        hint = "Prepare them as the model was trained, then pass samples.astype('float32')." if whole_for_real else ""
        checks.refuse(f"samples for input {each.name!r} must be {each.dtype}", str(array.dtype), hint)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        checks.refuse(f"samples for input {each.name!r} must be finite", "NaN or infinity")
    return array.astype(each.dtype)


def _advice(each: NamedInput, shape: tuple[int, ...]) -> str:
    if len(shape) == len(each.shape) - 1:
        return "A single example needs an axis in front: pass samples[None]."
    if len(each.shape) == len(shape) == 4:
        wanted = tuple(given if size is None else size for size, given in zip(each.shape, shape, strict=True))[1:]
        return f"Load images with kerasdl.data.load(..., image_shape={wanted}), or bring them to that shape."
    return "Prepare them as the model was trained."


def _build_shape(model: keras.Model) -> Any:
    shape = (model.get_build_config() or {}).get("input_shape") if model.built else None
    if shape is None:
        checks.refuse(
            "a model must be built, and take one argument (a tensor, or a list or dict of them)",
            model.name,
            "Call it once on a real batch first.",
        )
    return shape


@dataclass(frozen=True)
class _Shape:  # a leaf for keras.tree, which would walk into a tuple
    sizes: tuple[int | None, ...]


def _rows(model: keras.Model, tensor: keras.KerasTensor) -> int | None:
    tables = [layer for layer in all_layers(model) if _categories(layer)]
    reading = [_categories(layer) for layer in tables if _reads(layer, tensor)]
    is_integer = tensor.dtype != TEXT and np.dtype(_dtype(tensor.dtype)).kind in "iu"
    if not reading and is_integer and len(tensor.shape) < 4:
        reading = [_categories(layer) for layer in tables]  # another layer stands between: ids stay within every table
    return min(reading, default=None)


def _categories(layer: keras.Layer) -> int | None:
    if isinstance(layer, keras.layers.Embedding):
        return layer.input_dim
    return layer.num_tokens if isinstance(layer, keras.layers.CategoryEncoding) else None


def _words(model: keras.Model) -> tuple[str, ...]:
    """Returns words of a model's vocabularies; where these take any text, other words and short sentences too."""
    lookups = [layer for layer in all_layers(model) if hasattr(layer, "get_vocabulary")]
    known = [word for layer in lookups for word in layer.get_vocabulary() if isinstance(word, str)][:1000]
    if any(getattr(layer, "num_oov_indices", 1) == 0 for layer in lookups):
        return tuple(known)
    return (*WORDS, *known, " ".join(known[-5:]), " ".join(known[:5]))


def _reads(layer: keras.Layer, tensor: keras.KerasTensor) -> bool:
    try:
        return layer.input is tensor
    except (AttributeError, ValueError):  # called more than once, or inside another layer
        return False


def _shape(model: keras.Model, tensor: keras.KerasTensor) -> tuple[int | None, ...]:
    """Returns an input's shape; a Sequential model built by its first call records that batch size, but takes any."""
    batch_is_recorded = isinstance(model, keras.Sequential) and tensor.shape[0] != 1
    if batch_is_recorded and not any(getattr(layer, "stateful", False) for layer in all_layers(model)):
        return (None, *tensor.shape[1:])
    return tensor.shape


def _batched(shape: tuple[int | None, ...], name: str) -> tuple[int | None, ...]:
    if shape[0] not in (None, 1):
        checks.refuse(f"the batch size of a model for export must be free or 1 (input {name!r})", shape[0])
    return tuple(shape)


def _dtype(dtype: str) -> str:
    return "float32" if dtype in ("bfloat16", "float16") else dtype  # files take and give float32


def _dtype_of(array: np.ndarray) -> str:
    if array.dtype.kind in "OUS":
        return TEXT
    return "float32" if array.dtype == "float64" else str(array.dtype)  # what NumPy makes of Python's floats


def normalized_name(name: str) -> str:
    """Returns a name of letters, digits and underscores in lower case, which every format takes."""
    word = re.sub(r"\W", "_", name, flags=re.ASCII).lower()
    return word if word[:1].isalpha() else f"input_{word}"  # TensorFlow's names start with a letter


def _unique(names: Iterator[str]) -> list[str]:
    unique: list[str] = []
    for name in map(normalized_name, names):
        copies = (name, *(f"{name}_{copy}" for copy in range(1, len(unique) + 1)))
        unique.append(next(each for each in copies if each not in unique))
    return unique
