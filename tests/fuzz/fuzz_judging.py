"""Hostile inputs, and a judgement of files on them that knows nothing of the library under test.

The model is the reference, as `predict` runs it (in a graph: an image layer called on bytes may round, and not there),
on one example at a time. An entry counts where the model agrees with itself once its
inputs and weights move by a unit in the last place; each example is measured against max(1, its own largest output).
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend import get_keras_mask, set_keras_mask

BOUND = 1e-4
# Held-out root mean squared difference over root mean square: what the library promises on the calibration's own kind.
LOSSY = {"float16": 0.05, "dynamic": 0.35, "int8": 0.4, "int16x8": 0.35}
FAR = 1e15  # beyond, docs/awkward.md says what each layer does; float32 ends at 3.4e38, and kernels a little before
SILENT = 1e-6  # an output whose root mean square is below says nothing of relative loss
# A runtime, and TensorFlow itself, may take denormal numbers for zero or not: the answer to either is right.
# What a denormal is then, one sign at each place, the example of normal numbers of the same signs tells.
FLUSHED = ("zeros", "smallest", "denormal")
SAME_SIGNS = "minute"
# So small that a float kernel's own rounding is all that is left once a norm enlarges it: finite is enough there.
MINUTE = ("tiny", "smallest", SAME_SIGNS)

SHAKES = 12  # with three, an entry of ill-conditioned sums stays where it is by chance once in 256
INNER_SHAKES = 6
# Units by which all of an example moves at once: a row of one number stays one, and its mean takes another rounding.
TOGETHER = (-1, 1)

Arrays = list[np.ndarray]


def hostile(friendly: Arrays, rng: np.random.Generator) -> tuple[list[str], Arrays]:
    """Returns the names of hostile examples, and the examples for each input."""
    columns = [_hostile(array, rng) for array in friendly]
    names = list(columns[0])
    return names, [np.stack([column[name] for name in names]) for column in columns]


def _hostile(friendly: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    shape, dtype = friendly.shape[1:], friendly.dtype
    sample = friendly[int(rng.integers(len(friendly)))]
    low, high = (0, 255) if dtype == np.uint8 else (friendly.min(), friendly.max())
    spike = np.zeros(shape, dtype)
    spike.flat[int(rng.integers(spike.size))] = high
    rows = {
        "zeros": np.zeros(shape, dtype),
        "lowest": np.full(shape, low, dtype),
        "highest": np.full(shape, high, dtype),
        "one_hot": spike,
        "repeated": np.broadcast_to(sample[:1], shape).astype(dtype),
    }
    if dtype.kind == "f":
        rows["negative"] = -np.abs(sample) - dtype.type(0.01)
        rows["ten_times"] = 10 * sample
        rows["hundred_times"] = -100 * sample
        rows["tiny"] = 1e-6 * sample
        rows["smallest"] = np.full(shape, 2e-38, dtype) * np.sign(sample)
        rows[SAME_SIGNS] = np.full(shape, 1e-32, dtype) * np.sign(sample)
        rows["denormal"] = np.full(shape, 1e-40, dtype) * np.sign(sample)
        rows["one"] = np.ones(shape, dtype)
    else:
        ends = np.zeros(shape, dtype)
        ends.flat[:2] = high
        rows |= {"padded": ends, "first": np.ones(shape, dtype), "friend": sample}
        rows |= {"middle": np.full(shape, (int(low) + int(high)) // 2, dtype), "checker": _checker(shape, high, dtype)}
    return rows


def _checker(shape: tuple[int, ...], high: float, dtype: np.dtype) -> np.ndarray:
    return (np.arange(int(np.prod(shape))).reshape(shape) % 2 * high).astype(dtype)


def answers(model: keras.Model, arrays: Arrays) -> Arrays:
    """Returns the model's outputs on one example at a time."""
    parts = [_run(model, [array[k : k + 1] for array in arrays]) for k in range(len(arrays[0]))]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _run(model: keras.Model, arrays: Arrays) -> Arrays:
    return [value.numpy() for value in _graph(model)(*map(tf.constant, arrays))]


@lru_cache(maxsize=2)
def _graph(model: keras.Model) -> tf.types.experimental.GenericFunction:
    @tf.function(autograph=False, input_signature=[tf.TensorSpec((None, *x.shape[1:]), x.dtype) for x in model.inputs])
    def run(*tensors: tf.Tensor) -> list[tf.Tensor]:
        return keras.tree.flatten(model(list(tensors) if len(tensors) > 1 else tensors[0], training=False))

    return run


