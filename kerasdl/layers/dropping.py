"""Dropout layers: DropPath (stochastic depth), DropBlock, DropConnect."""

import keras
from keras import ops

from kerasdl.core import checks


@keras.saving.register_keras_serializable("kerasdl")
class DropPath(keras.layers.Layer):
    """Stochastic depth: in training sets random whole examples to zero and scales up the others.

    On the branch of a residual block it makes the depth of the net random for each example.

    Source: stochastic depth, https://arxiv.org/abs/1603.09382, section 3, per example as in DeiT.

    Args:
        rate: probability to drop an example, from 0 to below 1.
        seed: seed of the random numbers.

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


@keras.saving.register_keras_serializable("kerasdl")
class DropBlock(keras.layers.Layer):
    """DropBlock: in training sets random square parts of each feature map to zero and scales up the rest.

    The parts differ between channels. The scale follows from the remaining share over the whole batch.

    Source: https://arxiv.org/abs/1810.12890, algorithm 1 and equation 1.

    Args:
        rate: approximate share of dropped places, from 0 to below 1.
        size: side of a part in pixels; in smaller maps the parts have the size of the map.
        seed: seed of the random numbers.

    Input:
        (B, H, W, C) floats.

    Returns:
        The same shape and dtype.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> DropBlock(0.1, 7)(keras.Input((28, 28, 64))).shape
        (None, 28, 28, 64)
    """

    def __init__(self, rate: float, size: int = 7, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.rate = checks.within("rate", rate, 0.0, 0.999)
        self.size = checks.at_least("size", size, 1)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        if not training or not self.rate:
            return inputs
        height, width = (ops.cast(side, "float32") for side in ops.shape(inputs)[1:3])
        rows, columns = ops.minimum(height, float(self.size)), ops.minimum(width, float(self.size))
        # A part starts only where it lies inside the map, with a probability such that `rate` of all places is covered.
        room = (height - rows + 1) * (width - columns + 1)
        chance = self.rate * height * width / (rows * columns * room)
        drawn = keras.random.uniform(ops.shape(inputs), seed=self.seed_generator)
        down = ops.reshape(ops.arange(ops.shape(inputs)[1]), (1, -1, 1, 1))
        across = ops.reshape(ops.arange(ops.shape(inputs)[2]), (1, 1, -1, 1))
        fits = ops.logical_and(
            ops.cast(down, "float32") <= height - rows, ops.cast(across, "float32") <= width - columns
        )
        starts = ops.cast(ops.logical_and(drawn < chance, fits), "float32")
        reach = self.size - 1
        padded = ops.pad(starts, ((0, 0), (reach, 0), (reach, 0), (0, 0)))
        covered = ops.max_pool(padded, self.size, strides=1, padding="valid")
        mask = 1.0 - covered
        scale = ops.cast(ops.size(mask), "float32") / ops.maximum(ops.sum(mask), 1.0)
        return inputs * ops.cast(mask * scale, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "size": self.size, "seed": self.seed}


@keras.saving.register_keras_serializable("kerasdl")
class DropConnect(keras.layers.Dense):
    """DropConnect: a dense layer that in training sets random weights to zero and scales up the others.

    One draw holds for the whole batch; the paper draws for each example. At inference all weights are used; the paper
    samples a Gaussian.

    Source: Wan et al. 2013, Regularization of Neural Networks using DropConnect, section 3.

    Args:
        units: outputs.
        rate: probability to drop a weight, from 0 to below 1.
        seed: seed of the random numbers.
        **kwargs: as in `keras.layers.Dense`.

    Input:
        (B, ..., D) floats.

    Returns:
        (B, ..., units).

    Raises:
        ArgumentError: the rate breaks its range.

    Example:
        >>> DropConnect(10, 0.5)(keras.Input((84,))).shape
        (None, 10)
    """

    def __init__(self, units: int, rate: float = 0.5, seed: int | None = None, **kwargs):
        super().__init__(units, **kwargs)
        self.rate = checks.within("rate", rate, 0.0, 0.999)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        kernel = self.kernel
        if training and self.rate:
            kernel = keras.random.dropout(kernel, self.rate, seed=self.seed_generator)
        outputs = ops.matmul(inputs, kernel)
        outputs = outputs + self.bias if self.use_bias else outputs
        return outputs if self.activation is None else self.activation(outputs)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
