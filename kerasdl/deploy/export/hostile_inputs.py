"""Hostile inputs of a model: the values on which kernels overflow, divide by zero or lose all digits."""

from collections.abc import Mapping

import numpy as np

from ..samples.model_inputs import TEXT, NamedInput, random_arrays

DENORMAL = 1e-40  # below the smallest normal float32, 1.2e-38; kernels may take it for zero
LARGEST = 10**15  # larger numbers are tried on single layers only: docs/awkward.md
UNKNOWN = "\u00e6\u4e2d\U0001f642"  # letters of two, three and four bytes
DENORMAL_EXAMPLE = "a denormal everywhere"

Arrays = dict[str, np.ndarray]


def hostile_arrays(inputs: tuple[NamedInput, ...], real: Mapping[str, np.ndarray]) -> dict[str, Arrays]:
    """Returns hostile examples by their names, such as "zeros"; each has an array (1, ...) for every input.

    Floats are zeros, constants at both ends of their range, one-hot, all negative, ten times the range, a denormal, and
    equal along their first axis. Integers are 0 and the last of their table or dtype, truth values False and True.
    Texts are empty, of one unknown word and of a thousand. Where a model has several inputs, each is zero alone too,
    beside ordinary others.

    Args:
        inputs: the inputs of the model.
        real: real examples by input name, whose range is taken; without them it is -1 to 1, of bytes 0 to 255.
    """
    ordinary = random_arrays(inputs, 1, real)
    examples: dict[str, Arrays] = {}
    for each in inputs:
        for example, value in _values(each, ordinary[each.name], real.get(each.name)).items():
            examples.setdefault(example, {})[each.name] = value
    full = {example: ordinary | part for example, part in examples.items()}
    if len(inputs) > 1:
        for each in inputs:
            full[f"zeros in {each.name!r} alone"] = ordinary | {each.name: _zeros(each, ordinary[each.name])}
    seen: dict[tuple, str] = {}
    for example, arrays in full.items():
        seen.setdefault(tuple(arrays[each.name].tobytes() for each in inputs), example)
    return {example: full[example] for example in seen.values()}


def _values(each: NamedInput, ordinary: np.ndarray, real: np.ndarray | None) -> Arrays:
    zeros = _zeros(each, ordinary)
    if each.dtype == TEXT:
        texts = {"zeros": "", "an unknown word": UNKNOWN, "a thousand words": f"{UNKNOWN} " * 1000}
        return {example: np.full_like(ordinary, text) for example, text in texts.items()}
    dtype = np.dtype(each.dtype)
    if dtype.kind == "b" or each.ids is not None or dtype.kind in "iu":
        last = True if dtype.kind == "b" else (each.ids or min(int(np.iinfo(dtype).max), LARGEST) + 1) - 1
        end = np.full_like(ordinary, last)
        return {"zeros": zeros, "the highest everywhere": end, "one-hot": _one_hot(zeros, last)}
    low, high = _range(real)
    far = max(abs(low), abs(high))
    spread = np.random.default_rng(1).uniform(0, 1, ordinary.shape).astype(dtype)
    values = {
        "zeros": zeros,
        "the lowest everywhere": np.full_like(ordinary, low),
        "the highest everywhere": np.full_like(ordinary, high),
        "one-hot": _one_hot(zeros, far),
        "all negative": -far * spread,
        "ten times the range": 10 * (low + (high - low) * spread),
        DENORMAL_EXAMPLE: np.full_like(ordinary, DENORMAL),
    }
    if ordinary.ndim > 2:
        values["equal rows"] = np.repeat(ordinary[:, :1], ordinary.shape[1], axis=1)
    return {example: value.astype(dtype) for example, value in values.items()}


def _zeros(each: NamedInput, ordinary: np.ndarray) -> np.ndarray:
    return np.full_like(ordinary, "") if each.dtype == TEXT else np.zeros_like(ordinary)


def _one_hot(zeros: np.ndarray, value: float) -> np.ndarray:
    hot = zeros.copy()
    hot.reshape(-1)[hot.size // 2] = value
    return hot


def _range(real: np.ndarray | None) -> tuple[float, float]:
    if real is None or real.min() == real.max() == 0:
        return -1.0, 1.0
    return float(real.min()), float(real.max())
