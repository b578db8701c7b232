"""Content of a TFLite file: operations, inputs and outputs, metadata."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ..export.file_tensors import FileTensor
from ..export.metadata import checked_metadata as checked_metadata
from .description import android_metadata
from .runtime import SIGNATURE

METADATA = "kerasdl"
DTYPES = {value: name.lower() for name, value in vars(schema.TensorType).items() if not name.startswith("_")}
OPERATION_NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


@dataclass(frozen=True)
class Operator:
    """One operation of a file."""

    name: str
    """The name of its kind, such as "CONV_2D"."""
    inputs: tuple[str, ...]
    """The tensors that it reads, constants included."""
    outputs: tuple[str, ...]
    """The tensors that it makes."""
    is_float: bool
    """Whether its first output is float32."""


def operators(content: bytes) -> Iterator[Operator]:
    """Yields the operations of every graph in a file, in the order in which they run."""
    model = schema.Model.GetRootAs(content)
    for graph in (model.Subgraphs(index) for index in range(model.SubgraphsLength())):
        tensors = [graph.Tensors(index) for index in range(graph.TensorsLength())]
        for operator in (graph.Operators(index) for index in range(graph.OperatorsLength())):
            code = model.OperatorCodes(operator.OpcodeIndex())
            inputs = operator.InputsAsNumpy() if operator.InputsLength() else ()
            outputs = [tensors[index] for index in operator.OutputsAsNumpy()] if operator.OutputsLength() else []
            yield Operator(
                OPERATION_NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())],
                tuple(tensors[index].Name().decode() for index in inputs if index >= 0),
                tuple(tensor.Name().decode() for tensor in outputs),
                bool(outputs) and outputs[0].Type() == schema.TensorType.FLOAT32,
            )


def operation_name(model: schema.ModelT, operator: schema.OperatorT) -> str:
    """Returns the name of an operator of a model that is taken apart, such as "CONV_2D"."""
    code = model.operatorCodes[operator.opcodeIndex]
    return OPERATION_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def indices(of_tensors: np.ndarray | None) -> list[int]:
    """Returns the tensors that an operator reads or makes; absent ones are left out."""
    return [] if of_tensors is None else [int(index) for index in of_tensors if index >= 0]


def float_readers(content: bytes) -> dict[str, str]:
    """Returns the float32 inputs that an operation other than QUANTIZE reads, with the name of that operation."""
    model, names = schema.Model.GetRootAs(content), {}
    for entry in (model.SignatureDefs(index) for index in range(model.SignatureDefsLength())):
        graph = model.Subgraphs(entry.SubgraphIndex())
        for each in (entry.Inputs(index) for index in range(entry.InputsLength())):
            tensor = graph.Tensors(each.TensorIndex())
            if tensor.Type() == schema.TensorType.FLOAT32:
                names[tensor.Name().decode()] = each.Name().decode()
    readers = {}
    for operator in operators(content):
        if operator.name != "QUANTIZE":
            readers |= {names[tensor]: operator.name for tensor in operator.inputs if tensor in names}
    return readers


def output_tensors(content: bytes) -> dict[str, str]:
    """Returns the names of a file's outputs by the tensors that hold them."""
    model = schema.Model.GetRootAs(content)
    outputs = {}
    for entry in (model.SignatureDefs(index) for index in range(model.SignatureDefsLength())):
        graph = model.Subgraphs(entry.SubgraphIndex())
        for output in (entry.Outputs(index) for index in range(entry.OutputsLength())):
            outputs[graph.Tensors(output.TensorIndex()).Name().decode()] = output.Name().decode()
    return outputs


def computes_in_int8(content: bytes) -> bool:
    """Returns whether an operator of a file makes whole numbers of 8 bits."""
    model = schema.Model.GetRootAs(content)
    graphs = (model.Subgraphs(index) for index in range(model.SubgraphsLength()))
    made = (
        graph.Tensors(output).Type()
        for graph in graphs
        for number in range(graph.OperatorsLength())
        for output in indices(graph.Operators(number).OutputsAsNumpy())
    )
    return schema.TensorType.INT8 in made


