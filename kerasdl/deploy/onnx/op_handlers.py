"""Handlers for TensorFlow operations that tf2onnx converts wrongly; each corrects the result of tf2onnx's own."""

import math
from typing import Any

import numpy as np
from onnx import TensorProto
from tf2onnx.onnx_opset.controlflow import Select
from tf2onnx.onnx_opset.math import FloorDiv, FloorMod
from tf2onnx.onnx_opset.nn import ConvOp, ConvTranspose, Resize

CHANNELS_FIRST = ("NCHW", "NCDHW")
WHOLE = (TensorProto.INT32, TensorProto.INT64)


def _grouped_conv(graph: Any, node: Any, _name: str, _args: Any) -> None:
    """Sets the number of groups of a Conv3D, which tf2onnx reads from 2D convolutions only."""
    channels_first = node.get_attr_value("data_format", b"NDHWC").decode() in CHANNELS_FIRST
    channels = graph.get_shape(node.input[0])[1 if channels_first else -1]
    read = graph.get_shape(node.input[1])[-2]
    ConvOp.version_11(graph, node)
    node.set_attr("group", channels // read)


def _transposed_conv(graph: Any, node: Any, _name: str, _args: Any) -> None:
    """Corrects the negative padding that tf2onnx writes where strides leave gaps between kernels."""
    ConvTranspose.version_11(graph, node)
    pads = node.get_attr("pads")
    if pads is not None and min(pads.ints) < 0:
        starts, ends = np.split(np.array(pads.ints), 2)
        missing = np.maximum(-(starts + ends), 0)
        corrected = np.where(missing > 0, 0, [starts, ends])
        node.set_attr("pads", corrected.ravel().tolist())
        node.set_attr("output_padding", missing.tolist())


def _resize(graph: Any, node: Any, _name: str, _args: Any) -> None:
    """Makes tf2onnx write the new size: in float32, the old size times the ratio may fall just short of it."""
    source = node.input[0]
    shape = graph.get_shape(source)
    if shape and node.inputs[1].is_const():
        sizes = zip(node.inputs[1].get_tensor_value(), shape[1:3], strict=True)
        if any(old > 0 and math.floor(float(np.float32(new / old)) * old) != new for new, old in sizes):
            graph.set_shape(source, [shape[0], -1, -1, shape[3]])  # with a free size it writes the new size
    Resize.version_11(graph, node)
    if shape:
        graph.set_shape(source, shape)


def _where(graph: Any, node: Any, _name: str, _args: Any) -> None:
    """Chooses by Where; tf2onnx multiplies both branches by 0 or 1, which makes NaN of an infinity not chosen."""
    node.set_attr("handles_nan", 1)
    Select.version_9(graph, node)
    node.attr.pop("handles_nan", None)


def _floor_div(graph: Any, node: Any, _name: str, _args: Any) -> None:
    """Rounds quotients of whole numbers down: ONNX, and so tf2onnx, rounds them toward zero."""
    if graph.get_dtype(node.input[0]) not in WHOLE:
        FloorDiv.version_6(graph, node)
        return
    number, divisor = node.input
    whole = {"dtypes": node.output_dtypes, "shapes": node.output_shapes}
    truth = {"dtypes": [TensorProto.BOOL], "shapes": node.output_shapes}
    quotient = graph.make_node("Div", [number, divisor], **whole).output[0]
    product = graph.make_node("Mul", [quotient, divisor], **whole).output[0]
    rest = graph.make_node("Sub", [number, product], **whole).output[0]
    floor_rest = graph.make_node("Mod", [number, divisor], **whole).output[
        0
    ]  # another where the quotient was rounded up
    is_equal = graph.make_node("Equal", [rest, floor_rest], **truth).output[0]
    is_above = graph.make_node("Not", [is_equal], **truth).output[0]
    excess = graph.make_node("Cast", [is_above], attr={"to": node.output_dtypes[0]}, **whole).output[0]
    node.type = "Sub"
    graph.replace_inputs(node, [quotient, excess])


def _floor_mod(graph: Any, node: Any, _name: str, _args: Any) -> None:
    """Gives rests of whole numbers the sign of the divisor, as ONNX's own Mod does."""
    if graph.get_dtype(node.input[0]) in WHOLE:
        node.type = "Mod"
    else:
        FloorMod.version_7(graph, node)


HANDLERS = {
    "FloorDiv": (_floor_div, []),
    "FloorMod": (_floor_mod, []),
    **dict.fromkeys(("Conv3D",), (_grouped_conv, [])),
    **dict.fromkeys(("Select", "SelectV2"), (_where, [])),
    **dict.fromkeys(("Conv2DBackpropInput", "Conv3DBackpropInputV2"), (_transposed_conv, [])),
    **dict.fromkeys(("ResizeBilinear", "ResizeBicubic", "ResizeNearestNeighbor"), (_resize, [])),
}
