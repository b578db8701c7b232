"""Handlers for TensorFlow operations that tf2onnx converts wrongly, around its own."""

import math
from typing import Any

import numpy as np
from tf2onnx.onnx_opset.nn import ConvOp, ConvTranspose, Resize

CHANNELS_FIRST = ("NCHW", "NCDHW")


def _grouped_conv(graph: Any, node: Any, _name: str, _args: Any) -> None:
    """Conv3D: tf2onnx reads the number of groups off 2D convolutions alone."""
    channels_first = node.get_attr_value("data_format", b"NDHWC").decode() in CHANNELS_FIRST
    channels = graph.get_shape(node.input[0])[1 if channels_first else -1]
    read = graph.get_shape(node.input[1])[-2]
    ConvOp.version_11(graph, node)
    node.set_attr("group", channels // read)


def _transposed_conv(graph: Any, node: Any, _name: str, _args: Any) -> None:
    """Where strides leave gaps between kernels, tf2onnx writes negative padding: zeros belong at the end."""
    ConvTranspose.version_11(graph, node)
    pads = node.get_attr("pads")
    if pads is not None and min(pads.ints) < 0:
        starts, ends = np.split(np.array(pads.ints), 2)
        missing = np.maximum(-(starts + ends), 0)
        kept = np.where(missing > 0, 0, [starts, ends])
        node.set_attr("pads", kept.ravel().tolist())
        node.set_attr("output_padding", missing.tolist())


def _resize(graph: Any, node: Any, _name: str, _args: Any) -> None:
    """tf2onnx writes the ratio of sizes, and in float32 old size times ratio may fall just short of the new one."""
    source = node.input[0]
    shape = graph.get_shape(source)
    if shape and node.inputs[1].is_const():
        sizes = zip(node.inputs[1].get_tensor_value(), shape[1:3], strict=True)
        if any(old > 0 and math.floor(float(np.float32(new / old)) * old) != new for new, old in sizes):
            graph.set_shape(source, [shape[0], -1, -1, shape[3]])  # then it writes the size itself
    Resize.version_11(graph, node)
    if shape:
        graph.set_shape(source, shape)


HANDLERS = {
    **dict.fromkeys(("Conv3D",), (_grouped_conv, [])),
    **dict.fromkeys(("Conv2DBackpropInput", "Conv3DBackpropInputV2"), (_transposed_conv, [])),
    **dict.fromkeys(("ResizeBilinear", "ResizeBicubic", "ResizeNearestNeighbor"), (_resize, [])),
}
