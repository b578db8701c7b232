"""Kernels of transposed convolutions that interpolate bilinearly, as they start in FCN."""

import keras
import numpy as np

from kerasdl.core import checks


@keras.saving.register_keras_serializable("kerasdl")
class BilinearKernel(keras.initializers.Initializer):
    """Initializer of a transposed convolution that enlarges each channel by bilinear interpolation.

    Source: FCN, https://arxiv.org/abs/1411.4038, section 3.3. With a kernel of twice the stride and `same` padding the
    result is that of bilinear resizing but near the border of the image, where nothing stands beyond it.

    Returns:
        For the shape (side, side, channels, channels) of a kernel, weights of that shape.

    Raises:
        ArgumentError: the kernel is not square, or its two numbers of channels differ.

    Example:
        >>> BilinearKernel()((4, 4, 1, 1)).numpy()[:, 1, 0, 0]
        array([0.1875, 0.5625, 0.5625, 0.1875], dtype=float32)
    """

    def __call__(self, shape, dtype=None):
        if len(shape) != 4 or shape[0] != shape[1] or shape[2] != shape[3]:
            checks.refuse("a bilinear kernel must have the shape (side, side, channels, channels)", tuple(shape))
        side, channels = shape[1:3]
        reach = (side + 1) // 2
        centre = reach - 1 if side % 2 else reach - 0.5
        tent = 1 - np.abs(np.arange(side) - centre) / reach
        kernel = np.outer(tent, tent)[:, :, None, None] * np.eye(channels)
        return keras.ops.convert_to_tensor(kernel, dtype=dtype or keras.config.floatx())
