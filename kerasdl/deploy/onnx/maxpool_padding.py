"""Padding before a MaxPool that onnxruntime's optimiser must not merge with the pooling."""

import numpy as np
import onnx

from .subgraphs import graphs_in

# Operations that may stand between a padding and its pooling.
BETWEEN = ("Transpose", "Identity", "Squeeze", "Unsqueeze", "Reshape")
KINDS = {onnx.TensorProto.FLOAT: np.float32, onnx.TensorProto.DOUBLE: np.float64}


def keep_paddings(proto: onnx.ModelProto) -> None:
    """Replaces the zeros of a padding before a MaxPool by the least normal number above zero.

    onnxruntime (seen in 1.31) merges a padding of zeros into the MaxPool, which pads with minus infinity: where a
    window is all negative, the pooling should give 0 and gives its largest number. It merges no other padding.
    """
    paddings = [(graph, node) for graph in graphs_in(proto.graph) for node in _before_pooling(graph)]
    if not paddings:
        return
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}
    for graph, node in paddings:
        kind = KINDS.get(kinds.get(node.output[0], onnx.TensorProto.FLOAT))
        if kind is not None:
            least = onnx.numpy_helper.from_array(np.array(np.finfo(np.float32).tiny, kind), f"{node.output[0]}_least")
            graph.initializer.append(least)
            node.input[:] = [*node.input[:2], least.name, *node.input[3:]]


def _before_pooling(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Returns the nodes of a graph that pad with zeros before a MaxPool."""
    makers = {name: node for node in graph.node for name in node.output}
    values = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    paddings = {}
    for pool in graph.node:
        source = makers.get(pool.input[0]) if pool.op_type == "MaxPool" else None
        while source is not None and source.op_type in BETWEEN:
            source = makers.get(source.input[0])
        if source is not None and source.op_type == "Pad" and _pads_zeros(source, values):
            paddings[source.output[0]] = source
    return list(paddings.values())


def _pads_zeros(node: onnx.NodeProto, values: dict[str, np.ndarray]) -> bool:
    mode = next((each.s for each in node.attribute if each.name == "mode"), b"constant")
    named = len(node.input) > 2 and node.input[2]
    return mode == b"constant" and (not named or not np.any(values.get(node.input[2], 1)))
