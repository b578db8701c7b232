"""Layers of StyleGAN2: modulated convolution, noise, filtered resampling, deviation of a batch.

The paper is https://arxiv.org/abs/1912.04958, appendix B; resampling follows https://github.com/NVlabs/stylegan2-ada-pytorch.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from kerasdl.core import checks

FILTER = (1.0, 3.0, 3.0, 1.0)
EPSILON = 1e-8


@keras.saving.register_keras_serializable("kerasdl")
class ModulatedConv2D(keras.layers.Layer):
    """Modulated convolution: a style scales each input channel, and each output channel is scaled back to deviation 1.

    One kernel serves all examples: inputs are scaled by the style, convolved, and outputs divided by the norm that the
    scaled kernel would have. This equals a kernel for each example, and leaves a plain convolution.

    Source: https://arxiv.org/abs/1912.04958, equations 1 and 3, appendix B.

    Args:
        filters: output channels.
        kernel_size: places on each side, 1 or 3.
        upsample: True for a transposed convolution, from sides S to 2 S + 1.
        demodulate: True to divide the outputs.
        use_bias: True for a bias of each output channel.
        **kwargs: arguments of every layer.

    Input:
        [(B, H, W, C) floats, (B, C) styles].

    Returns:
        (B, H, W, filters) of the same dtype, or (B, 2 H + 1, 2 W + 1, filters).

    Raises:
        ArgumentError: an argument breaks its range, or the style has not one number a channel.

    Example:
        >>> ModulatedConv2D(8)([np.ones((2, 4, 4, 3), "float32"), np.ones((2, 3), "float32")]).shape
        TensorShape([2, 4, 4, 8])
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        *,
        upsample: bool = False,
        demodulate: bool = True,
        use_bias: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters = checks.at_least("filters", filters, 1)
        self.kernel_size = checks.one_of("kernel_size", kernel_size, (1, 3))
        if upsample and kernel_size != 3:
            checks.refuse("upsample needs kernel_size 3", kernel_size)
        self.upsample, self.demodulate, self.use_bias = bool(upsample), bool(demodulate), bool(use_bias)

    def build(self, shapes):
        channels, styles = shapes[0][-1], shapes[1][-1]
        if channels != styles:
            checks.refuse("a style must have one number for each channel", (channels, styles))
        ends = (self.filters, channels) if self.upsample else (channels, self.filters)
        start = keras.initializers.RandomNormal(stddev=1.0)
        self.kernel = self.add_weight((self.kernel_size, self.kernel_size, *ends), start, name="kernel")
        self.bias = self.add_weight((self.filters,), "zeros", name="bias") if self.use_bias else None
        self.built = True

    def call(self, inputs):
        x, style = inputs
        x = x * style[:, None, None, :]
        if self.upsample:
            x = ops.conv_transpose(x, self.kernel, strides=2, padding="valid")
        else:
            x = ops.conv(x, self.kernel, padding="same")
        if self.demodulate:
            squares = ops.sum(ops.square(self.kernel), axis=(0, 1))  # (C, filters), or the other way round
            squares = ops.transpose(squares) if self.upsample else squares
            norms = ops.matmul(ops.square(ops.cast(style, "float32")), ops.cast(squares, "float32"))
            x = x * ops.cast(ops.rsqrt(norms + EPSILON), x.dtype)[:, None, None, :]
        return x if self.bias is None else x + self.bias

    def compute_output_shape(self, shapes):
        batch, height, width, _ = shapes[0]
        if self.upsample:
            height, width = (None if side is None else 2 * side + 1 for side in (height, width))
        return (batch, height, width, self.filters)

    def get_config(self):
        own = ("filters", "kernel_size", "upsample", "demodulate", "use_bias")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


