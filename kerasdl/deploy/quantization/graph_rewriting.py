"""Rewriting of the graph of a tf_keras model over the same layers, with other layers put in."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras

Node = Any  # one call of a layer in a tf_keras graph; its class has no public name
Call = Callable[[Node, Any, dict[str, Any]], Any]


def nodes_of(model: tf_keras.Model) -> list[Node]:
    """Returns the calls of layers in a functional model, each after those it depends on."""
    depths = sorted(model._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in model._nodes_by_depth[depth] if not node.is_input]


@tf.autograph.experimental.do_not_convert  # our layers have no Python branches on tensors
def rewire(model: tf_keras.Model, call: Call) -> tf_keras.Model:
    """Returns a model with the graph of another, each node replaced by the outputs of a function.

    Args:
        model: a functional model.
        call: takes a node, and the positional and named arguments of its layer with tensors of the new graph; returns
            the node's outputs in the new graph.

    Returns:
        The new model. It shares the layers that `call` keeps, and so their weights.
    """
    inputs = [
        tf_keras.Input(batch_shape=each.shape, dtype=each.dtype, name=layer.name)
        for each, layer in zip(model.inputs, model._input_layers, strict=True)
    ]
    tensors = {id(old): new for old, new in zip(model.inputs, inputs, strict=True)}

    def replaced(value: Any) -> Any:
        return tensors.get(id(value), value)

    for node in nodes_of(model):
        new_outputs = call(node, *tf.nest.map_structure(replaced, (node.call_args, node.call_kwargs)))
        for old, new in zip(tf.nest.flatten(node.outputs), tf.nest.flatten(new_outputs), strict=True):
            tensors[id(old)] = new
    outputs = [tensors[id(each)] for each in model.outputs]
    return tf_keras.Model(inputs, outputs, name=model.name)
