"""Barriers between dequantised tensors and the loops that read them from outside, where onnxruntime would abort."""

from collections.abc import Iterator

import onnx

from .subgraphs import graphs_in

# Operations behind which onnxruntime moves a DequantizeLinear.
PASSED_BY_DEQUANTIZE = (
    "Transpose",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Slice",
    "MaxPool",
    "Identity",
    "Gather",
)
PASSED_BY_DEQUANTIZE += ("Expand", "Split", "Concat", "Pad", "Tile", "DepthToSpace", "SpaceToDepth", "Resize")


def put_barriers(proto: onnx.ModelProto) -> None:
    """Puts a Max of one input, which changes nothing, before a tensor that a loop or branch reads from outside.

    onnxruntime (seen in 1.31) moves DequantizeLinear behind transpositions and similar operations. It ends the process
    where a body reads their outputs, since these are not inputs of the loop itself.
    """
    graph = proto.graph
    makers = {name: node for node in graph.node for name in node.output}
    for node in list(graph.node):
        bodies = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
        for name in sorted({name for body in bodies for name in _read_from_outside(body)}):
            if _is_dequantized(makers, name):
                barrier = onnx.helper.make_node("Max", [name], [f"{name}_for_{node.name}"])
                graph.node.insert(list(graph.node).index(node), barrier)
                for body in bodies:
                    _rename(body, name, barrier.output[0])


def _is_dequantized(makers: dict[str, onnx.NodeProto], name: str) -> bool:
    source = makers.get(name)
    while source is not None and source.op_type in PASSED_BY_DEQUANTIZE:
        source = makers.get(source.input[0])
    return source is not None and source.op_type == "DequantizeLinear"


def _read_from_outside(body: onnx.GraphProto) -> Iterator[str]:
    local: set[str] = set()
    for graph in graphs_in(body):
        local.update(value.name for value in (*graph.input, *graph.initializer))
        local.update(name for node in graph.node for name in node.output)
    for graph in graphs_in(body):
        yield from (name for node in graph.node for name in node.input if name and name not in local)
        yield from (value.name for value in graph.output if value.name not in local)


def _rename(body: onnx.GraphProto, name: str, new: str) -> None:
    for graph in graphs_in(body):
        for node in graph.node:
            node.input[:] = [new if each == name else each for each in node.input]
        for value in graph.output:
            value.name = new if value.name == name else value.name
