"""Parts of an autoencoder: the encoder up to its code and the decoder behind it, which share its weights."""

from typing import Any

import keras

from kerasdl.core import checks
from kerasdl.core.keras_graph import check_graph, replay

CODE = "code"
"""Name of the layer that gives the code."""


def known_sides(image_shape: Any) -> tuple[int, int, int]:
    """Returns an image shape whose sides are known, else raises `ArgumentError`."""
    shape = checks.image_shape("image_shape", image_shape)
    if None in shape:
        checks.refuse("image_shape of an autoencoder must have known sides", shape)
    return shape


def split_autoencoder(network: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Returns encoder and decoder of an autoencoder; both share its layers, and so learn with it.

    Args:
        network: functional model with a layer `code` between its inputs and its output, such as
            `kerasdl.build("autoencoder")`. Inputs that the decoder takes too, such as a class, are inputs of both.

    Returns:
        The encoder, from the inputs to the code, and the decoder, from the code (and these inputs) to the output.

    Raises:
        ArgumentError: the network has no such layer, or its output does not pass it.

    Example:
        >>> encoder, decoder = split_autoencoder(kerasdl.build("conv_autoencoder", filters=(4,), code=2))
        >>> encoder.output_shape, decoder.input_shape, decoder.output_shape
        ((None, 2), (None, 2), (None, 28, 28, 1))
    """
    encoder = keras.Model(network.input, code_of(network), name=f"{network.name}_encoder")
    return encoder, behind_code(network, network.output, name=f"{network.name}_decoder")


def behind_code(network: keras.Model, output: keras.KerasTensor, *, name: str) -> keras.Model:
    """Returns the part of an autoencoder from its code to a tensor, over the same layers.

    Args:
        network: the autoencoder.
        output: a tensor of its graph.
        name: name of the part.

    Raises:
        ArgumentError: the tensor does not depend on the code.
    """
    code = code_of(network)
    needed = _inputs_behind(network, code, output)
    part = keras.Model([code, *needed], output)
    inputs = [keras.Input(code.shape[1:], dtype=code.dtype, name=CODE)]
    inputs += [keras.Input(each.shape[1:], dtype=each.dtype, name=each.name) for each in needed]
    outputs = replay(part, inputs, lambda operation: operation)
    return keras.Model({each.name: each for each in inputs} if needed else inputs[0], outputs, name=name)


def code_of(network: keras.Model) -> keras.KerasTensor:
    """Returns the tensor of the code; raises `ArgumentError` where the network has none."""
    check_graph(network)
    names = [layer.name for layer in network.layers]
    if CODE not in names:
        hint = 'Name the layer that gives the code: keras.layers.Dense(32, name="code").'
        checks.refuse(f"an autoencoder must have a layer {CODE!r}", names[:12], hint)
    return network.get_layer(CODE).output


def check_autoencoder(network: keras.Model) -> None:
    """Refuses a network that does not give one output of the shape of its first input; raises `ArgumentError`."""
    check_graph(network)
    shapes = [tuple(each.shape[1:]) for each in (*network.inputs[:1], *network.outputs)]
    if len(shapes) != 2 or shapes[0] != shapes[1] or None in shapes[0]:
        hint = "Take a network such as kerasdl.build('conv_autoencoder')."
        checks.refuse("an autoencoder must give one output of the shape of its input", shapes, hint)


def _inputs_behind(network: keras.Model, code: keras.KerasTensor, output: keras.KerasTensor) -> list[keras.KerasTensor]:
    """Returns the inputs of the network that an output takes beside the code."""
    found, seen, pending, reached = set(), {id(code)}, [output], False
    while pending:
        tensor = pending.pop()
        reached = reached or tensor is code
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        operation, node, _ = tensor._keras_history  # no public name in Keras
        arguments = operation._inbound_nodes[node].input_tensors
        if not arguments:
            found.add(id(tensor))
        pending += arguments
    if not reached:
        checks.refuse(f"the output of an autoencoder must be made from its layer {CODE!r}", network.name)
    return [tensor for tensor in network.inputs if id(tensor) in found]
