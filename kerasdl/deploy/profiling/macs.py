"""Multiply-accumulates (MACs) of a layer, counted in the graph that TensorFlow would run for it."""

import math
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

MATRIX_PRODUCTS = {"MatMul": "transpose_a", "BatchMatMulV2": "adj_x", "BatchMatMulV3": "adj_x"}
CONVOLUTIONS = ("Conv2D", "Conv3D")
TRANSPOSED = ("Conv2DBackpropInput", "Conv3DBackpropInputV2")
LOOPS = ("While", "StatelessWhile")
# The functions that a node calls; of two branches, the one with more MACs counts.
CALLS = {
    **dict.fromkeys(("PartitionedCall", "StatefulPartitionedCall"), ("f",)),
    **dict.fromkeys(LOOPS, ("body",)),
    **dict.fromkeys(("If", "StatelessIf"), ("then_branch", "else_branch")),
}


def traced(operation: keras.Operation, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Returns one call of a layer or a bare operation as a traced TensorFlow function.

    Args:
        operation: the layer or operation, built.
        args: its arguments, KerasTensors of known shape in place of tensors.
        kwargs: its named arguments likewise.

    Example:
        >>> rows = keras.KerasTensor((2, 5, 3)), keras.KerasTensor((2, 7, 3))
        >>> count_products(traced(keras.layers.Dot(axes=2), (rows,), {}).graph)
        210
    """
    specs = [value for value in keras.tree.flatten((args, kwargs)) if isinstance(value, keras.KerasTensor)]

    def run(*tensors):
        left = iter(tensors)
        spec_args, spec_kwargs = keras.tree.map_structure(
            lambda value: next(left) if isinstance(value, keras.KerasTensor) else value, (args, kwargs)
        )
        return operation(*spec_args, **spec_kwargs)

    specs = [tf.TensorSpec(spec.shape, spec.dtype) for spec in specs]
    return tf.function(run, autograph=False).get_concrete_function(*specs)


def count_products(graph: Any) -> int:
    """Returns the multiply-accumulates of one run of a traced function's graph.

    Matrix products, contractions and convolutions count in every layer: of Keras, of a user, a wrapper, a recurrent
    layer (per step, times steps). Element-wise operations count 0.
    """
    return sum(_of_node(node) for node in _needed(graph))


def _needed(graph: Any) -> Iterator[tf.Operation]:
    # A recurrent layer traces a step that nothing reads, to learn its shapes.
    waiting, seen = [tensor.op for tensor in graph.outputs], set()
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        waiting += [tensor.op for tensor in node.inputs]


def _of_node(node: tf.Operation) -> int:
    if node.type in MATRIX_PRODUCTS:
        shape = node.inputs[0].shape
        return _size(node.outputs[0]) * shape[-2 if node.get_attr(MATRIX_PRODUCTS[node.type]) else -1]
    if node.type == "Einsum":
        return _of_einsum(node.get_attr("equation").decode(), [tuple(tensor.shape) for tensor in node.inputs])
    if node.type in CONVOLUTIONS:
        return _size(_merged(node.outputs[0])) * math.prod(node.inputs[1].shape[:-1])
    if node.type == "DepthwiseConv2dNative":
        return _size(_merged(node.outputs[0])) * math.prod(node.inputs[1].shape[:-2])
    if node.type in TRANSPOSED:
        return _size(node.inputs[2]) * math.prod(node.inputs[1].shape[:-1])
    # TensorFlow has no public access to the body of a function.
    bodies = [node.graph._get_function(node.get_attr(name).name).graph for name in CALLS.get(node.type, ())]
    once = max(map(count_products, bodies), default=0)
    return once * _passes(node) if node.type in LOOPS else once


def _of_einsum(equation: str, shapes: list[tuple[int, ...]]) -> int:
    if len(shapes) < 2:
        return 0
    sizes: dict[str, int] = {}
    for term, shape in zip(equation.partition("->")[0].split(","), shapes, strict=True):
        before, dots, after = term.partition("...")
        middle = [f".{index}" for index in range(len(shape) - len(before) - len(after), 0, -1)] if dots else []
        for label, size in zip([*before, *middle, *after], shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    return math.prod(sizes.values())


def _merged(tensor: tf.Tensor) -> tf.Tensor:
    # A dilated convolution runs on interleaved parts, padded to one size; the padding is dropped again.
    following = tensor
    while (nodes := following.consumers()) and nodes[0].type in ("Squeeze", "BatchToSpaceND"):
        following = nodes[0].outputs[0]
        if nodes[0].type == "BatchToSpaceND":
            return following
    return tensor


def _passes(loop: tf.Operation) -> int:
    # A loop over time reads a list of time steps; the number of passes of any other loop is unknown.
    lists = [tensor.op for tensor in loop.inputs if tensor.op.type == "TensorListFromTensor"]
    return max((node.inputs[0].shape[0] for node in lists), default=1)


def _size(tensor: tf.Tensor) -> int:
    return math.prod(tensor.shape)
