"""Maps inside a model that rounds as its int8 file does: gradients go through them, which a file does not have."""

from typing import Any

import tensorflow as tf
import tf_keras

from kerasdl.core import checks

from .graph_rewriting import nodes_of
from .quantized_model import QuantizedModel


def maps_and_outputs(quantized: QuantizedModel, images: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Returns the last maps with places of a rounding model of one input and one output, and its output.

    Args:
        quantized: a calibrated model.
        images: (B, H, W, C), prepared as the model takes them.

    Returns:
        Maps (B, h, w, channels), rounded, and the output; a gradient passes through the rounding as if it were none.

    Raises:
        ArgumentError: no layer has places.

    Example:
        >>> quantized = quantize_aware(model, (x, y), epochs=0)
        >>> maps_and_outputs(quantized, x[:2])[1].shape
        TensorShape([2, 3])
    """
    network = quantized.model.tf_keras_model
    tensors = [tensor for node in reversed(nodes_of(network)) for tensor in tf.nest.flatten(node.outputs)]
    places = [each for each in tensors if len(each.shape) == 4 and each.shape[1] * each.shape[2] > 1]
    if not places:
        checks.refuse("a class activation map needs a layer with maps (B, H, W, C)", quantized.source.name)
    return tuple(tf_keras.Model(network.inputs, [places[0], network.outputs[0]])(images, training=False))
