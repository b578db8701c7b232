"""Layers that reshape or resize a tensor to the size of another, for images with free sides."""

import keras
from keras import ops

from kerasdl.core import checks


@keras.saving.register_keras_serializable("kerasdl")
class ReshapeLike(keras.layers.Layer):
    """Reshapes tokens to the image that they came from.

    Input:
        Two tensors: tokens (B, H * W, D), row by row, and an image (B, H, W, C), of which only the sides are used.

    Returns:
        (B, H, W, D) of the tokens' dtype.

    Example:
        >>> ReshapeLike()([keras.Input((64, 16)), keras.Input((8, 8, 3))]).shape
        (None, 8, 8, 16)
    """

    def call(self, inputs):
        tokens, image = inputs
        _, height, width, _ = ops.shape(image)
        return ops.reshape(tokens, (-1, height, width, tokens.shape[-1]))

    def compute_output_shape(self, input_shape):
        tokens, image = input_shape
        return (*image[:3], tokens[-1])


@keras.saving.register_keras_serializable("kerasdl")
class ResizeLike(keras.layers.Layer):
    """Resizes an image to the sides of another, bilinearly or by nearest neighbours.

    Args:
        interpolation: `bilinear`, with pixels at half-pixel centres, or `nearest`: pixel i of n comes from pixel
            floor(i * m / n) of m, as in PyTorch's upsampling, for sides that are no multiples too.

    Input:
        Two images (B, h, w, D) and (B, H, W, C); of the second only the sides are used.

    Returns:
        (B, H, W, D) of the first one's dtype.

    Raises:
        ArgumentError: an unknown interpolation.

    Example:
        >>> ResizeLike()([keras.Input((1, 1, 256)), keras.Input((32, 32, 3))]).shape
        (None, 32, 32, 256)
    """

    def __init__(self, interpolation: str = "bilinear", **kwargs):
        super().__init__(**kwargs)
        self.interpolation = checks.one_of("interpolation", interpolation, ("bilinear", "nearest"))

    def call(self, inputs):
        image, like = inputs
        sides = ops.shape(like)[1:3]
        if self.interpolation == "bilinear":
            return ops.cast(ops.image.resize(image, sides, interpolation="bilinear"), image.dtype)
        for axis, side in enumerate(sides, start=1):
            places = ops.arange(side, dtype="int32") * ops.shape(image)[axis] // side
            image = ops.take(image, places, axis=axis)
        return image

    def compute_output_shape(self, input_shape):
        image, like = input_shape
        return (*like[:3], image[-1])

    def get_config(self):
        return {**super().get_config(), "interpolation": self.interpolation}
