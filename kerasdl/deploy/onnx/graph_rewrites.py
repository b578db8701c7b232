"""Rewriting of a frozen TensorFlow graph into operations that tf2onnx converts right."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from kerasdl.core.errors import ExportError

from ..formulas.op_formulas import FORMULAS, SIGN_TEST

REAL_OF = {tf.complex64.as_datatype_enum: tf.float32, tf.complex128.as_datatype_enum: tf.float64}
# Operations that treat both parts of a complex number alike, and so work on a pair of real numbers unchanged.
LINEAR = ("Identity", "AddV2", "Sub", "Neg")
CALLS = ("PartitionedCall", "StatefulPartitionedCall")

DescribeLayer = Callable[[str], str]


def open_compiled_functions(graph: tf.compat.v1.GraphDef) -> None:
    """Marks functions that Keras compiles with XLA (grouped convolutions) as plain calls, which tf2onnx inlines."""
    for node in graph.node:
        if "_XlaMustCompile" in node.attr:
            node.op = "PartitionedCall"
            del node.attr["_XlaMustCompile"]
    for function in graph.library.function:
        if "_XlaMustCompile" in function.attr:
            for mark in ("_XlaMustCompile", "_noinline"):
                function.attr.pop(mark, None)


def rewrite_operations(graph: tf.compat.v1.GraphDef, describe_layer: DescribeLayer) -> None:
    """Replaces each operation of a frozen graph that has a formula by a call of a function that computes it.

    Complex numbers, which ONNX lacks, become pairs of real ones in a last dimension of 2.

    Args:
        graph: the graph; it and its functions are changed.
        describe_layer: returns the layer of a node in words, for errors.

    Raises:
        ExportError: an operation on complex numbers has no formula.
    """
    functions = list(graph.library.function)  # without those that are added below, which need no rewriting
    _rewrite(graph, graph.node, _shapes(graph), describe_layer)
    for function in functions:
        renamed = _rewrite(graph, function.node_def, {}, describe_layer)
        for node in function.node_def:
            node.input[:] = [_renamed(name, renamed) for name in node.input]
        for key in function.ret:
            function.ret[key] = _renamed(function.ret[key], renamed)


def _shapes(graph: tf.compat.v1.GraphDef) -> dict[str, tf.TensorShape]:
    with tf.Graph().as_default() as opened:
        tf.import_graph_def(graph, name="")
    return {tensor.name.removesuffix(":0"): tensor.shape for each in opened.get_operations() for tensor in each.outputs}


def _rewrite(graph: tf.compat.v1.GraphDef, nodes: Iterable, shapes: dict, describe_layer: DescribeLayer) -> set[str]:
    """Rewrites the nodes of one graph or function; returns the names of the nodes that became calls."""
    nodes, calls = list(nodes), set()
    _open_sign_tests(nodes)
    for node in nodes:
        is_complex = any(attribute.type in REAL_OF for attribute in node.attr.values())
        is_centred = "half_pixel_centers" in node.attr and node.attr["half_pixel_centers"].b
        formula = FORMULAS.get(("complex " if is_complex else "centred " if is_centred else "") + node.op)
        if formula is not None:
            _call(graph, node, formula, shapes)
            calls.add(node.name)
        elif is_complex and node.op in LINEAR:
            node.attr["T"].type = REAL_OF[node.attr["T"].type].as_datatype_enum
        elif is_complex:
            raise ExportError(
                f"ONNX has no complex numbers; {node.op} of {describe_layer(node.name)} has no form in real ones here. "
                "Write that layer with real numbers, or export to TFLite or SavedModel."
            )
    return calls


def _open_sign_tests(nodes: list) -> None:
    """Replaces comparisons of a float's bits with 0, as in keras.ops.signbit and argmax, by sign tests of the float."""
    by_name = {node.name: node for node in nodes}
    for node in nodes:
        bits = _source(by_name, node, "Bitcast") if node.op == "Less" and _constant(by_name, node) == 0 else None
        if bits is not None and bits.attr["T"].type == tf.float32.as_datatype_enum:
            node.op, node.attr["T"].type = SIGN_TEST, bits.attr["T"].type
            node.input[:] = [bits.input[0], bits.input[0]]


def _source(by_name: dict, node: Any, operation: str) -> Any:
    """Returns the node of an operation that feeds a node's first input, through a mask of the sign bit or without."""
    source = by_name.get(node.input[0].partition(":")[0])
    if source is not None and source.op == "BitwiseAnd" and _constant(by_name, source) == np.iinfo(np.int32).min:
        source = by_name.get(source.input[0].partition(":")[0])
    return source if source is not None and source.op == operation else None


def _constant(by_name: dict, node: Any) -> int | None:
    """Returns the value of the scalar constant that is a node's second input, or None."""
    source = by_name.get(node.input[1].partition(":")[0])
    values = tf.make_ndarray(source.attr["value"].tensor) if source is not None and source.op == "Const" else ()
    return int(values) if np.size(values) == 1 else None


def _call(graph: tf.compat.v1.GraphDef, node: Any, formula: Callable[..., tf.Tensor], shapes: dict) -> None:
    """Turns a node into a call of a function, which is traced for the node's inputs and added to the library."""
    original = type(node).FromString(node.SerializeToString())
    arguments = op_def_registry.get("Less" if node.op == SIGN_TEST else node.op).input_arg
    dtypes = [each.type or node.attr[each.type_attr].type for each in arguments]
    specs = []
    for name, dtype in zip(node.input, dtypes, strict=True):
        shape = shapes.get(name, tf.TensorShape(None)).concatenate([2] if dtype in REAL_OF else [])
        specs.append(tf.TensorSpec(shape, REAL_OF.get(dtype, tf.as_dtype(dtype))))
    traced = tf.function(lambda *inputs: formula(original, *inputs), autograph=False).get_concrete_function(*specs)
    graph.library.function.append(traced.function_def)
    node.attr.clear()
    node.op = "PartitionedCall"
    node.attr["f"].func.name = traced.function_def.signature.name
    node.attr["Tin"].list.type.extend(spec.dtype.as_datatype_enum for spec in specs)
    node.attr["Tout"].list.type.append(traced.outputs[0].dtype.as_datatype_enum)


def _renamed(name: str, calls: set[str]) -> str:
    # In the body of a function an output is called node:argument:index; a call has one argument, `output`.
    node, _, output = name.partition(":")
    return f"{node}:output:0" if output and node in calls else name
