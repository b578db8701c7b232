"""Token layers of transformers over feature maps: sine positions of an image, learned queries."""

import math

import keras
import numpy as np
from keras import ops

from kerasdl.core import checks


@keras.saving.register_keras_serializable("kerasdl")
class SinePositions2D(keras.layers.Layer):
    """Sine positions of a feature map: fixed numbers for each place, half of them of its row, half of its column.

    Source: DETR, https://arxiv.org/abs/2005.12872, appendix A.4; rows and columns are scaled to 2 pi.

    Args:
        width: D, numbers of a place, a multiple of 4.
        temperature: longest wavelength over the shortest.

    Input:
        (B, H, W, C), of which only the sides are used.

    Returns:
        (B, H * W, D) of the layer's compute dtype, row by row.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> SinePositions2D(64)(keras.Input((8, 12, 256))).shape
        (None, 96, 64)
    """

    def __init__(self, width: int, temperature: float = 10_000.0, *, name=None, dtype=None, trainable=False):
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        if checks.at_least("width", width, 4) % 4:
            checks.refuse("width must be a multiple of 4", width)
        self.width, self.temperature = width, checks.within("temperature", temperature, 1.0, 1e9)

    def call(self, inputs):
        batch, height, width, _ = ops.shape(inputs)
        exponents = 2 * np.arange(self.width // 4) / (self.width // 2)
        waves = (self.temperature**-exponents).astype("float32")

        def of_axis(side):
            steps = (ops.arange(side, dtype="float32") + 1) / (ops.cast(side, "float32") + 1e-6) * (2 * math.pi)
            angles = steps[:, None] * waves  # (side, D / 4)
            return ops.reshape(ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1), (side, self.width // 2))

        rows = ops.broadcast_to(of_axis(height)[:, None], (height, width, self.width // 2))
        columns = ops.broadcast_to(of_axis(width)[None], (height, width, self.width // 2))
        positions = ops.reshape(ops.concatenate([rows, columns], axis=-1), (1, height * width, self.width))
        return ops.cast(ops.broadcast_to(positions, (batch, height * width, self.width)), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return (batch, None if None in (height, width) else height * width, self.width)

    def get_config(self):
        return {**super().get_config(), "width": self.width, "temperature": self.temperature}


@keras.saving.register_keras_serializable("kerasdl")
class LearnedQueries(keras.layers.Layer):
    """Learned queries: the same vectors for every image, such as the object queries of DETR.

    Source: https://arxiv.org/abs/2005.12872, section 3.2.

    Args:
        count: Q, number of queries.
        width: D, numbers of each.

    Input:
        (B, ...), of which only the batch size is used.

    Returns:
        (B, Q, D) of the layer's compute dtype.

    Raises:
        ArgumentError: an argument is not a positive integer.

    Example:
        >>> LearnedQueries(100, 256)(keras.Input((49, 256))).shape
        (None, 100, 256)
    """

    def __init__(self, count: int, width: int, *, name=None, dtype=None, trainable=True):
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.count, self.width = checks.at_least("count", count, 1), checks.at_least("width", width, 1)

    def build(self, input_shape):
        start = keras.initializers.RandomNormal(stddev=1.0)
        self.queries = self.add_weight(shape=(1, self.count, self.width), initializer=start, name="queries")
        self.built = True

    def call(self, inputs):
        queries = ops.broadcast_to(self.queries, (ops.shape(inputs)[0], self.count, self.width))
        return ops.cast(queries, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.count, self.width)

    def get_config(self):
        return {**super().get_config(), "count": self.count, "width": self.width}
