"""TFLite files for phones: static batch of 1, built-in operations alone, run by LiteRT and compared."""

import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from kerasdl.core import checks
from kerasdl.core.errors import ExportError

from . import saved_model
from .exporting import Target, export
from .inputs import all_layers, named_inputs, sample_arrays
from .parity import ExportReport
from .tracing import Program, first_line, in_batches, owner, third_party

# Measure and default bound by kind of file. Rounding adds up with depth: on full-size nets with random weights a right
# file was off by up to 0.019 (float16), 0.15 (dynamic), 0.17 (int8) and 0.14 (int16x8); masked recurrent nets whose
# file was wrong, by 0.5.
BOUNDS = {
    None: ("relative", 1e-4),
    "float16": ("relative", 3e-2),
    "dynamic": ("rmse", 0.2),
    "int8": ("rmse", 0.25),
    "int16x8": ("rmse", 0.2),
}
CALIBRATED = ("int8", "int16x8")
CALIBRATION_EXAMPLES = 100
# It copies integers, and the converter gives its input and output unlike ranges: what follows is off by a constant.
KEPT_IN_FLOAT = ("REVERSE_V2",)


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    quantize: str | None = None,
    representative: Any = None,
    samples: Any = None,
    tolerance: float | None = None,
) -> ExportReport:
    """Writes a model as a TFLite file, runs it in LiteRT and compares; its inputs and outputs stay float32.

    Args:
        model: a built model of one's own or of kerasdl; the batch size is free or 1.
        path: the file to write, ending in .tflite.
        quantize: None for float32; "float16" for weights alone; "dynamic" for int8 weights; "int8" or "int16x8" for
            activations too, where an operation without such a kernel stays in float and the report says so.
        representative: real inputs that show the ranges of activations, for "int8" and "int16x8": an array, a list or
            dict of arrays, a pair (x, y), or a dataset; up to 100 examples are used.
        samples: real inputs to compare on besides random ones, in the same forms; `representative` if None.
        tolerance: bound on each output; if None, max|file - model| over max(1, max|model|) within 1e-4 (float32) or
            3e-2 (float16), or root mean squared difference over the model's root mean square within 0.2 (dynamic,
            int16x8) or 0.25 (int8, on real inputs).

    Returns:
        The report of the export.

    Raises:
        ArgumentError: an argument breaks its rule, such as "int8" without representative data.
        ExportError: the format lacks an operation, or the file does not compute what the model does; nothing is left.

    Example:
        >>> export_tflite(model, "model.tflite", quantize="int8", representative=images).top1_agreement
        1.0
    """
    checks.one_of("quantize", quantize, BOUNDS)
    calibrated = quantize in CALIBRATED
    if calibrated and representative is None:
        checks.refuse(
            f"quantize={quantize!r} needs representative data", None, "Pass representative= about 100 real inputs."
        )
    samples = representative if samples is None else samples
    ranges = sample_arrays(representative, named_inputs(model, samples), CALIBRATION_EXAMPLES) if calibrated else {}
    recurrent = [layer.name for layer in all_layers(model) if isinstance(layer, keras.layers.RNN)]
    unroll = calibrated and bool(recurrent)
    measure, bound = BOUNDS[quantize]
    target = Target(
        format=f"tflite {quantize or 'float32'}",
        suffix=".tflite",
        measure=measure,
        tolerance=bound,
        remedy=_remedy(quantize),
        write=partial(_write, quantize=quantize, ranges=ranges),
        run=run_file,
        inspect=partial(_inspect, quantize=quantize),
        unroll=unroll,
        calibrated=calibrated,
        notes=(f"unrolled over their time steps, as a loop cannot hold integers: {', '.join(recurrent)}",) * unroll,
    )
    return export(model, path, target, samples, tolerance)


def _remedy(quantize: str | None) -> str:
    if quantize is None:
        return "Look for layers that keep state between calls or ignore training=False."
    if quantize == "float16":
        return "Export float32 (quantize=None)."
    if quantize == "dynamic":
        return "Export with quantize='float16'."
    return "Give representative data that looks like what the model will meet, or export with quantize='dynamic'."


def _write(program: Program, path: Path, quantize: str | None, ranges: dict[str, np.ndarray]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        saved_model.write(program, Path(folder), batch=1)
        if quantize in CALIBRATED:
            _refuse_loops(program, Path(folder), quantize)
        try:
            path.write_bytes(_convert(Path(folder), quantize, ranges))
            if ranges:  # some int16 kernels are found to be missing only when they run
                run_file(path, {name: array[:1] for name, array in ranges.items()})
        except Exception as error:
            raise _refusal(program, Path(folder), quantize, error) from error


def _convert(folder: Path, quantize: str | None, ranges: dict[str, np.ndarray]) -> bytes:
    def calibration() -> Iterator[dict[str, np.ndarray]]:
        for index in range(len(next(iter(ranges.values())))):
            yield {name: array[index : index + 1] for name, array in ranges.items()}

    operations = tf.lite.OpsSet
    with third_party():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=[saved_model.SIGNATURE])
        converter.experimental_enable_resource_variables = True
        converter.target_spec.supported_ops = [operations.TFLITE_BUILTINS]
        if quantize:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantize in CALIBRATED:
            converter.representative_dataset = calibration
        if quantize == "int16x8":  # with the float operations behind it, what lacks an int16 kernel stays in float
            int16 = operations.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            converter.target_spec.supported_ops = [int16, operations.TFLITE_BUILTINS]
        if quantize == "int8":
            options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=list(KEPT_IN_FLOAT))
            debugger = tf.lite.experimental.QuantizationDebugger(
                converter=converter, debug_dataset=calibration, debug_options=options
            )
            return debugger.get_nondebug_quantized_model()
        return converter.convert()


