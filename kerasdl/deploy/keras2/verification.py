"""Verification of a bridged model: random inputs that fit it, and the first layer whose outputs differ."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core.errors import ExportError
from kerasdl.core.keras_graph import all_layers

from ..export.parity import drifts_of, worst
from ..export.tracing import first_line
from ..samples.model_inputs import FREE_SIZE, structure
from .masks import Both, is_both

TOLERANCE = 1e-5  # on the largest difference over max(1, largest value), of one layer on the same numbers
BATCH = 2  # more than one, so that a layer that mixes examples shows
# What a free size may be: a net may need a large image, or have positions for a short sequence alone.
SIZES = (FREE_SIZE, 32, 16, 8, 4, 2, 1, 128, 256)
Spec = tuple[tuple[int | None, ...], str]  # shape and dtype


def samples_of(model: keras.Model, seed: int = 0) -> list[tf.Tensor]:
    """Returns a random value for each of the model's inputs: integers within the smallest table that reads any."""
    tables = [layer.input_dim for layer in all_layers(model) if isinstance(layer, keras.layers.Embedding)]
    specs = [(tuple(tensor.shape), tensor.dtype) for tensor in model.inputs]

    def run(values: list[tf.Tensor]) -> None:
        with keras.StatelessScope():
            model(keras.tree.pack_sequence_as(structure(model), values), training=False)

    return fitting_samples(specs, min(tables, default=2), run, seed)


def fitting_samples(
    specs: list[Spec], rows: int, run: Callable[[list[tf.Tensor]], None], seed: int = 0
) -> list[tf.Tensor]:
    """Returns random values for inputs; where these have free sizes, `run` is tried on one size after the other.

    Args:
        specs: the shape and dtype of each input.
        rows: integers stay below it.
        run: raises where the sizes do not fit.
        seed: of the values.
    """
    if all(None not in shape[1:] for shape, _ in specs):
        return _draw(specs, rows, FREE_SIZE, seed)
    failure: Exception | None = None
    for size in SIZES:
        values = _draw(specs, rows, size, seed)
        try:
            run(values)
        except (ValueError, TypeError, tf.errors.OpError) as error:
            failure = failure or error
        else:
            return values
    raise ExportError(
        f"a model must run on inputs whose free sizes are one of {SIZES}; got {first_line(failure)}. Fix them in Input."
    )


def _draw(specs: list[Spec], rows: int, free: int, seed: int) -> list[tf.Tensor]:
    generator = np.random.default_rng(seed)
    shapes = [tuple(size or (free if axis else BATCH) for axis, size in enumerate(shape)) for shape, _ in specs]
    return [
        tf.constant(_values(dtype, shape, rows, generator)) for (_, dtype), shape in zip(specs, shapes, strict=True)
    ]


def gap_between(expected: Any, given: Any) -> float:
    """Returns the largest difference over max(1, largest value) of two structures of tensors."""
    expected, given = keras.tree.flatten(expected), keras.tree.flatten(given)
    if [tuple(value.shape) for value in expected] != [tuple(value.shape) for value in given]:
        return float("inf")
    return max(map(_gap_of_one, expected, given), default=0.0)


def _gap_of_one(expected: tf.Tensor, given: tf.Tensor) -> float:
    expected, given = np.asarray(expected), np.asarray(given)
    if expected.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(expected, given) else float("inf")
    return worst(drifts_of("real", {"": expected}, {"": given}), "relative") or 0.0


def _values(dtype: str, shape: tuple[int, ...], rows: int, generator: np.random.Generator) -> Any:
    if dtype == "string":
        return generator.choice(["one", "two three", ""], shape)
    if dtype == "bool":
        return generator.integers(0, 2, shape).astype(bool)
    if dtype.startswith(("int", "uint")):
        return generator.integers(0, min(rows, 100), shape).astype(dtype)
    return generator.normal(0.0, 1.5, shape).astype("float32" if dtype in ("float16", "bfloat16") else dtype)


SUDDEN = 1e-3  # rounding grows from layer to layer; what goes astray is there at once


@dataclass(frozen=True)
class Step:
    """One output of one layer."""

    name: str
    """The layer's name."""
    sources: list[Both]
    """What went in."""
    output: Both
    """What came out."""


def steps(name: str, arguments: Any, outputs: list[Both]) -> list[Step]:
    """Returns the steps of one call of a layer."""
    sources = [value for value in keras.tree.flatten(arguments) if is_both(value)]
    return [Step(name, sources, output) for output in outputs]


def check_trail(trail: list[Step], given: Any) -> None:
    """Compares what each layer gave by itself with what it gives in the bridged model.

    Args:
        trail: the steps, in the order of the graph.
        given: what the bridged model gives for each.

    Raises:
        ExportError: a layer's output is another, though its inputs are the same; the text names it.
    """
    gaps: dict[int, float] = {}
    for step, value in zip(trail, keras.tree.flatten(given), strict=True):
        gaps[id(step.output)] = gap = gap_between(step.output.real, value)
        before = max((gaps.get(id(source), 0.0) for source in step.sources), default=0.0)
        if gap > max(SUDDEN, SUDDEN / TOLERANCE * before):
            raise ExportError(
                f"layer {step.name!r} must give in the bridged model what it gives in the source; got a difference of "
                f"{gap:.1e}, though not by itself. Are there masks that reach it by a way of their own?"
            )