def count_operations(path: Path) -> dict[str, int]:
    """Returns the count of each operation of a file."""
    return dict(sorted(Counter(each.name for each in operators(path.read_bytes())).items()))


def file_tensors(path: Path, signature: str | None = None) -> tuple[tuple[FileTensor, ...], tuple[FileTensor, ...]]:
    """Returns the inputs and the outputs of a file's signature, in the order of the file; None is `serve`."""
    return _signature_tensors(schema.Model.GetRootAs(path.read_bytes()), signature)


def _signature_tensors(
    model: schema.Model, signature: str | None = None
) -> tuple[tuple[FileTensor, ...], tuple[FileTensor, ...]]:
    entries = _signatures(model)
    keys = (SIGNATURE, "serving_default") if signature is None else (signature,)
    entry = next((entries[key] for key in keys if key in entries), None)
    graph = model.Subgraphs(entry.SubgraphIndex() if entry else 0)
    return (
        _file_tensors(graph, graph.InputsAsNumpy(), entry and map(entry.Inputs, range(entry.InputsLength()))),
        _file_tensors(graph, graph.OutputsAsNumpy(), entry and map(entry.Outputs, range(entry.OutputsLength()))),
    )


def _signatures(model: schema.Model) -> dict[str, schema.SignatureDef]:
    entries = map(model.SignatureDefs, range(model.SignatureDefsLength()))
    return {entry.SignatureKey().decode(): entry for entry in entries}


def _file_tensors(graph: schema.SubGraph, tensors: np.ndarray, entries: Iterator | None) -> tuple[FileTensor, ...]:
    names = {each.TensorIndex(): each.Name().decode() for each in entries or ()}
    return tuple(_file_tensor(place, graph.Tensors(index), names.get(index)) for place, index in enumerate(tensors))


def _file_tensor(place: int, tensor: schema.Tensor, name: str | None) -> FileTensor:
    sizes = tensor.ShapeSignatureAsNumpy() if tensor.ShapeSignatureLength() else tensor.ShapeAsNumpy()
    shape = tuple(None if size < 0 else int(size) for size in sizes) if tensor.ShapeLength() else ()
    grid = tensor.Quantization()
    scale, zero = (
        (float(grid.Scale(0)), int(grid.ZeroPoint(0))) if grid is not None and grid.ScaleLength() else (None, None)
    )
    return FileTensor(place, name or tensor.Name().decode(), shape, DTYPES[tensor.Type()], scale, zero)


def stored_metadata(path: Path) -> dict[str, Any]:
    """Returns the values that `metadata=` stored in a TFLite file."""
    model = schema.Model.GetRootAs(path.read_bytes())
    for entry in (model.Metadata(index) for index in range(model.MetadataLength())):
        if entry.Name() == METADATA.encode():
            return json.loads(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    return {}


def with_metadata(content: bytes, metadata: Mapping[str, Any] | None) -> bytes:
    """Returns the file with values stored in it, also in Android's format where that can describe the file."""
    if metadata is None:
        return content
    inputs, outputs = _signature_tensors(schema.Model.GetRootAs(content))
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    text = json.dumps(dict(metadata), ensure_ascii=False).encode()
    model.buffers.append(schema.BufferT(data=np.frombuffer(text, np.uint8)))
    model.metadata = [*(model.metadata or []), schema.MetadataT(METADATA.encode(), len(model.buffers) - 1)]
    if len(model.subgraphs) > 1 or not android_metadata.describes(inputs, outputs, metadata):
        return packed(model)
    described = android_metadata.model_metadata(inputs[0], outputs[0], metadata)
    model.buffers.append(schema.BufferT(data=np.frombuffer(described, np.uint8)))
    model.metadata.append(schema.MetadataT(android_metadata.NAME.encode(), len(model.buffers) - 1))
    return android_metadata.with_labels(packed(model), metadata["labels"])


def packed(model: schema.ModelT) -> bytes:
    """Returns a TFLite model as the content of a file."""
    builder = _Aligned(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _Aligned(flatbuffers.Builder):
    """Builder that puts byte vectors at multiples of 16, as the schema demands for weights."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802
        return super().StartVector(elemSize, numElems, 16 if elemSize == 1 else alignment)
