"""Quantizer of float ONNX files to eight bits, through onnxruntime."""

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from ..formulas.division_chains import division_chains
from .loop_barriers import put_barriers
from .subgraphs import graphs_in

# Operations with weights, or most of a net's time: the report says where they stay in float.
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN")

# Not Gather: onnxruntime 1.31 aborts the process as it loads a quantised table before a recurrent layer.
DYNAMIC = ["MatMul", "LSTM"]
# By operation: the input that is the kernel or the table, and its axis of output channels or rows.
STORED = {"Conv": (1, 0), "ConvTranspose": (1, 1), "Gather": (0, 0)}
DIVISIONS, GUARDS = ("Div", "Mod"), ("Add", "Sum", "Max", "Exp", "Sigmoid", "Softmax")
UNIT = {
    "rmin": np.float32(0),
    "rmax": np.float32(1),
}  # the range of a tensor of zeros; later values are cut off at its ends
SMALLEST_KERNEL = 512  # entries; for a smaller kernel the nodes of int8 take more space than int8 saves


class _Examples(CalibrationDataReader):
    """Reader of representative inputs, one by one."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        count = len(next(iter(arrays.values())))
        self._left = iter([{name: array[k : k + 1] for name, array in arrays.items()} for k in range(count)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)


def quantize_file(path: Path, quantize: str, ranges: dict[str, np.ndarray]) -> None:
    """Replaces a float ONNX file by one in eight bits.

    Args:
        path: the file.
        quantize: "dynamic" for weights: matrix products then run in integers, by the range of each call, and
            convolutions in float, since onnxruntime has integer ones by tensor alone (MobileNetV2 is off by 0.41 so);
            "int8" for activations too, between pairs of QuantizeLinear and DequantizeLinear, weights by channel.
        ranges: for "int8", real inputs by name that show the ranges of activations.
    """
    with tempfile.TemporaryDirectory() as folder:
        proto = _quantized(path, Path(folder), quantize, ranges)
    if quantize == "dynamic":
        _store_kernels(proto.graph)
    else:
        put_barriers(proto)
    del proto.graph.value_info[:]  # a reader infers it
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, str(path))


def _quantized(path: Path, folder: Path, quantize: str, ranges: dict[str, np.ndarray]) -> onnx.ModelProto:
    # Weights get 7 bits: where a CPU lacks VNNI, sums of two 8-bit products overflow 16 bits, silently.
    simplified, quantized = folder / "simplified.onnx", folder / "quantized.onnx"
    _simplify(path, simplified)
    if quantize == "dynamic":
        quantize_dynamic(
            simplified,
            quantized,
            op_types_to_quantize=DYNAMIC,
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=True,
        )
        return onnx.load(str(quantized))
    static = partial(
        quantize_static,
        simplified,
        quantized,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        reduce_range=True,
        calibration_providers=["CPUExecutionProvider"],
        nodes_to_exclude=_divisions(simplified),
    )
    static(_Examples(ranges))
    if always_zero := _always_zero(onnx.load(str(quantized))):
        static(_Examples(ranges), extra_options={"TensorQuantOverrides": {name: [UNIT] for name in always_zero}})
    return onnx.load(str(quantized))


def _always_zero(proto: onnx.ModelProto) -> list[str]:
    """Returns the tensors that were zero on all examples.

    onnxruntime gives them a step of 1 around zero and removes a Relu before them, so that negative inputs would pass.
    """
    values = {each.name: onnx.numpy_helper.to_array(each) for each in proto.graph.initializer}
    steps = {node.input[1]: node.input[2] for node in proto.graph.node if node.op_type == "QuantizeLinear"}
    return [
        step.removesuffix("_scale")
        for step, zero in steps.items()
        if step in values and values[step].size == 1 and values[step] == 1 and values[zero] == 0
    ]


@dataclass(frozen=True)
class _Node:
    """Node of an ONNX graph in the form that `division_chains` takes."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    own_name: str


def _divisions(path: Path) -> list[str]:
    nodes = [
        _Node(node.op_type, tuple(node.input), tuple(node.output), node.name)
        for node in onnx.load(str(path)).graph.node
    ]
    return [each.own_name for each in division_chains(nodes, DIVISIONS, PRODUCTS, GUARDS)]


def float_products(proto: onnx.ModelProto) -> list[str]:
    """Returns, sorted, the kinds of products in an int8 file that compute in float, as they read no integers."""
    graphs = list(graphs_in(proto.graph))
    dequantized = {
        name for graph in graphs for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output
    }
    products = [node for graph in graphs for node in graph.node if node.op_type in PRODUCTS]
    return sorted({node.op_type for node in products if not dequantized.issuperset(node.input[:2])})


def _store_kernels(graph: onnx.GraphProto) -> None:
    """Stores kernels and tables as int8 by channel or row; the runtime restores them as it loads the file."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    stored = [
        (node.input[STORED[node.op_type][0]], STORED[node.op_type][1]) for node in graph.node if node.op_type in STORED
    ]
    kernels = {name: axis for name, axis in stored if name in tensors}
    for name, axis in kernels.items():
        kernel = onnx.numpy_helper.to_array(tensors[name])
        if kernel.size < SMALLEST_KERNEL or kernel.dtype != np.float32:
            continue
        largest = np.abs(kernel).max(axis=tuple(k for k in range(kernel.ndim) if k != axis), keepdims=True)
        scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        values = {f"{name}_int8": np.round(kernel / scale).astype(np.int8), f"{name}_scale": scale}
        graph.initializer.remove(tensors[name])
        graph.initializer.extend(onnx.numpy_helper.from_array(value, key) for key, value in values.items())
        # Not DequantizeLinear, which onnxruntime leaves in place and runs at every call: six times slower.
        cast = onnx.helper.make_node("Cast", [f"{name}_int8"], [f"{name}_cast"], to=onnx.TensorProto.FLOAT)
        graph.node.insert(0, onnx.helper.make_node("Mul", [f"{name}_cast", f"{name}_scale"], [name]))
        graph.node.insert(0, cast)


def _simplify(path: Path, to: Path) -> None:
    """Folds constants and batch normalisations, so that the quantised graph is the one that will run."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(to)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
