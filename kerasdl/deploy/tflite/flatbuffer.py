"""Content of a TFLite file: operations, inputs and outputs, metadata."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from kerasdl.core import checks

from ..export.file_tensors import FileTensor
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


def read_metadata(path: str | os.PathLike) -> dict[str, Any]:
    """Returns the values that `metadata=` stored in a TFLite file, such as labels, and its inputs and outputs.

    The values are JSON in the file's metadata buffer named "kerasdl", which other readers of TFLite files can read too.
    `inputs` and `outputs` are read from the file itself, unless a value of that name was stored: a dict
    for each, in the file's order, of index, name, shape (None for a free size), dtype, scale and zero_point. A file
    written from several models has `signatures` instead, with inputs and outputs by the name of each.

    Args:
        path: a .tflite file.

    Returns:
        The stored values by name; `inputs` and `outputs`, or `signatures`.

    Raises:
        ArgumentError: there is no such file, or it is not a TFLite file.

    Example:
        >>> report = export_tflite(model, "model.tflite", metadata={"labels": ["cat", "dog", "cow", "hen"]})
        >>> read_metadata("model.tflite")["labels"][1]
        'dog'
        >>> read_metadata("model.tflite")["inputs"][0]["shape"]
        [1, 32, 32, 3]
    """
    path = Path(path)
    content = path.read_bytes() if path.is_file() else b""
    if content[4:8] != b"TFL3":
        checks.refuse("path must be a TFLite file", str(path))
    model = schema.Model.GetRootAs(content)
    stored = {}
    for entry in (model.Metadata(index) for index in range(model.MetadataLength())):
        if entry.Name() == METADATA.encode():
            stored = json.loads(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    names = list(_signatures(model))
    if len(names) > 1 and SIGNATURE not in names and "serving_default" not in names:
        return {"signatures": {name: _described_tensors(model, name) for name in names}, **stored}
    return {**_described_tensors(model, names[0] if len(names) == 1 else None), **stored}


def _described_tensors(model: schema.Model, signature: str | None) -> dict[str, list[dict[str, Any]]]:
    tensors_by_side = zip(("inputs", "outputs"), _signature_tensors(model, signature), strict=True)
    return {side: [{**vars(each), "shape": list(each.shape)} for each in tensors] for side, tensors in tensors_by_side}


def checked_metadata(metadata: Mapping[str, Any] | None) -> None:
    """Refuses metadata that cannot be stored as JSON, and labels that are not a list of texts."""
    if metadata is None:
        return
    if not isinstance(metadata, Mapping) or not all(isinstance(name, str) for name in metadata):
        checks.refuse("metadata must be a dict by name", metadata)
    labels = metadata.get("labels", [])
    if not isinstance(labels, (list, tuple)) or not all(isinstance(label, str) for label in labels):
        checks.refuse("the labels of metadata must be a list of texts", labels)
    try:
        json.dumps(dict(metadata), allow_nan=False)
    except (TypeError, ValueError) as error:
        checks.refuse("metadata must hold values that JSON can hold", metadata, f"{error}.")


def with_metadata(content: bytes, metadata: Mapping[str, Any] | None) -> bytes:
    """Returns the file with values stored in it."""
    if metadata is None:
        return content
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    text = json.dumps(dict(metadata), ensure_ascii=False).encode()
    model.buffers.append(schema.BufferT(data=np.frombuffer(text, np.uint8)))
    model.metadata = [*(model.metadata or []), schema.MetadataT(METADATA.encode(), len(model.buffers) - 1)]
    return packed(model)


def packed(model: schema.ModelT) -> bytes:
    """Returns a TFLite model as the content of a file."""
    builder = _Aligned(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _Aligned(flatbuffers.Builder):
    """Builder that puts byte vectors at multiples of 16, as the schema demands for weights."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802
        return super().StartVector(elemSize, numElems, 16 if elemSize == 1 else alignment)
