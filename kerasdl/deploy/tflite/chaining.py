"""Two TFLite files as one that runs the second on the outputs of the first, each in its own precision."""

from collections.abc import Mapping
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from .flatbuffer import packed
from .joining import buffer_places, move_subgraphs, with_newest_runtime


def chained(first: bytes, second: bytes, prefix: bytes = b"") -> bytes:
    """Returns one TFLite file with the inputs of a file and the outputs of another, which reads the first one's.

    Args:
        first: content of a file of one signature.
        second: content of a file of one signature, whose inputs have the names of the first one's outputs; others
            become inputs of the whole, behind those of the first.
        prefix: what stands before these names in the second file.
    """
    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(first))
    part = schema.ModelT.InitFromObj(schema.Model.GetRootAs(second))
    (signature,), (of_part,) = whole.signatureDefs, part.signatureDefs
    buffers = buffer_places(whole, part)
    codes = len(whole.operatorCodes)
    # The second main graph goes into the first; its other graphs, the bodies of loops, go behind all.
    others = [place for place in range(len(part.subgraphs)) if place != of_part.subgraphIndex]
    moved = {place: len(whole.subgraphs) + number for number, place in enumerate(others)}
    for graph in part.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = buffers[tensor.buffer]
        for operator in graph.operators or []:
            operator.opcodeIndex += codes
            move_subgraphs(operator, moved)
        graph.debugMetadataIndex = -1
    main, behind = whole.subgraphs[signature.subgraphIndex], part.subgraphs[of_part.subgraphIndex]
    outputs = {prefix + name: place for name, place in _by_name(signature.outputs).items()}
    inputs = _by_name(of_part.inputs)
    places = _append(main, behind, outputs, {name: place for name, place in inputs.items() if name in outputs})
    order = [int(place) for place in behind.inputs]
    further = [each for each in of_part.inputs if each.name not in outputs]
    for entry in sorted(further, key=lambda each: order.index(each.tensorIndex)):
        entry.tensorIndex = places[entry.tensorIndex]
        signature.inputs.append(entry)
        main.inputs = [*main.inputs, entry.tensorIndex]
    for entry in of_part.outputs:
        entry.tensorIndex = places[entry.tensorIndex]
    signature.outputs = of_part.outputs
    main.outputs = [places[place] for place in behind.outputs]
    main.debugMetadataIndex = -1
    whole.subgraphs += [part.subgraphs[place] for place in others]
    whole.operatorCodes += part.operatorCodes
    return packed(with_newest_runtime(whole, (whole, part)))


def _append(main: Any, behind: Any, outputs: Mapping[bytes, int], inputs: Mapping[bytes, int]) -> dict[int, int]:
    """Adds tensors and operations of a graph to another, and returns where its tensors stand there."""
    places = {-1: -1, **{place: outputs[name] for name, place in inputs.items()}}
    for place, tensor in enumerate(behind.tensors):
        if place not in places:
            places[place] = len(main.tensors)
            main.tensors.append(tensor)
    for operator in behind.operators or []:
        for field in ("inputs", "outputs", "intermediates"):
            value = getattr(operator, field)
            if value is not None:
                setattr(operator, field, [places[int(each)] for each in value])
    main.operators = [*(main.operators or []), *(behind.operators or [])]
    return places


def _by_name(entries: Any) -> dict[bytes, int]:
    return {entry.name: entry.tensorIndex for entry in entries}
