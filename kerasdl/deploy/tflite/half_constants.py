"""Half-precision weights of a float TFLite file; constants that half precision cannot hold stay float32.

The converter's own float16 turns every constant into half: a mask of -1e9 becomes minus infinity there, an epsilon of
1e-8 becomes zero, and the answer to padding or zeros NaN.
"""

from collections.abc import Callable

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from .flatbuffer import packed

MIN_ENTRIES = 16  # of a constant that is stored in half precision; smaller ones take little space
LARGEST = float(np.finfo(np.float16).max)
DEQUANTIZE_OF_HALVES = 3  # the version of the operation


def with_half_constants(content: bytes, is_exact: Callable[[str], bool]) -> bytes:
    """Returns the file with its float32 constants as float16, each widened by a DEQUANTIZE before it is read.

    Args:
        content: a float32 file.
        is_exact: tells by a tensor's name whether the operation that makes it must read float32.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    code, halves = len(model.operatorCodes), {}
    for graph in model.subgraphs:
        in_float32 = {*graph.inputs, *graph.outputs}
        for operator in graph.operators or []:
            if any(is_exact(graph.tensors[k].name.decode()) for k in operator.outputs):
                in_float32.update(operator.inputs)
        widening = []
        for index, tensor in enumerate(list(graph.tensors)):
            half = None if index in in_float32 else _half(model, tensor, halves)
            if half is None:
                continue
            graph.tensors.append(
                schema.TensorT(
                    shape=tensor.shape, type=schema.TensorType.FLOAT16, buffer=half, name=tensor.name + b"/half"
                )
            )
            tensor.buffer = 0  # by convention the empty one
            widening.append(
                schema.OperatorT(
                    opcodeIndex=code,
                    inputs=np.array([len(graph.tensors) - 1], np.int32),
                    outputs=np.array([index], np.int32),
                    builtinOptionsType=schema.BuiltinOptions.DequantizeOptions,
                    builtinOptions=schema.DequantizeOptionsT(),
                )
            )
        graph.operators = [*widening, *(graph.operators or [])]
    if not halves:
        return content
    dequantize = schema.BuiltinOperator.DEQUANTIZE
    model.operatorCodes.append(
        schema.OperatorCodeT(deprecatedBuiltinCode=dequantize, builtinCode=dequantize, version=DEQUANTIZE_OF_HALVES)
    )
    for buffer in set(halves) - {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}:
        model.buffers[buffer].data = None
    return packed(model)


def _half(model: schema.ModelT, tensor: schema.TensorT, halves: dict[int, int]) -> int | None:
    """Returns the buffer of a constant in half precision; None for a tensor that stays float32."""
    data = model.buffers[tensor.buffer].data if tensor.type == schema.TensorType.FLOAT32 else None
    if tensor.buffer not in halves:
        if data is None or len(data) < MIN_ENTRIES * 4 or tensor.isVariable:
            return None
        values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), np.float32)
        if np.abs(values).max() > LARGEST:
            return None
        model.buffers.append(schema.BufferT(data=np.frombuffer(values.astype(np.float16).tobytes(), np.uint8)))
        halves[tensor.buffer] = len(model.buffers) - 1
    return halves[tensor.buffer]
