"""Forms of real examples: their arrays for each input of a model, and their classes."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerasdl.core import checks

from .model_inputs import NamedInput, normalized_name


def inputs_and_labels(value: Any, forms: tuple[NamedInput, ...], single: bool) -> tuple[list, Any]:
    """Returns an array for each input, and the labels or None, of a source or of an element of one.

    Args:
        value: inputs alone; or a tuple or list of inputs, labels and perhaps weights.
        forms: the inputs of the model.
        single: whether the value may be one example rather than a batch.
    """
    few = isinstance(value, (tuple, list)) and 1 <= len(value) <= 3
    if few and (_holds_inputs(value[0], forms, single) or _is_misfit_pair(value, forms)):
        return _by_input(value[0], forms), value[1] if len(value) > 1 else None
    return _by_input(value, forms), None


def is_single(part: np.ndarray, form: NamedInput) -> bool:
    """Tells whether an array is one example, not a batch; a batch of grey images may lack the axis of channels."""
    lacks_last = form.shape[-1] == 1 and all(
        size in (None, own) for size, own in zip(form.shape[1:-1], part.shape[1:], strict=False)
    )
    fits = all(size in (None, own) for size, own in zip(form.shape[1:], part.shape, strict=False))
    return part.ndim == len(form.shape) - 1 and (fits or not lacks_last)


def _is_misfit_pair(value: Any, forms: tuple[NamedInput, ...]) -> bool:
    """Tells whether a value is a pair of inputs and labels whose inputs have a wrong rank, which a message can name."""
    if len(forms) > 1 or not isinstance(value, tuple) or len(value) == 1 or not is_array(value[0]):
        return False
    return len(value[0].shape) > 0 and np.shape(value[1]) != np.shape(value[0])


def _holds_inputs(value: Any, forms: tuple[NamedInput, ...], single: bool) -> bool:
    if isinstance(value, Mapping):
        return all(_name_in(value, form) is not None for form in forms)
    if len(forms) > 1:
        return (
            isinstance(value, (list, tuple))
            and len(value) == len(forms)
            and all(_ranks_fit(part, form, single) for part, form in zip(value, forms, strict=True))
        )
    if isinstance(value, (list, tuple)) and len(value) == 1 and _ranks_fit(value[0], forms[0], single):
        return True
    return _ranks_fit(value, forms[0], single)


def _ranks_fit(value: Any, form: NamedInput, single: bool) -> bool:
    try:
        return np.ndim(value) in (len(form.shape), len(form.shape) - single)
    except ValueError:  # lists of unlike lengths
        return False


def _by_input(value: Any, forms: tuple[NamedInput, ...]) -> list:
    names = [form.name for form in forms]
    if isinstance(value, Mapping):
        keys = [_name_in(value, form) for form in forms]
        missing = [name for name, key in zip(names, keys, strict=True) if key is None]
        if missing:
            checks.refuse(f"samples must hold an array for each input; {missing} lack one", sorted(map(str, value)))
        return [value[key] for key in keys]
    if len(forms) == 1:
        alone = isinstance(value, (list, tuple)) and len(value) == 1 and _ranks_fit(value[0], forms[0], single=False)
        return [value[0] if alone else value]
    parts = keras.tree.flatten(value) if isinstance(value, (list, tuple)) and len(value) != len(forms) else value
    if not isinstance(parts, (list, tuple)) or len(parts) != len(forms):
        got = f"{len(parts)} arrays" if isinstance(parts, (list, tuple)) and len(parts) < 10 else type(value).__name__
        checks.refuse(f"samples must hold an array for each of the inputs {names}", got, "Pass a dict by input name.")
    return list(parts)


def _name_in(value: Mapping, form: NamedInput) -> Any:
    for key in value:
        if key == form.name or key in form.aliases:
            return key
    return next((key for key in value if isinstance(key, str) and normalized_name(key) == form.name), None)


def is_array(value: Any) -> bool:
    """Tells whether a value is an array, a tensor, or an array on disk."""
    return hasattr(value, "__array__") or (hasattr(value, "shape") and hasattr(value, "__getitem__"))


def size_of(parts: list, forms: tuple[NamedInput, ...]) -> int:
    """Returns the number of examples, which must be equal for all inputs."""
    sizes = {form.name: _length(part) for form, part in zip(forms, parts, strict=True)}
    if len(set(sizes.values())) != 1:
        checks.refuse("samples must hold equally many examples for each input, one or more", sizes)
    return next(iter(sizes.values()))


def classes_of(labels: Any, size: int) -> np.ndarray | None:
    """Returns the class of each example, or None where labels are not classes; of several labels, the first that is.

    Raises:
        ArgumentError: there are not as many labels as examples.
    """
    if labels is None or (not isinstance(labels, (Mapping, list, tuple)) and np.ndim(labels) == 0):
        return None  # none, or a filler
    nested = isinstance(labels, (list, tuple)) and len(labels) != size
    if isinstance(labels, Mapping) or nested:
        parts = [labels[key] for key in sorted(labels)] if isinstance(labels, Mapping) else list(labels)
        alone = [part for part in parts if not isinstance(part, (Mapping, list, tuple))]
        if not all(map(is_array, alone)) or any(np.ndim(part) == 0 for part in alone):
            checks.refuse("samples must hold as many labels as examples", len(labels))
        candidates = [classes_of(part, size) for part in parts]
        return next((classes for classes in candidates if classes is not None), None)
    if _length(labels) != size:
        checks.refuse(f"samples must hold as many labels as examples, {size}", _length(labels))
    try:
        array = np.asarray(labels)
    except ValueError:  # labels of unlike lengths
        return None
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and array.dtype.kind in "iubf":
        one_hot = np.isin(array, (0, 1)).all() and (array.sum(1) == 1).all()
        return array.argmax(1) if one_hot else None
    whole = array.dtype.kind in "iubOUS" or (array.dtype.kind == "f" and (array == np.round(array)).all())
    return array if array.ndim == 1 and whole else None


def _length(part: Any) -> int:
    if hasattr(part, "shape"):
        return int(part.shape[0]) if len(part.shape) else 1
    return len(part) if hasattr(part, "__len__") else 1
