"""Several TFLite files as one with a signature for each; constants of equal content are stored once.

TensorFlow's converter takes several signatures too, but stores their shared weights twice in integer files, and its
calibrator sees all of them at once. Joined are files that were converted each alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from kerasdl.core.errors import ExportError

from .flatbuffer import operators, packed

RUNTIME_VERSION = b"min_runtime_version"
# Variables and tables are known by names for the whole interpreter: those of two files would be taken for one another.
KEPT_BETWEEN_CALLS = ("VAR_HANDLE", "HASHTABLE", "CALL_ONCE")


def joined(files: Mapping[str, bytes]) -> bytes:
    """Returns one TFLite file whose signatures are the only ones of the given files, under new names.

    Args:
        files: the contents of TFLite files of one signature each, by the name that it is to have.

    Raises:
        ExportError: a file keeps something from call to call.
    """
    whole = schema.ModelT(version=3, operatorCodes=[], subgraphs=[], buffers=[schema.BufferT()], signatureDefs=[])
    places: dict[bytes, int] = {}
    parts = []
    for name, content in files.items():
        if kept := sorted({each.name for each in operators(content)}.intersection(KEPT_BETWEEN_CALLS)):
            raise ExportError(
                f"a file of several signatures must keep nothing between calls; {name!r} has {', '.join(kept)}. "
                "Export that model to a file of its own."
            )
        part = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
        buffers = buffer_places(whole, part, places)
        codes, graphs = len(whole.operatorCodes), len(whole.subgraphs)
        for graph in part.subgraphs:
            for tensor in graph.tensors:
                tensor.buffer = buffers[tensor.buffer]
            for operator in graph.operators or []:
                operator.opcodeIndex += codes
                move_subgraphs(operator, {place: place + graphs for place in range(len(part.subgraphs))})
            graph.debugMetadataIndex = -1
        (signature,) = part.signatureDefs
        signature.signatureKey = name.encode()
        signature.subgraphIndex += graphs
        part.subgraphs[signature.subgraphIndex - graphs].name = name.encode()
        whole.operatorCodes += part.operatorCodes
        whole.subgraphs += part.subgraphs
        whole.signatureDefs.append(signature)
        parts.append(part)
    return packed(with_newest_runtime(whole, parts))


def with_newest_runtime(whole: schema.ModelT, parts: Iterable[schema.ModelT]) -> schema.ModelT:
    """Returns a file that asks for the newest of the runtimes that its parts ask for, and has no other metadata."""
    versions = [version for part in parts for version in _runtime_versions(part)]
    whole.metadata = None
    if versions:
        newest = max(versions, key=lambda version: [int(number) for number in version.split(b".") if number.isdigit()])
        whole.buffers.append(schema.BufferT(data=np.frombuffer(newest, np.uint8)))
        whole.metadata = [schema.MetadataT(RUNTIME_VERSION, len(whole.buffers) - 1)]
    return whole


def buffer_places(whole: schema.ModelT, part: schema.ModelT, places: dict[bytes, int] | None = None) -> list[int]:
    """Returns where the buffers of a part stand in the whole file; those that it lacks are added.

    Args:
        whole: the file that takes them.
        part: the file that brings them.
        places: known buffers by content, which are stored once; grows.
    """
    places = {} if places is None else places
    return [_place(whole, places, buffer) for buffer in part.buffers]


def _place(whole: schema.ModelT, places: dict[bytes, int], buffer: schema.BufferT) -> int:
    """Returns where a buffer stands among those of the whole file; an empty one is the first by convention."""
    if buffer.data is None or not len(buffer.data):
        return 0
    content = np.asarray(buffer.data, np.uint8).tobytes()
    if content not in places:
        whole.buffers.append(buffer)
        places[content] = len(whole.buffers) - 1
    return places[content]


def move_subgraphs(operator: schema.OperatorT, places: Mapping[int, int]) -> None:
    """Lets an operation that runs other graphs, such as a loop, find them at their new places."""
    for options in (operator.builtinOptions, operator.builtinOptions2):
        for field, value in vars(options).items() if options is not None else ():
            if field.endswith("SubgraphIndex") or field == "subgraph":
                setattr(options, field, places[value] if value >= 0 else value)
            elif field == "branchSubgraphIndices":
                setattr(options, field, [places[index] for index in value])


def _runtime_versions(model: Any) -> Iterator[bytes]:
    for entry in model.metadata or []:
        if entry.name == RUNTIME_VERSION:
            yield np.asarray(model.buffers[entry.buffer].data, np.uint8).tobytes().rstrip(b"\0")