def noise(model: keras.Model, arrays: Arrays, expected: Arrays, unit: float = 2.0**-23) -> Arrays:
    """Returns how far each entry moves by the batch, or when inputs, weights and outputs of layers move by a unit.

    It is infinite for an example on which a layer gives numbers so far out that only the sweep of layers judges them.
    """
    rng = np.random.default_rng(0)
    weights = [weight for weight in model.weights if np.dtype(weight.dtype).kind == "f"]
    kept = [weight.numpy() for weight in weights]
    moved = [np.zeros(value.shape) for value in expected]

    def shaken(value: np.ndarray) -> np.ndarray:
        signs = rng.choice([-1.0, 1.0], value.shape).astype("float32")
        return value * (1 + np.float32(unit) * signs)

    beyond = np.zeros(len(arrays[0]), bool)
    for _ in range(INNER_SHAKES):
        for gap, given, value in zip(moved, _run_shaken(model, arrays, shaken, beyond), expected, strict=True):
            np.maximum(gap, difference(value, given), out=gap)
    for gap in moved:
        gap[beyond] = np.inf
    try:
        for turn in range(1 + SHAKES + len(TOGETHER)):
            for weight, value in zip(weights, kept, strict=True):
                weight.assign(shaken(value) if 0 < turn <= SHAKES else value)
            together = None if turn <= SHAKES else np.float32(1 + unit * TOGETHER[turn - SHAKES - 1])
            move = shaken if together is None else partial(np.multiply, together)
            shifted = [move(array) if array.dtype.kind == "f" and turn else array for array in arrays]
            for gap, given, value in zip(moved, _run(model, shifted), expected, strict=True):
                np.maximum(gap, difference(value, given), out=gap)
    finally:
        for weight, value in zip(weights, kept, strict=True):
            weight.assign(value)
    return moved


def _run_shaken(model: keras.Model, arrays: Arrays, shaken: Callable, beyond: np.ndarray) -> Arrays:
    """Returns the outputs where each layer's own move in the last place: a saturated layer hides its inputs' moves.

    It marks the examples in `beyond` on which a layer within the model gives numbers beyond `FAR`.
    """

    def moving(operation: keras.Operation) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            if "training" in getattr(operation, "_call_context_args", {}):
                kwargs["training"] = False
            outputs = operation(*args, **kwargs)
            return keras.tree.map_structure(moved, outputs)

        return call

    def moved(tensor: tf.Tensor) -> tf.Tensor:
        if not tensor.dtype.is_floating:
            return tensor
        if tensor.shape.rank and len(tensor) == len(beyond):
            inside = np.abs(tensor.numpy().astype("float64")) <= FAR
            np.logical_or(beyond, ~inside.reshape(len(beyond), -1).all(axis=1), out=beyond)
        result = tf.cast(shaken(tf.cast(tensor, tf.float32).numpy()), tensor.dtype)
        if (mask := get_keras_mask(tensor)) is not None:
            set_keras_mask(result, mask)
        return result

    inputs = [tf.constant(array) for array in arrays]
    outputs = model._run_through_graph(inputs if len(inputs) > 1 else inputs[0], operation_fn=moving)
    return [value.numpy() for value in keras.tree.flatten(outputs)]


def difference(expected: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Returns |expected - given| in float64; infinity where one alone is finite."""
    expected, given = expected.astype("float64"), given.astype("float64")
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.where((expected == given) | (np.isnan(expected) & np.isnan(given)), 0.0, np.abs(expected - given))
    return np.where(np.isnan(gap), np.inf, gap)


def wrong_entry(
    names: list[str], expected: np.ndarray, moved: np.ndarray, given: np.ndarray, bound: float = BOUND
) -> str | None:
    """Says where a float file gives something else than the model; None where it is right."""
    if given.shape != expected.shape:
        return f"shape {given.shape}, right {expected.shape}"
    near_zero = [names.index(name) for name in (*FLUSHED, SAME_SIGNS) if name in names]
    for name, right, shift, value in zip(names, expected, moved, given, strict=True):
        finite, size = np.abs(right.astype("float64")) <= FAR, _size_of(right)
        gap = difference(right, value)
        if name in FLUSHED[1:]:  # by the size of the answer that it is held against
            gap = np.min([difference(expected[k], value) * size / _size_of(expected[k]) for k in near_zero], axis=0)
        held = finite & (shift <= 0.1 * bound * size)
        bad = finite & ~np.isfinite(value) if name in MINUTE else held & (gap > bound * size)
        if bad.any():
            where = np.unravel_index(np.argmax(np.where(bad, gap, -1.0)), right.shape)
            return f"on {name}: file gives {value[where]}, right {right[where]} (of at most {size:.4g})"
    return None


def _size_of(right: np.ndarray) -> float:
    magnitudes = np.abs(right.astype("float64"))
    return max(1.0, magnitudes[magnitudes <= FAR].max(initial=0.0))


def lost(names: list[str], expected: np.ndarray, given: np.ndarray) -> str | None:
    """Says where an integer file gives no number although the model does."""
    for name, right, value in zip(names, expected, given, strict=True):
        bad = (np.abs(right.astype("float64")) <= FAR) & ~np.isfinite(value.astype("float64"))
        if bad.any():
            where = np.unravel_index(np.argmax(bad), right.shape)
            return f"on {name}: file gives {value[where]}, right {right[where]}"
    return None


def rmse(expected: np.ndarray, given: np.ndarray) -> float:
    """Returns root mean squared difference over root mean square of the example in the middle.

    Values with long tails leave the ranges that a few examples show: a file may lose some examples altogether, not
    half of them. 0 where there is nothing to measure.
    """
    expected, given = (value.astype("float64").reshape(len(value), -1) for value in (expected, given))
    if not np.isfinite(expected).all():
        return 0.0
    square = np.sqrt(np.mean(expected**2))
    each = np.sqrt(np.mean((expected - given) ** 2, axis=1))
    return float(np.median(each) / square) if square > SILENT else 0.0