@keras.saving.register_keras_serializable("kerasdl")
class NoisyBias(keras.layers.Layer):
    """Bias of each channel, and noise of each place times one learnt number, the same for all channels.

    In training noise is drawn anew; otherwise it is one fixed map, so that a style has one image.

    Source: https://arxiv.org/abs/1912.04958, section 2; noise https://arxiv.org/abs/1812.04948, section 2.

    Args:
        seed: seed of the fixed map and of the draws.
        **kwargs: arguments of every layer.

    Input:
        (B, H, W, C) floats of known sides.

    Returns:
        The same shape and dtype.

    Raises:
        ArgumentError: the sides are free.

    Example:
        >>> float(NoisyBias()(np.ones((1, 4, 4, 2), "float32")).numpy().max())
        1.0
    """

    def __init__(self, seed: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = checks.at_least("seed", seed, 0)
        self.generator = keras.random.SeedGenerator(self.seed)

    def build(self, shape):
        if None in shape[1:3]:
            checks.refuse("noise needs known sides", tuple(shape))
        self.strength = self.add_weight((), "zeros", name="strength")
        self.bias = self.add_weight((shape[-1],), "zeros", name="bias")
        self.fixed = np.random.default_rng(self.seed).normal(size=(1, *shape[1:3], 1))
        self.built = True

    def call(self, inputs, training=None):
        if training:
            shape = (ops.shape(inputs)[0], *inputs.shape[1:3], 1)
            noise = keras.random.normal(shape, dtype=self.compute_dtype, seed=self.generator)
        else:
            noise = ops.cast(self.fixed, self.compute_dtype)
        return inputs + self.strength * noise + self.bias

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable("kerasdl")
class FilteredResampling2D(keras.layers.Layer):
    """Filter of [1, 3, 3, 1] along both axes, with zeros put between pixels before, or pixels left out behind it.

    The brightness stays: what zeros take away is multiplied back.

    Source: https://arxiv.org/abs/1912.04958, appendix B, after https://arxiv.org/abs/1904.11486.

    Args:
        up: 2 to double the sides, or 1.
        down: 2 to halve the sides, or 1.
        padding: zeros before and behind each axis, after the sides were doubled.
        gain: factor of the result.
        **kwargs: arguments of every layer.

    Input:
        (B, H, W, C) floats.

    Returns:
        (B, H', W', C) of the same dtype, H' = (H up + padding - 4) // down + 1.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> float(FilteredResampling2D(up=2, padding=(2, 1))(np.ones((1, 4, 4, 1), "float32"))[0, 3, 3, 0])
        1.0
    """

    def __init__(
        self, *, up: int = 1, down: int = 1, padding: tuple[int, int] = (0, 0), gain: float = 1.0, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.up, self.down = checks.one_of("up", up, (1, 2)), checks.one_of("down", down, (1, 2))
        self.padding = tuple(checks.at_least("padding", each, 0) for each in padding)
        self.gain = checks.within("gain", gain, 1e-6, 1e6)

    def build(self, shape):
        one = np.asarray(FILTER) / sum(FILTER) * self.up
        kernel = np.outer(one, one)[:, :, None, None] * self.gain
        self.kernel = np.repeat(kernel, shape[-1], axis=2)  # (4, 4, C, 1)
        self.built = True

    def call(self, inputs):
        x = inputs
        if self.up == 2:
            batch, (height, width, channels) = ops.shape(x)[0], x.shape[1:]
            x = ops.reshape(ops.concatenate([x, ops.zeros_like(x)], axis=-1), (batch, height, 2 * width * channels))
            x = ops.concatenate([x, ops.zeros_like(x)], axis=-1)
            x = ops.reshape(x, (batch, 2 * height, 2 * width, channels))
        if any(self.padding):
            x = ops.pad(x, ((0, 0), self.padding, self.padding, (0, 0)))
        return ops.depthwise_conv(x, ops.cast(self.kernel, x.dtype), strides=self.down, padding="valid")

    def compute_output_shape(self, shape):
        batch, *sides, channels = shape
        added = sum(self.padding) - len(FILTER)
        return (batch, *((side * self.up + added) // self.down + 1 for side in sides), channels)

    def get_config(self):
        own = {"up": self.up, "down": self.down, "padding": self.padding, "gain": self.gain}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("kerasdl")
class BatchDeviation(keras.layers.Layer):
    """Deviation within a batch as a channel more, by which a discriminator sees that samples are all alike.

    The channel holds the standard deviation over the batch, averaged over places and channels. In training it is that
    of the batch; otherwise its moving average, so that an answer does not depend on the other examples.

    Source: https://arxiv.org/abs/1710.10196, section 3.

    Args:
        momentum: of the moving average, from 0 to 1.
        **kwargs: arguments of every layer.

    Input:
        (B, H, W, C) floats.

    Returns:
        (B, H, W, C + 1) of the same dtype.

    Raises:
        ArgumentError: the momentum breaks its range.

    Example:
        >>> x = np.stack([np.zeros((1, 1, 2)), np.full((1, 1, 2), 4.0)]).astype("float32")
        >>> round(float(BatchDeviation()(x, training=True)[0, 0, 0, 2]), 3)
        2.0
    """

    def __init__(self, momentum: float = 0.9, **kwargs: Any):
        super().__init__(**kwargs)
        self.momentum = checks.within("momentum", momentum, 0.0, 1.0)

    def build(self, shape):
        self.moving_deviation = self.add_weight((), "ones", trainable=False, name="moving_deviation")
        self.built = True

    def call(self, inputs, training=None):
        if training:
            x = ops.cast(inputs, "float32")  # EPSILON is 0 in float16, and the root has no slope there
            deviation = ops.mean(ops.sqrt(ops.var(x, axis=0) + EPSILON))
            moved = self.momentum * ops.cast(self.moving_deviation, "float32") + (1.0 - self.momentum) * deviation
            self.moving_deviation.assign(moved)
        else:
            deviation = self.moving_deviation
        channel = ops.zeros_like(inputs[..., :1]) + ops.cast(deviation, inputs.dtype)
        return ops.concatenate([inputs, channel], axis=-1)

    def compute_output_shape(self, shape):
        return (*shape[:-1], shape[-1] + 1)

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum}
