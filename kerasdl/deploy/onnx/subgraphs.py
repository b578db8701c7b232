"""Graphs within an ONNX graph: the bodies of loops and branches."""

from collections.abc import Iterator

import onnx


def graphs_in(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yields a graph and the graphs of the loops and branches in it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs_in(attribute.g)
