"""Time layers of diffusion networks: sinusoidal embedding of a time, constant time of an unrolled sampler."""

import math

import keras
import numpy as np
from keras import ops

from kerasdl.core import checks


@keras.saving.register_keras_serializable("kerasdl")
class SinusoidalTimes(keras.layers.Layer):
    """Sinusoidal embedding of a time: sines and cosines of falling frequencies, computed in float32.

    Source: https://arxiv.org/abs/2006.11239, appendix B, after https://arxiv.org/abs/1706.03762, section 3.5.

    Args:
        width: D, numbers of an embedding, even and 4 or more.
        period: the longest wavelength divided by 2 pi.
        cosines_first: whether cosines stand before sines, as in DiT.
        reaches_end: whether the last frequency is exactly 1 / period, as in DDPM.

    Input:
        (B,) numbers, such as steps from 0 to 999.

    Returns:
        (B, D) of the layer's compute dtype.

    Raises:
        ArgumentError: an argument breaks its rule, or the input is no row of numbers.

    Example:
        >>> SinusoidalTimes(4)(np.zeros(1)).numpy()
        array([[0., 0., 1., 1.]], dtype=float32)
    """

    def __init__(
        self, width: int, *, period: float = 10_000.0, cosines_first: bool = False, reaches_end: bool = False, **kwargs
    ):
        super().__init__(autocast=False, **kwargs)  # bfloat16 would round steps from 257 on
        if checks.at_least("width", width, 4) % 2:
            checks.refuse("width must be even", width)
        self.width, self.period = width, checks.within("period", period, 1.0, 1e9)
        self.cosines_first = checks.one_of("cosines_first", cosines_first, (True, False))
        self.reaches_end = checks.one_of("reaches_end", reaches_end, (True, False))

    def build(self, input_shape):
        if len(input_shape) != 1:
            checks.refuse("times must be one number of each example, (B,)", tuple(input_shape))
        self.built = True

    def call(self, inputs):
        half = self.width // 2
        exponents = np.arange(half) / (half - self.reaches_end)
        frequencies = np.exp(-math.log(self.period) * exponents).astype("float32")
        angles = ops.expand_dims(ops.cast(inputs, "float32"), 1) * frequencies  # (B, D / 2)
        waves = [ops.sin(angles), ops.cos(angles)]
        return ops.cast(ops.concatenate(waves[::-1] if self.cosines_first else waves, axis=-1), self.compute_dtype)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((inputs.shape[0], self.width), dtype=self.compute_dtype)

    def get_config(self):
        own = {"width": self.width, "period": self.period}
        return {**super().get_config(), **own, "cosines_first": self.cosines_first, "reaches_end": self.reaches_end}


@keras.saving.register_keras_serializable("kerasdl")
class ConstantTime(keras.layers.Layer):
    """Constant time: the same number for each example, as a step of an unrolled sampler gives its network.

    Args:
        value: the number.

    Input:
        (B, ...), of which only the batch size is used.

    Returns:
        (B,) float32.

    Raises:
        ArgumentError: the value is not a number.

    Example:
        >>> ConstantTime(999.0)(np.zeros((2, 8))).numpy()
        array([999., 999.], dtype=float32)
    """

    def __init__(self, value: float, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.value = checks.within("value", value, -1e12, 1e12)

    def call(self, inputs):
        return ops.full((ops.shape(inputs)[0],), self.value, dtype="float32")

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((inputs.shape[0],), dtype="float32")

    def get_config(self):
        return {**super().get_config(), "value": self.value}


@keras.saving.register_keras_serializable("kerasdl")
class FixedPositions2D(keras.layers.Layer):
    """Fixed positions of image patches: adds sines and cosines of column and row, a weight that is not trained.

    Source: DiT, https://arxiv.org/abs/2212.09748, section 3.2; the order of the numbers as in its code, after MAE.

    Input:
        (B, T, D) floats, T the square of a whole number, row by row, D a multiple of 4.

    Returns:
        (B, T, D) of the same dtype.

    Raises:
        ArgumentError: T is not a square, or D no multiple of 4.

    Example:
        >>> FixedPositions2D()(keras.Input((256, 384))).shape
        (None, 256, 384)
    """

    def build(self, input_shape):
        _, count, width = input_shape
        side = 0 if count is None else math.isqrt(count)
        if not side or side**2 != count or width % 4:
            checks.refuse("tokens must be a square of patches with a multiple of 4 numbers each", tuple(input_shape))
        table = keras.initializers.Constant(sine_table(side, width))
        self.table = self.add_weight(shape=(1, count, width), initializer=table, trainable=False, name="table")
        self.built = True

    def call(self, inputs):
        return inputs + ops.cast(self.table, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape


def sine_table(side: int, width: int) -> np.ndarray:
    """Returns the fixed positions (1, side^2, width) of `FixedPositions2D`: half of the column, half of the row."""
    frequencies = 10_000.0 ** -(np.arange(width // 4) / (width // 4))
    angles = np.arange(side)[:, None] * frequencies  # (side, D / 4)
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
    columns, rows = np.tile(waves[None], (side, 1, 1)), np.tile(waves[:, None], (1, side, 1))
    return np.concatenate([columns, rows], axis=-1).reshape(1, side**2, width).astype("float32")
