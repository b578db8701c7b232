"""Numerical equivalence of two nets with the same weights, since equal structure alone does not prove it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from kerasdl.core.errors import ArgumentError

from .pairing import FRONT

FREE_SIDE, IMAGES = 64, 2
BOUND = 1e-3  # of the largest output; different rounding stays well below


def difference(
    model: keras.Model, peer: keras.Model, *, head: str | None, ends: tuple[str | None, str | None], blue_first: bool
) -> float | None:
    """Returns the largest difference between the outputs of two nets for random inputs, relative to the largest output.

    Args:
        model: a functional model.
        peer: the net that its weights came from.
        head: name of the model's last layer, if its weights were not imported; then its inputs are compared.
        ends: names of the last layers of both; the second one, if any, is left out of the comparison with such a head.
        blue_first: whether the peer reads blue first.

    Returns:
        A relative difference; None if the two cannot be compared: inputs of other shapes, or a nested last layer.
    """
    shapes = [each.input_shape[1:] if len(each.inputs) == 1 else None for each in (model, peer)]
    if None in shapes or not _alike(*shapes):
        return None
    sides = [FREE_SIDE if None in pair else pair[0] for pair in zip(*shapes, strict=True)]
    rng = np.random.default_rng(0)
    front = _front(peer)
    raw = rng.uniform(0.0, 255.0, (IMAGES, *sides)) if front else rng.normal(size=(IMAGES, *sides))
    peer_inputs = raw.astype("float32")
    inputs = peer_inputs
    for layer in front:
        inputs = layer(inputs)
    inputs = keras.ops.convert_to_numpy(inputs)
    if blue_first:
        inputs = inputs[..., ::-1]
    if head is not None:
        model, peer = _until(model, head), _until(peer, ends[1]) if ends[1] else peer
        if model is None or peer is None:
            return None
    with _answering_logits(peer):
        expected = keras.ops.convert_to_numpy(peer(peer_inputs, training=False)).reshape(IMAGES, -1)
    outputs = keras.ops.convert_to_numpy(model(inputs, training=False)).reshape(IMAGES, -1)
    if outputs.shape != expected.shape:
        return None
    return float(np.abs(outputs - expected).max() / max(1.0, np.abs(expected).max()))


def _alike(one: tuple, other: tuple) -> bool:
    return len(one) == len(other) and all(None in pair or pair[0] == pair[1] for pair in zip(one, other, strict=True))


def _front(peer: keras.Model) -> list[keras.layers.Layer]:
    layers = [layer for layer in peer.layers if not isinstance(layer, keras.layers.InputLayer)]
    count = next((number for number, layer in enumerate(layers) if not isinstance(layer, FRONT)), 0)
    return layers[:count]


def _until(model: keras.Model, layer: str) -> keras.Model | None:
    try:
        return keras.Model(model.inputs, model.get_layer(layer).input)
    except (ValueError, AttributeError, ArgumentError):  # the layer is in a nested model
        return None


@contextmanager
def _answering_logits(peer: keras.Model) -> Iterator[None]:
    """Removes the final softmax of a net inside the block: probabilities of random inputs are too similar."""
    last: Any = peer.layers[-1]
    activation = getattr(last, "activation", None)
    try:
        if activation is keras.activations.softmax:
            last.activation = keras.activations.linear
        yield
    finally:
        if activation is not None:
            last.activation = activation
