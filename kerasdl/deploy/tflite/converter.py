"""Conversion of a SavedModel to the bytes of a TFLite file, through TensorFlow's converter."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.lite.python.convert import mlir_quantize
from tensorflow.lite.python.lite import TFLiteSavedModelConverterV2, _export_metrics
from tensorflow.lite.python.util import modify_model_io_type

from kerasdl.core.errors import ExportError

from ..export.tracing import layer_in_words, nodes_of, silenced
from ..formulas.division_chains import division_chains
from .flatbuffer import float_readers, indices, operation_name, operators, packed
from .half_constants import with_half_constants
from .integers.calibrated_ranges import repair_ranges, widen_shared_grids
from .runtime import SIGNATURE

REMEDIES = {
    "optimizations": "Pass quantize=, such as 'dynamic', 'float16' or 'int8'.",
    "representative_dataset": "Did you mean 'representative'?",
    "supported_types": "Pass quantize='float16'.",
    **dict.fromkeys(("inference_input_type", "inference_output_type"), "Pass integer_io=True."),
    "supported_ops": "Files hold built-in operations alone; quantize='int8' keeps in float what has no integer kernel.",
}
"""Remedy for settings of TensorFlow's converter, by name, that `export_tflite` does not take."""
# The operation copies integers, but the converter gives its input and output unlike ranges, which shifts the values.
KEPT_IN_FLOAT = ("REVERSE_V2",)
DIVISIONS = ("DIV", "FLOOR_DIV", "FLOOR_MOD")
QUOTIENTS, MOST_AXES = ("RealDiv", "Div", "DivNoNan", "FloorDiv", "FloorMod"), 5  # of TensorFlow
PRODUCTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "CONV_3D", "BATCH_MATMUL")
GUARDS = ("ADD", "MAXIMUM", "EXP", "LOGISTIC", "SOFTMAX")
# Masked scores are -1e4 (nets of half precision), -1e9 or -1e38, lower than any activation.
MASKED = -9e3
# The distance of a masked score below the lowest other score: it gets less than exp(-10) of the attention.
BELOW = 10.0


def convert(
    folder: Path,
    quantize: str | None,
    ranges: dict[str, np.ndarray],
    is_exact: Callable[[str], bool] = lambda tensor: False,
) -> bytes:
    """Returns the TFLite file of a SavedModel in float32, float16, with int8 weights, or in int16x8.

    Args:
        folder: the SavedModel.
        quantize: None, "float16", "dynamic" or "int16x8".
        ranges: examples that show the ranges of activations, for "int16x8".
        is_exact: tells by a tensor's name whether the operation that makes it must read float32, for "float16".
    """
    operations = tf.lite.OpsSet
    with silenced():
        converter = converter_of(folder)
        if quantize not in (None, "float16"):
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "int16x8":  # with float operations allowed too, those without an int16 kernel stay in float
            int16 = operations.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            converter.target_spec.supported_ops = [int16, operations.TFLITE_BUILTINS]
            converter.representative_dataset = lambda: single_examples(ranges)
        content = converter.convert()
    return with_half_constants(content, is_exact) if quantize == "float16" else content


