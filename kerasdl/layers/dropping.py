"""Layers that leave parts of a net out while it trains."""

import keras
from keras import ops

from kerasdl.core import checks


@keras.saving.register_keras_serializable("kerasdl")
class DropPath(keras.layers.Layer):
    """Sets whole examples to zero by chance while training, and scales up the others; at inference it passes all on.

    Put on the branch of a residual block, it makes the block's depth random for each example.

    Source: stochastic depth, https://arxiv.org/abs/1603.09382, section 3, per example as in DeiT.

    Args:
        rate: the chance of an example to be dropped, from 0 to below 1.
        seed: of the random numbers.

    Input:
        (B, ...) floats.

    Returns:
        The same shape and dtype; the expectation is the input.

    Raises:
        ArgumentError: the rate breaks its range.

    Example:
        >>> DropPath(0.2)(keras.Input((8, 8, 16))).shape
        (None, 8, 8, 16)
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.rate = checks.within("rate", rate, 0.0, 0.999)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def call(self, inputs, training=False):
        if not training or not self.rate:
            return inputs
        noise_shape = (ops.shape(inputs)[0], *[1] * (len(inputs.shape) - 1))
        return keras.random.dropout(inputs, self.rate, noise_shape=noise_shape, seed=self.seed_generator)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
