"""Selective quantization: the error of each layer in int8, and a file that keeps the worst layers in float."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ...export.parity import LayerError
from ...export.tracing import layer_of, silenced
from ..converter import Calibrated, single_examples
from ..flatbuffer import operators, output_tensors

VERIFIED_EXAMPLES = 16


def layer_errors(model: keras.Model, calibrated: Calibrated, arrays: dict[str, np.ndarray]) -> tuple[LayerError, ...]:
    """Returns the error of each layer by its own integers, on its inputs in the int8 file; worst first.

    Args:
        model: the model, whose layers' names are in the tensors' names.
        calibrated: its calibrated form.
        arrays: real inputs by name; the first 16 are run.
    """
    makers = {name: each.name for each in operators(calibrated.content) for name in each.outputs}
    outputs = output_tensors(calibrated.content)  # named after the layers that give them
    rows = {}
    for tensor, error in _tensor_errors(calibrated, arrays, makers).items():
        layer = layer_of(model, tensor) or outputs.get(tensor, tensor)
        row = LayerError(layer, tensor, makers[tensor], error)
        rows[layer] = max(row, rows.get(layer, row), key=lambda each: each.error)
    return tuple(sorted(rows.values(), key=lambda row: -row.error))


def _tensor_errors(calibrated: Calibrated, arrays: dict[str, np.ndarray], makers: Collection[str]) -> dict[str, float]:
    few = {name: array[:VERIFIED_EXAMPLES] for name, array in arrays.items()}
    squares: dict[str, list[Any]] = {}
    with silenced():  # only this interpreter has the operation NumericVerify
        interpreter = tf.lite.Interpreter(
            model_content=calibrated.quantized(verify=True), experimental_preserve_all_tensors=True
        )
        serve = interpreter.get_signature_runner()
        checks = [each for each in interpreter._get_ops_details() if each["op_name"] == "NumericVerify"]
        names = {each["index"]: each["name"] for each in interpreter.get_tensor_details()}
        for batch in single_examples(few):
            serve(**batch)
            for each in checks:
                gap, value = (interpreter.get_tensor(index) for index in (each["outputs"][0], each["inputs"][1]))
                name = _own_name(names[each["inputs"][1]], makers)
                if name not in makers:  # an input, which no layer makes
                    continue
                sums = squares.setdefault(name, [0.0, 0.0])
                for place, array in enumerate((gap, value)):
                    sums[place] = sums[place] + np.square(
                        array.reshape(-1, array.shape[-1] if array.ndim else 1), dtype="float64"
                    ).sum(0)
    return {name: _relative(*sums) for name, sums in squares.items()}


def _own_name(name: str, known: Collection[str]) -> str:
    """Returns a tensor's name without the digits that made it unique."""
    while name not in known and name[-1:].isdigit():
        name = name[:-1]
    return name


def _relative(gap: np.ndarray, value: np.ndarray) -> float:
    """Returns the lost share of a channel's signal, root mean square over channels: faint channels count too."""
    alive = value > 0
    return float(np.sqrt(np.minimum(gap[alive] / value[alive], 1.0).mean())) if alive.any() else 0.0


@dataclass(frozen=True)
class SelectiveFile:
    """An int8 file with some layers in float."""

    content: bytes
    layers: tuple[str, ...]
    """The layers in float, worst first."""
    drift: float
    """The difference of the file from the model."""


def selective_file(
    calibrated: Calibrated, rows: tuple[LayerError, ...], drift: Callable[[bytes], float], bound: float
) -> SelectiveFile:
    """Returns the int8 file with the fewest of the worst layers in float that brings its drift within a bound.

    Args:
        calibrated: the model.
        rows: the error of each layer, worst first.
        drift: measures the difference of a file from the model.
        bound: the largest drift; where it cannot be reached, every layer is in float.
    """
    tried: dict[int, SelectiveFile] = {}

    def with_float(count: int) -> SelectiveFile:
        if count not in tried:
            keep = _neighbouring_outputs(calibrated, {row.tensor for row in rows[:count]})
            content = calibrated.quantized(keep)
            tried[count] = SelectiveFile(content, tuple(row.layer for row in rows[:count]), drift(content))
        return tried[count]

    few, many = 0, 0
    while with_float(many).drift > bound and many < len(rows):
        few, many = many, min(max(1, 2 * many), len(rows))
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if with_float(middle).drift <= bound else (middle, many)
    return with_float(many)


def _neighbouring_outputs(calibrated: Calibrated, tensors: set[str]) -> set[str]:
    """Returns the outputs of the operations that make or read some tensors, which stay in float only together."""
    return {
        name
        for each in operators(calibrated.content)
        if tensors.intersection(each.inputs) or tensors.intersection(each.outputs)
        for name in each.outputs
    }
