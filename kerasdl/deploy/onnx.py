"""ONNX files with a free batch size: frozen, converted by tf2onnx, checked, run by onnxruntime and compared."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from kerasdl.core import checks
from kerasdl.core.errors import ExportError

from .exporting import Target, export
from .parity import ExportReport
from .tracing import Program, first_line, in_batches, owner, third_party

OPSETS = range(13, 19)  # tf2onnx 1.17 writes up to 18


def export_onnx(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    opset: int = 18,
    samples: Any = None,
    tolerance: float | None = None,
) -> ExportReport:
    """Writes a model as an ONNX file with a free batch size, runs it in onnxruntime and compares.

    Args:
        model: a built model of one's own or of kerasdl; the batch size is free or 1.
        path: the file to write, ending in .onnx.
        opset: the ONNX operator set, 13 to 18.
        samples: real inputs to compare on besides random ones: an array, a list or dict of arrays, a pair (x, y), or
            a dataset.
        tolerance: bound on max|file - model| over max(1, max|model|), each output; 1e-4 if None.

    Returns:
        The report of the export.

    Raises:
        ArgumentError: an argument breaks its rule.
        ExportError: ONNX lacks an operation, or the file does not compute what the model does; nothing is left.

    Example:
        >>> export_onnx(model, "model.onnx").worst_relative < 1e-4
        True
    """
    checks.one_of("opset", opset, tuple(OPSETS))
    target = Target(
        format="onnx",
        suffix=".onnx",
        measure="relative",
        tolerance=1e-4,
        remedy="Look for layers that keep state between calls, or export to SavedModel.",
        write=lambda program, file: _write(program, file, opset),
        run=run_file,
        inspect=_inspect,
    )
    return export(model, path, target, samples, tolerance)


def _write(program: Program, path: Path, opset: int) -> None:
    try:
        with third_party():
            proto = _convert(program, opset)
    except Exception as error:
        raise ExportError(f"the model does not convert to ONNX: {first_line(error)}") from error
    unknown = next((node for node in _nodes(proto.graph) if not onnx.defs.has(node.op_type, node.domain)), None)
    if unknown is not None:
        layer = owner(program.model, unknown.name)
        raise ExportError(
            f"ONNX's operations must cover the model; {unknown.op_type} of layer {layer!r} is not one of them. "
            "Write that layer with other operations, or export to TFLite or SavedModel."
        )
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:
        raise ExportError(f"the ONNX file does not pass onnx.checker: {first_line(error)}") from error
    onnx.save(proto, str(path))


def _convert(program: Program, opset: int) -> onnx.ModelProto:
    traced = program.traced(None).get_concrete_function(**program.specs(None))
    frozen = convert_variables_to_constants_v2(traced, lower_control_flow=False, aggressive_inlining=True)
    graph = frozen.graph.as_graph_def()
    _open_compiled_functions(graph)
    names = {tensor.name: tensor.op.name for tensor in frozen.inputs}
    inputs = list(names)
    names |= {tensor.name: name for tensor, name in zip(frozen.outputs, sorted(program.outputs), strict=True)}
    proto, _ = tf2onnx.convert.from_graph_def(
        graph,
        name=program.model.name,
        input_names=inputs,
        output_names=[tensor.name for tensor in frozen.outputs],
        opset=opset,
        custom_op_handlers={"Erfc": (_erfc, [])},
        tensors_to_rename=names,
    )
    return proto


def _open_compiled_functions(graph: tf.compat.v1.GraphDef) -> None:
    """Lets tf2onnx inline the functions that Keras compiles with XLA (grouped convolutions), else left as calls."""
    for node in graph.node:
        if "_XlaMustCompile" in node.attr:
            node.op = "PartitionedCall"
            del node.attr["_XlaMustCompile"]
    for function in graph.library.function:
        if "_XlaMustCompile" in function.attr:
            for mark in ("_XlaMustCompile", "_noinline"):
                function.attr.pop(mark, None)


def _erfc(graph: Any, node: Any, name: str, args: Any) -> None:
    """Writes Erfc, which ONNX lacks and exact GELU is traced to, as 1 - Erf."""
    dtype, shape = graph.get_dtype(node.output[0]), graph.get_shape(node.output[0])
    one = graph.make_const(f"{name}_one", np.array(1, tf2onnx.utils.map_onnx_to_numpy_type(dtype))).output[0]
    graph.remove_node(name)
    erf = graph.make_node("Erf", [node.input[0]]).output[0]
    graph.make_node("Sub", [one, erf], outputs=[node.output[0]], name=name, shapes=[shape], dtypes=[dtype])


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Opens an ONNX file on the CPU with so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def input_names(path: Path) -> list[str]:
    """Returns the names of the inputs of an ONNX file."""
    return [each.name for each in session(path, threads=1).get_inputs()]


def run_file(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Runs an ONNX file in onnxruntime on one thread; returns its outputs by name."""
    with third_party():
        loaded = session(path, threads=1)
        names = [output.name for output in loaded.get_outputs()]
        size = loaded.get_inputs()[0].shape[0]

        def run(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return dict(zip(names, loaded.run(names, batch), strict=True))

        return in_batches(size if isinstance(size, int) else None, arrays, run)


def _nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    nodes = list(graph.node)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                nodes += _nodes(attribute.g)
    return nodes


def _inspect(path: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    return dict(sorted(Counter(node.op_type for node in _nodes(onnx.load(str(path)).graph)).items())), ()
