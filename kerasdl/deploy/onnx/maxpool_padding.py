"""Padding before a MaxPool, kept apart from it: onnxruntime's optimiser would merge the two into something else."""

import numpy as np
import onnx

from .subgraphs import graphs_in

# What may stand between a padding and the pooling that it is for.
BETWEEN = ("Transpose", "Identity", "Squeeze", "Unsqueeze", "Reshape")
KINDS = {onnx.TensorProto.FLOAT: np.float32, onnx.TensorProto.DOUBLE: np.float64}


def keep_paddings(proto: onnx.ModelProto) -> None:
    """Lets zeros that are padded before a MaxPool be the least number above zero.

    onnxruntime (seen in 1.31) takes a padding of zeros for the MaxPool's own, which is minus infinity: where all of
    a window is negative the pooling should give 0, and gives the largest of the window. Of another number it does not.
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
    """Returns the nodes of a graph that pad zeros which a MaxPool reads."""
    made = {name: node for node in graph.node for name in node.output}
    values = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    found = {}
    for pool in graph.node:
        source = made.get(pool.input[0]) if pool.op_type == "MaxPool" else None
        while source is not None and source.op_type in BETWEEN:
            source = made.get(source.input[0])
        if source is not None and source.op_type == "Pad" and _pads_zeros(source, values):
            found[source.output[0]] = source
    return list(found.values())


def _pads_zeros(node: onnx.NodeProto, values: dict[str, np.ndarray]) -> bool:
    mode = next((each.s for each in node.attribute if each.name == "mode"), b"constant")
    named = len(node.input) > 2 and node.input[2]
    return mode == b"constant" and (not named or not np.any(values.get(node.input[2], 1)))
