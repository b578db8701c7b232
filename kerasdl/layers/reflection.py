"""Reflection padding, which Keras has as an operation and not as a layer."""

import keras
from keras import ops

from kerasdl.core import checks


@keras.saving.register_keras_serializable("kerasdl")
class ReflectionPadding2D(keras.layers.Layer):
    """Reflection padding of images: what is near the border is mirrored beyond it, without a seam of zeros.

    Source: https://arxiv.org/abs/1603.08155, supplementary material (style transfer).

    Args:
        padding: pixels on each side, below the sides of the image.
        **kwargs: arguments of every layer.

    Input:
        (B, H, W, C) floats.

    Returns:
        (B, H + 2 padding, W + 2 padding, C) of the same dtype.

    Raises:
        ArgumentError: the padding is below 1, or a side is not above it.

    Example:
        >>> ReflectionPadding2D(1)(np.arange(3.0).reshape(1, 1, 3, 1).repeat(2, 1)).numpy()[0, 0, :, 0]
        array([1., 0., 1., 2., 1.], dtype=float32)
    """

    def __init__(self, padding: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.padding = checks.at_least("padding", padding, 1)

    def build(self, input_shape):
        if any(side is not None and side <= self.padding for side in input_shape[1:3]):
            checks.refuse(f"sides must be above the padding {self.padding}", tuple(input_shape))
        self.built = True

    def call(self, inputs):
        both = (self.padding, self.padding)
        return ops.pad(inputs, ((0, 0), both, both, (0, 0)), mode="reflect")

    def compute_output_shape(self, input_shape):
        batch, *sides, channels = input_shape
        return (batch, *(None if side is None else side + 2 * self.padding for side in sides), channels)

    def get_config(self):
        return {**super().get_config(), "padding": self.padding}
