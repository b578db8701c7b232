"""ONNX exporter: freeze, convert by tf2onnx, check, quantise on request, run in onnxruntime and compare."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnx.version_converter
import tensorflow as tf
import tf2onnx
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from kerasdl.core import checks
from kerasdl.core.errors import ExportError

from ..export.answer_judgement import UNSEEN
from ..export.metadata import as_texts, checked_metadata
from ..export.parity import ExportReport
from ..export.pipeline import Target, export
from ..export.tracing import Program, first_line, layer_in_words, silenced, stateful_layers
from ..formulas.layer_patches import for_export
from ..samples.sampling import Samples, samples_of
from .graph_rewrites import open_compiled_functions, rewrite_operations
from .maxpool_padding import keep_paddings
from .op_handlers import HANDLERS
from .quantizer import float_products, quantize_file
from .runtime import file_tensors, run_file
from .subgraphs import graphs_in

OPSETS = range(13, 23)
CATCH_ERRORS = "TF2ONNX_CATCH_ERRORS"
LATEST_OF_TF2ONNX = 18  # of tf2onnx 1.17; the onnx package converts to later operator sets
AXES = ("all", "batch", "none")
# Measure and default bound by kind of file, as for TFLite.
BOUNDS = {None: ("relative", 1e-4), "dynamic": ("rmse", 0.2), "int8": ("rmse", 0.25)}
REMEDIES = {
    None: "Look for layers that ignore training=False, or export to SavedModel.",
    "dynamic": "Export float32 (quantize=None).",
    "int8": "Give representative data like the inputs in use, or export with quantize='dynamic'.",
}


def export_onnx(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    quantize: str | None = None,
    representative: Any = None,
    opset: int = 18,
    dynamic_axes: str = "all",
    samples: Any = None,
    tolerance: float | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> ExportReport:
    """Writes a model as an ONNX file, runs it in onnxruntime and compares; inputs and outputs keep their dtypes.

    Args:
        model: a built model of one's own or of kerasdl; the batch size is free or 1.
        path: the file to write, ending in .onnx.
        quantize: None for float32; "dynamic" for int8 weights in products, activations by the range of each call;
            "int8" for calibrated activations too (QDQ, weights by channel), where the report names the products that
            stay in float.
        representative: for "int8", real inputs that show the ranges of activations: an array, a list or dict of
            arrays, a pair (x, y) of any of these and labels, a dataset, a tf.data pipeline, a PyDataset or a generator
            of batches. 200 examples are drawn from all of it, or from the first 10,000 of a stream.
        opset: the ONNX operator set, 13 to 22.
        dynamic_axes: the dimensions that the file leaves free: "all" that the model leaves free, the batch among them;
            "batch" alone; or "none", with a batch of 1. Dimensions that become fixed take their sizes from samples.
        samples: real inputs to compare on besides random ones, in the same forms, of which 64 are drawn; if None,
            examples of `representative` that do not calibrate, or the same ones where there are fewer than 20.
        tolerance: bound on each output; if None, max|file - model| over max(1, max|model|) within 1e-4 (float32), or
            root mean squared difference over the model's root mean square within 0.2 (dynamic) or 0.25 (int8, on real
            inputs).
        metadata: values to store in the file's metadata_props, by name, for `read_metadata`: texts as they are, other
            values, such as "labels", a list of texts, as JSON.

    Returns:
        The report of the export.

    Raises:
        ArgumentError: an argument breaks its rule, such as "int8" without representative data.
        ExportError: ONNX lacks an operation, a layer keeps state between calls, or the file differs from the model; no
            file is left.

    Example:
        >>> export_onnx(model, "model.onnx").worst_relative < 1e-4
        True
    """
    if isinstance(model, Mapping):
        rule = "an .onnx file holds one graph; model must be a keras.Model"
        checks.refuse(
            rule, tuple(model), "Write a file for each, or export_tflite and export_saved_model take them all."
        )
    checks.one_of("opset", opset, tuple(OPSETS))
    checks.one_of("dynamic_axes", dynamic_axes, AXES)
    checks.one_of("quantize", quantize, BOUNDS)
    checked_metadata(metadata)
    if quantize == "int8" and representative is None:
        hint = "Pass representative= with about 100 real inputs."
        checks.refuse("quantize='int8' needs representative data", None, hint)
    compared = representative if samples is None else samples
    drawn = samples_of(model, compared, representative if quantize == "int8" else None)
    sizes = _sizes(drawn, dynamic_axes)
    _refuse_states(model)
    measure, bound = BOUNDS[quantize]
    target = Target(
        format=f"onnx {quantize}" if quantize else "onnx",
        suffix=".onnx",
        measure=measure,
        tolerance=bound,
        remedy=REMEDIES[quantize],
        write=partial(
            _write, opset=opset, sizes=sizes, quantize=quantize, ranges=drawn.calibration, metadata=metadata or {}
        ),
        run=run_file,
        inspect=partial(_inspect, quantize=quantize),
        file_tensors=file_tensors,
        patches=partial(for_export, integers=quantize == "int8"),
        calibrated=quantize == "int8",
        noise=UNSEEN if quantize == "dynamic" else None,
    )
    return export(model, path, target, drawn, tolerance)


def _sizes(samples: Samples, dynamic_axes: str) -> dict[str, tuple]:
    """Returns the shape of each input in the file, None where it is free."""
    inputs, real = samples.inputs, samples.evaluation
    batch = 1 if dynamic_axes == "none" else None
    if dynamic_axes == "all" or all(None not in each.shape[1:] for each in inputs):
        return {each.name: (each.shape[0] or batch, *each.shape[1:]) for each in inputs}
    if not real:
        free = {each.name: each.shape for each in inputs if None in each.shape[1:]}
        checks.refuse(f"dynamic_axes={dynamic_axes!r} needs samples, which show the size of free dimensions", free)
    return {each.name: (each.shape[0] or batch, *real[each.name].shape[1:]) for each in inputs}


def _refuse_states(model: keras.Model) -> None:
    stateful = stateful_layers(model)
    if stateful:
        raise ExportError(
            f"an ONNX file keeps no state between calls; {stateful[0].name!r} does. Build the model "
            "with stateful=False, and take states in and out as inputs and outputs (initial_state=, return_state=True)."
        )


def _write(
    program: Program,
    path: Path,
    opset: int,
    sizes: dict,
    quantize: str | None,
    ranges: dict[str, np.ndarray],
    metadata: Mapping[str, Any],
) -> None:
    try:
        with silenced():
            proto = _convert(program, min(opset, LATEST_OF_TF2ONNX), sizes)
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(f"the model does not convert to ONNX: {first_line(error)}") from error
    _refuse_unknown(program, proto)
    try:
        keep_paddings(proto)
        if opset > LATEST_OF_TF2ONNX:
            proto = onnx.version_converter.convert_version(proto, opset)
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:
        raise ExportError(f"the ONNX file does not pass onnx.checker: {first_line(error)}") from error
    onnx.save(proto, str(path))
    if quantize is not None:
        try:
            with silenced():
                quantize_file(path, quantize, ranges)
        except Exception as error:
            raise ExportError(
                f"onnxruntime does not quantise the model ({quantize}): {first_line(error)}. {REMEDIES[quantize]}"
            ) from error
    if metadata:
        proto = onnx.load(str(path))
        onnx.helper.set_model_props(proto, as_texts(metadata))
        onnx.save(proto, str(path))


def _refuse_unknown(program: Program, proto: onnx.ModelProto) -> None:
    opsets = {each.domain: each.version for each in proto.opset_import}
    for node in _nodes(proto.graph):
        try:
            onnx.defs.get_schema(node.op_type, opsets[node.domain], node.domain)
        except onnx.defs.SchemaError:
            later = f" at opset {opsets['']}" if onnx.defs.has(node.op_type, node.domain) else ""
            raise ExportError(
                f"ONNX's operations must cover the model; {node.op_type} of {layer_in_words(program.model, node.name)} "
                f"is not one of them{later}. "
                "Write that layer with other operations, or export to TFLite or SavedModel."
            ) from None


def _convert(program: Program, opset: int, sizes: dict[str, tuple]) -> onnx.ModelProto:
    specs = {each.name: tf.TensorSpec(sizes[each.name], each.dtype, each.name) for each in program.inputs}
    with keras.StatelessScope():  # a layer's writes (to seeds) are left out, since files keep no state
        traced = program.function().get_concrete_function(**specs)
    frozen = convert_variables_to_constants_v2(traced, lower_control_flow=False, aggressive_inlining=True)
    graph = frozen.graph.as_graph_def()
    open_compiled_functions(graph)
    rewrite_operations(graph, partial(layer_in_words, program.model))
    inputs = {tensor.op.name: tensor for tensor in frozen.inputs}
    outputs = dict(zip(sorted(program.outputs), frozen.outputs, strict=True))  # TensorFlow sorts a dict by its keys
    names = {tensor.name: name for name, tensor in (inputs | outputs).items()}
    convert = partial(
        tf2onnx.convert.from_graph_def,
        graph,
        name=program.model.name,
        input_names=[inputs[each.name].name for each in program.inputs],
        output_names=[outputs[name].name for name in program.outputs],
        opset=opset,
        custom_op_handlers=HANDLERS,
        tensors_to_rename=names,
    )
    try:
        with _in_place():
            proto, _ = convert()
    except Exception:  # an optimisation that failed in place is left out of a second conversion, which keeps copies
        proto, _ = convert()
    shapes = {names[tensor.name]: tensor.shape for tensor in (*frozen.inputs, *frozen.outputs)}
    for value in (*proto.graph.input, *proto.graph.output):
        _name_dimensions(value, shapes[value.name])
    return proto


@contextmanager
def _in_place() -> Iterator[None]:
    """Context manager in which tf2onnx optimises its graph in place, without a copy of all weights before each pass."""
    before = os.environ.get(CATCH_ERRORS)
    os.environ[CATCH_ERRORS] = "FALSE"
    try:
        yield
    finally:
        del os.environ[CATCH_ERRORS]
        if before is not None:
            os.environ[CATCH_ERRORS] = before


def _name_dimensions(value: onnx.ValueInfoProto, shape: tf.TensorShape) -> None:
    """Writes a shape whose batch is called `batch`, and whose free dimensions are called `<input>_<axis>`."""
    if shape.rank is None:
        return
    value.type.tensor_type.shape.Clear()
    for axis, size in enumerate(shape):
        dimension = value.type.tensor_type.shape.dim.add()
        if size is not None:
            dimension.dim_value = size
        else:
            dimension.dim_param = f"{value.name}_{axis}" if axis else "batch"
    value.type.tensor_type.shape.SetInParent()


def _nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    return [node for each in graphs_in(graph) for node in each.node]


def _inspect(path: Path, quantize: str | None) -> tuple[dict[str, int], tuple[str, ...]]:
    proto = onnx.load(str(path))
    counts = dict(sorted(Counter(node.op_type for node in _nodes(proto.graph)).items()))
    floats = float_products(proto) if quantize == "int8" else []
    return counts, (f"in float: {', '.join(floats)}",) * bool(floats)
