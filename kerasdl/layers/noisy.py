"""Noisy dense layer: weights with learnt factorised noise, for exploration (https://arxiv.org/abs/1706.10295).

Deviations: noise is drawn with `training=True` alone, once a call for all examples; otherwise the means act.
"""

import math
from typing import Any

import keras
from keras import ops

from kerasdl.core import checks


@keras.saving.register_keras_serializable("kerasdl")
class NoisyDense(keras.layers.Layer):
    """Dense layer with the kernel mean + deviation * f(row noise) * f(column noise), f(x) = sign(x) sqrt(|x|).

    Source: https://arxiv.org/abs/1706.10295, section 3, equations 9 to 11.

    Args:
        units: D, width of the output.
        deviation: deviations at the start, times the root of the inputs.
        seed: seed of the noise; None draws one.
        **kwargs: arguments of every layer.

    Raises:
        ArgumentError: units or deviation is out of range.

    Example:
        >>> layer = NoisyDense(3, seed=0)
        >>> x = np.ones((2, 4), "float32")
        >>> bool(np.allclose(layer(x), layer(x))), bool(np.allclose(layer(x, training=True), layer(x)))
        (True, False)
    """

    def __init__(self, units: int, deviation: float = 0.5, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = checks.at_least("units", units, 1)
        self.deviation = checks.within("deviation", deviation, 0.0, 1e3)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def build(self, shape):
        inputs = shape[-1]
        bound, spread = 1.0 / math.sqrt(inputs), self.deviation / math.sqrt(inputs)
        mean, wide = keras.initializers.RandomUniform(-bound, bound, self.seed), keras.initializers.Constant(spread)
        self.kernel = self.add_weight((inputs, self.units), mean, name="kernel")
        self.bias = self.add_weight((self.units,), mean, name="bias")
        self.kernel_deviation = self.add_weight((inputs, self.units), wide, name="kernel_deviation")
        self.bias_deviation = self.add_weight((self.units,), wide, name="bias_deviation")

    def call(self, inputs, training=None):
        if not training:
            return ops.matmul(inputs, self.kernel) + self.bias
        rows, columns = (self._noise(size) for size in self.kernel.shape)
        kernel = self.kernel + self.kernel_deviation * rows[:, None] * columns[None]
        return ops.matmul(inputs, kernel) + self.bias + self.bias_deviation * columns

    def _noise(self, size: int) -> Any:
        draw = keras.random.normal((size,), dtype=self.compute_dtype, seed=self.generator)
        return ops.sign(draw) * ops.sqrt(ops.abs(draw))

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "deviation": self.deviation, "seed": self.seed}