def single_examples(arrays: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """Yields the examples of named arrays as batches of 1."""
    for index in range(len(next(iter(arrays.values())))):
        yield {name: array[index : index + 1] for name, array in arrays.items()}


@dataclass(frozen=True)
class Calibrated:
    """Float TFLite model with the range of every tensor, which is quantised in milliseconds."""

    content: bytes
    """The float TFLite file, ranges stored in it."""
    nodes_in_float: frozenset[str]
    """Tensors whose operations stay in float: no grid of 256 steps holds both a mask and the other scores, nor a small
    denominator."""

    def quantized(self, keep: Collection[str] = (), verify: bool = False) -> bytes:
        """Returns the int8 file.

        Args:
            keep: tensors whose operations stay in float.
            verify: whether each tensor is followed by an operation that compares it with its float value.
        """
        with silenced():
            return mlir_quantize(
                self.content,
                enable_numeric_verify=verify,
                denylisted_ops=list(KEPT_IN_FLOAT),
                denylisted_nodes=sorted(self.nodes_in_float.union(keep)),
            )


def check_calibration(model: keras.Model, graph: tf.Graph, quantize: str) -> None:
    """Raises where the calibrator of TF 2.21 would end the process: on a loop, and on quotients of many axes.

    Args:
        model: the model.
        graph: its traced graph.
        quantize: "int8" or "int16x8".

    Raises:
        ExportError: there is one.
    """
    loops = [node.name for node in nodes_of(graph) if node.op in ("While", "StatelessWhile")]
    if loops:
        raise ExportError(
            f"quantize={quantize!r} cannot hold a loop; got one in {layer_in_words(model, loops[0])}. "
            "Write it with a fixed number of steps, or export with quantize='dynamic'."
        )
    for operation in graph.get_operations():
        if operation.type in QUOTIENTS:
            one, other = (tensor.shape for tensor in operation.inputs)
            if max(one.rank or 0, other.rank or 0) > MOST_AXES and one != other:
                raise ExportError(
                    f"quantize={quantize!r} cannot divide tensors of {one} and {other}, as "
                    f"{layer_in_words(model, operation.name)} does: shapes of more than {MOST_AXES} axes must "
                    "be equal. Flatten some axes, or export with quantize='dynamic'."
                )


def calibrated(folder: Path, ranges: dict[str, np.ndarray]) -> Calibrated:
    """Returns the float file of a SavedModel with the range of every tensor on some examples."""
    with silenced():
        converter = converter_of(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: single_examples(ranges)
        converter._experimental_calibrate_only = True  # as tf.lite.experimental.QuantizationDebugger sets it
        content = converter.convert()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    masked, ranges_changed = _exclude_masks(model)
    extreme, repaired = repair_ranges(model)
    widened = widen_shared_grids(model)
    nodes = masked | extreme | _divisions(content)
    return Calibrated(packed(model) if ranges_changed or repaired or widened else content, frozenset(nodes))


def with_quantized_io(content: bytes, quantize: str) -> bytes:
    """Returns an integer file whose inputs and outputs are integers too; token ids and truth values stay as they are.

    Raises:
        ValueError: an input is read in float inside the file.
    """
    if readers := float_readers(content):  # LiteRT could not open such a file
        name, operation = next(iter(readers.items()))
        raise ValueError(f"input {name!r} is read by {operation} in float.")
    dtype = tf.int8 if quantize == "int8" else tf.int16
    with silenced():  # it warns of inputs that stay as they are
        changed = modify_model_io_type(content, dtype, dtype)
    return packed(schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytes(changed))))


class _Converter(TFLiteSavedModelConverterV2):
    """TensorFlow's converter without its two loads of the whole folder, which take longer than the conversion."""

    @_export_metrics  # which writes the converter's version and settings into the file
    def convert(self) -> bytes:
        content = (Path(self.saved_model_dir) / "saved_model.pb").read_bytes()
        (graph,) = saved_model_pb2.SavedModel.FromString(content).meta_graphs
        return self._convert_from_saved_model(graph.graph_def)


def converter_of(folder: Path, signatures: Collection[str] = (SIGNATURE,)) -> tf.lite.TFLiteConverter:
    """Returns the converter of some signatures of a SavedModel, to built-in operations in float32."""
    converter = _Converter(str(folder), {tf.saved_model.SERVING}, list(signatures))
    converter.experimental_enable_resource_variables = True
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter


def _divisions(content: bytes) -> set[str]:
    chains = division_chains(operators(content), DIVISIONS, PRODUCTS, GUARDS)
    return {tensor for each in chains for tensor in each.outputs}


def _exclude_masks(model: schema.ModelT) -> tuple[set[str], bool]:
    """Excludes masks from the ranges of scores; returns the tensors that must stay in float, and if any range changed.

    Where a mask selects between scores and a very low number, that number is moved just below the scores, so that an
    int8 grid holds both. Where a mask is added, the sum and the operations that read it stay in float.
    """
    nodes, changed = set(), False
    for graph in model.subgraphs:
        for operator in graph.operators or []:  # None where outputs are inputs
            name = operation_name(model, operator)
            tensors = [graph.tensors[index] for index in indices(operator.outputs)]
            inputs = [graph.tensors[index] for index in indices(operator.inputs)]
            if any(map(_is_masked, tensors)) and name in ("SELECT", "SELECT_V2"):
                low, high = _unmasked_range(inputs)
                for tensor in tensors:
                    tensor.quantization.min, tensor.quantization.max = [low - BELOW], [high]
                changed = True
            elif any(map(_is_masked, [*inputs, *tensors])):
                nodes.update(tensor.name.decode() for tensor in tensors)
    return nodes, changed


def _is_masked(tensor: schema.TensorT) -> bool:
    bounds = _bounds(tensor)
    return bounds is not None and bounds[0] < MASKED


def _bounds(tensor: schema.TensorT) -> tuple[float, float] | None:
    quantization = tensor.quantization
    if quantization is None or quantization.min is None or not len(quantization.min):
        return None
    return float(min(quantization.min)), float(max(quantization.max))


def _unmasked_range(tensors: list[schema.TensorT]) -> tuple[float, float]:
    bounds = [bounds for tensor in tensors if (bounds := _bounds(tensor)) is not None and not _is_masked(tensor)]
    return min((low for low, _ in bounds), default=0.0), max((high for _, high in bounds), default=0.0)
