"""Layers and functions for models migrated from Keras 2 by `from_tf_keras`."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kerasdl")
class BearsMask(keras.layers.Layer):
    """Attaches a mask to a tensor, for a layer that reads masks from tensors only.

    Input:
        A list of a tensor (B, T, ...) and a boolean mask (B, T).

    Returns:
        The tensor.

    Example:
        >>> BearsMask()([np.ones((1, 2, 3)), np.array([[True, False]])])._keras_mask.shape
        TensorShape([1, 2])
    """

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.supports_masking = True

    def call(self, inputs):
        """Returns the tensor."""
        return ops.copy(inputs[0])

    def compute_mask(self, inputs, previous_mask):
        """Returns the mask."""
        return inputs[1]

    def compute_output_spec(self, inputs):
        """Returns the tensor's shape and dtype."""
        return keras.KerasTensor(inputs[0].shape, inputs[0].dtype)


@keras.saving.register_keras_serializable("kerasdl")
def legacy_hard_sigmoid(x: Any) -> Any:
    """Returns the hard sigmoid of Keras 2, 0.2 x + 0.5 clipped to 0 and 1, which is steeper than that of Keras 3.

    Args:
        x: a tensor of any shape.

    Returns:
        A tensor of that shape.

    Example:
        >>> round(float(legacy_hard_sigmoid(tf.constant(1.0))), 3)
        0.7
    """
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)