def input_names(path: Path) -> list[str]:
    """Returns the names of the inputs of a TFLite file."""
    with third_party():
        return Interpreter(model_path=str(path)).get_signature_list()[saved_model.SIGNATURE]["inputs"]


def run_file(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Runs a TFLite file in LiteRT on one thread; returns its outputs by name."""
    with third_party():
        serve = Interpreter(model_path=str(path), num_threads=1).get_signature_runner(saved_model.SIGNATURE)
        return in_batches(1, arrays, lambda batch: {name: np.array(value) for name, value in serve(**batch).items()})


def _inspect(path: Path, quantize: str | None) -> tuple[dict[str, int], tuple[str, ...]]:
    operators = list(_operators(path.read_bytes()))
    counts = dict(sorted(Counter(each.name for each in operators).items()))
    floats = sorted({each.name for each in operators if each.is_float and each.name != "DEQUANTIZE"})
    return counts, (f"in float: {', '.join(floats)}",) * (quantize in CALIBRATED and bool(floats))


@dataclass(frozen=True)
class _Operator:
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    is_float: bool  # whether its first output is float32


def _operators(content: bytes) -> Iterator[_Operator]:
    model = schema.Model.GetRootAs(content)
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    for graph in (model.Subgraphs(index) for index in range(model.SubgraphsLength())):
        tensors = [graph.Tensors(index) for index in range(graph.TensorsLength())]
        for operator in (graph.Operators(index) for index in range(graph.OperatorsLength())):
            code = model.OperatorCodes(operator.OpcodeIndex())
            inputs = [tensors[index] for index in operator.InputsAsNumpy() if index >= 0]
            outputs = [tensors[index] for index in operator.OutputsAsNumpy()]
            yield _Operator(
                names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())],
                tuple(tensor.Name().decode() for tensor in inputs),
                tuple(tensor.Name().decode() for tensor in outputs),
                bool(outputs) and outputs[0].Type() == schema.TensorType.FLOAT32,
            )


def _refuse_loops(program: Program, folder: Path, quantize: str) -> None:
    # TF 2.21's calibrator ends the process with a segmentation fault on a loop: it must never see one
    loops = [node.name for node in saved_model.graph_nodes(folder) if node.op in ("While", "StatelessWhile")]
    if loops:
        raise ExportError(
            f"quantize={quantize!r} cannot hold a loop; got one in layer {owner(program.model, loops[0])!r}. "
            "Write it with a fixed number of steps, or export with quantize='dynamic'."
        )


def _refusal(program: Program, folder: Path, quantize: str | None, error: Exception) -> ExportError:
    text = str(error)
    if unknown := re.search(r"'tf\.(\w+)' op|\bFlex(\w+)", text):
        operation = unknown[1] or unknown[2]
        nodes = {node.op: node.name for node in reversed(saved_model.graph_nodes(folder))}
        layer = owner(program.model, nodes.get(operation, ""))
        return ExportError(
            f"TFLite's built-in operations must cover the model; {operation} of layer {layer!r} is not one of them. "
            "Write that layer with operations that TFLite has, or export to ONNX or SavedModel."
        )
    if lacking := re.search(r"for op: '(\w+)'|\((\w+)\) failed|for tensor (\S+)", text):
        wanted = lacking[1] or lacking[2] or lacking[3]
        return ExportError(
            f"quantize={quantize!r} has no kernel for {_home(program, folder, wanted)}. "
            f"Export with quantize={'int8' if quantize == 'int16x8' else 'dynamic'!r}, or replace the layer."
        )
    return ExportError(f"the model does not convert to TFLite ({quantize or 'float32'}): {first_line(error)}")


def _home(program: Program, folder: Path, wanted: str) -> str:
    """Names the first operation of the float file that is, or reads a tensor, called `wanted`; and its layer."""
    for operator in _operators(_convert(folder, None, {})):
        if wanted in (operator.name, *operator.inputs):
            layer = next((name for tensor in operator.outputs if (name := owner(program.model, tensor))), None)
            return f"the operation {operator.name}" + (f" of layer {layer!r}" if layer else "")
    return f"the operation {wanted}"
