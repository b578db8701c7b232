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
from .masks import PairedTensor, is_paired

TOLERANCE = 1e-5  # bound on the largest difference over max(1, largest value), of one layer on the same inputs
BATCH = 2  # more than one example, so that a layer that mixes examples is found out
# Sizes tried for a free dimension: one net needs a large image, another has positions for a short sequence alone.
FREE_SIZES = (FREE_SIZE, 32, 16, 8, 4, 2, 1, 128, 256)
Spec = tuple[tuple[int | None, ...], str]  # shape and dtype


def random_inputs(model: keras.Model, seed: int = 0) -> list[tf.Tensor]:
    """Returns a random tensor for each input of a model; integers stay below the rows of its smallest Embedding."""
    tables = [layer.input_dim for layer in all_layers(model) if isinstance(layer, keras.layers.Embedding)]
    specs = [(tuple(tensor.shape), tensor.dtype) for tensor in model.inputs]

    def run(values: list[tf.Tensor]) -> None:
        with keras.StatelessScope():
            model(keras.tree.pack_sequence_as(structure(model), values), training=False)

    return random_inputs_for(specs, min(tables, default=2), run, seed)


def random_inputs_for(
    specs: list[Spec], rows: int, run: Callable[[list[tf.Tensor]], None], seed: int = 0
) -> list[tf.Tensor]:
    """Returns random tensors of given shapes and dtypes; where sizes are free, the first size on which `run` passes.

    Args:
        specs: the shape and dtype of each input.
        rows: the upper bound of integers, which stay below it.
        run: runs the model; raises where the sizes do not fit.
        seed: the seed of the random tensors.

    Raises:
        ExportError: `run` raises for every size that is tried.
    """
    if all(None not in shape[1:] for shape, _ in specs):
        return _draw(specs, rows, FREE_SIZE, seed)
    failure: Exception | None = None
    for size in FREE_SIZES:
        values = _draw(specs, rows, size, seed)
        try:
            run(values)
        except (ValueError, TypeError, tf.errors.OpError) as error:
            failure = failure or error
        else:
            return values
    raise ExportError(
        f"a model must run on inputs whose free sizes are one of {FREE_SIZES}; got {first_line(failure)}. "
        "Fix them in Input."
    )


def _draw(specs: list[Spec], rows: int, free: int, seed: int) -> list[tf.Tensor]:
    generator = np.random.default_rng(seed)
    shapes = [tuple(size or (free if axis else BATCH) for axis, size in enumerate(shape)) for shape, _ in specs]
    return [
        tf.constant(_values(dtype, shape, rows, generator)) for (_, dtype), shape in zip(specs, shapes, strict=True)
    ]


def largest_difference(expected: Any, actual: Any) -> float:
    """Returns the largest difference over max(1, largest value) of two structures; infinity where shapes differ."""
    expected, actual = keras.tree.flatten(expected), keras.tree.flatten(actual)
    if [tuple(value.shape) for value in expected] != [tuple(value.shape) for value in actual]:
        return float("inf")
    return max(map(_difference_of_tensors, expected, actual), default=0.0)


def _difference_of_tensors(expected: tf.Tensor, actual: tf.Tensor) -> float:
    expected, actual = np.asarray(expected), np.asarray(actual)
    if expected.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(expected, actual) else float("inf")
    return worst(drifts_of("real", {"": expected}, {"": actual}), "relative") or 0.0


def _values(dtype: str, shape: tuple[int, ...], rows: int, generator: np.random.Generator) -> Any:
    if dtype == "string":
        return generator.choice(["one", "two three", ""], shape)
    if dtype == "bool":
        return generator.integers(0, 2, shape).astype(bool)
    if dtype.startswith(("int", "uint")):
        return generator.integers(0, min(rows, 100), shape).astype(dtype)
    return generator.normal(0.0, 1.5, shape).astype("float32" if dtype in ("float16", "bfloat16") else dtype)


LEAST_JUMP = 1e-3  # rounding grows slowly from layer to layer; a layer that is wrong differs by more at once


@dataclass(frozen=True)
class LayerOutput:
    """One output of one call of a layer."""

    name: str
    """The layer's name."""
    sources: list[PairedTensor]
    """The tensors that the call reads."""
    output: PairedTensor
    """The output."""


def layer_outputs(name: str, arguments: Any, outputs: list[PairedTensor]) -> list[LayerOutput]:
    """Returns a record for each output of one call of a layer."""
    sources = [value for value in keras.tree.flatten(arguments) if is_paired(value)]
    return [LayerOutput(name, sources, output) for output in outputs]


def check_layer_outputs(recorded: list[LayerOutput], bridged: Any) -> None:
    """Compares the outputs of each layer alone with its outputs inside the bridged model.

    Args:
        recorded: the outputs of the layers, in the order of the graph.
        bridged: the same outputs, computed by the bridged model.

    Raises:
        ExportError: the output of a layer differs though its inputs agree; the text names the layer.
    """
    differences: dict[int, float] = {}
    for record, actual in zip(recorded, keras.tree.flatten(bridged), strict=True):
        differences[id(record.output)] = difference = largest_difference(record.output.value, actual)
        before = max((differences.get(id(source), 0.0) for source in record.sources), default=0.0)
        if difference > max(LEAST_JUMP, LEAST_JUMP / TOLERANCE * before):
            raise ExportError(
                f"layer {record.name!r} must compute in the bridged model what it computes in the source; the outputs "
                f"differ by {difference:.1e}, though the layer alone agrees. "
                "Does a mask reach it inside the model only?"
            )
