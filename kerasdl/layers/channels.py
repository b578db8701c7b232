"""Channel layers for images of any size: shuffle, slice, statistics, scale."""

import keras
from keras import ops

from kerasdl.core import checks


@keras.saving.register_keras_serializable("kerasdl")
class ChannelShuffle(keras.layers.Layer):
    """Channel shuffle: interleaves the channels of several groups for the next grouped convolution.

    Source: ShuffleNet, https://arxiv.org/abs/1707.01083, section 3.1.

    Args:
        groups: number of groups; the channels are a multiple of it.

    Input:
        (B, H, W, C) floats.

    Returns:
        The same shape and dtype.

    Raises:
        ArgumentError: the channels are not a multiple of the groups.

    Example:
        >>> ChannelShuffle(2)(np.arange(6.0).reshape(1, 1, 1, 6)).numpy().ravel()
        array([0., 3., 1., 4., 2., 5.], dtype=float32)
    """

    def __init__(self, groups: int = 2, **kwargs):
        super().__init__(**kwargs)
        self.groups = checks.at_least("groups", groups, 1)

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels % self.groups:
            checks.refuse(f"channels must be a multiple of the {self.groups} groups", channels)
        each = channels // self.groups
        self.order = [group * each + channel for channel in range(each) for group in range(self.groups)]
        self.built = True

    def call(self, inputs):
        return ops.take(inputs, self.order, axis=-1)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "groups": self.groups}


@keras.saving.register_keras_serializable("kerasdl")
class ChannelSlice(keras.layers.Layer):
    """Channel slice: one of several equal parts of the channels.

    Source: the channel split of ShuffleNet v2, https://arxiv.org/abs/1807.11164, section 3.

    Args:
        part: number of the part, from 0.
        parts: number of parts; the channels are a multiple of it.

    Input:
        (B, H, W, C) floats.

    Returns:
        (B, H, W, C / parts) of the same dtype.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> ChannelSlice(1)(keras.Input((8, 8, 16))).shape
        (None, 8, 8, 8)
    """

    def __init__(self, part: int, parts: int = 2, **kwargs):
        super().__init__(**kwargs)
        self.parts = checks.at_least("parts", parts, 1)
        self.part = int(checks.within("part", part, 0, parts - 1))

    def build(self, input_shape):
        if input_shape[-1] % self.parts:
            checks.refuse(f"channels must be a multiple of the {self.parts} parts", input_shape[-1])
        self.built = True

    def call(self, inputs):
        width = inputs.shape[-1] // self.parts
        return inputs[..., self.part * width : (self.part + 1) * width]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // self.parts)

    def get_config(self):
        return {**super().get_config(), "part": self.part, "parts": self.parts}


@keras.saving.register_keras_serializable("kerasdl")
class ChannelStatistics(keras.layers.Layer):
    """Channel statistics: mean and maximum over the channels at each place of an image.

    Source: CBAM, https://arxiv.org/abs/1807.06521, section 3, spatial attention.

    Input:
        (B, H, W, C) floats.

    Returns:
        (B, H, W, 2) of the same dtype, the mean first.

    Example:
        >>> ChannelStatistics()(keras.Input((8, 8, 16))).shape
        (None, 8, 8, 2)
    """

    def call(self, inputs):
        mean = ops.mean(inputs, axis=-1, keepdims=True)
        return ops.concatenate([mean, ops.max(inputs, axis=-1, keepdims=True)], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2)


@keras.saving.register_keras_serializable("kerasdl")
class LayerScale(keras.layers.Layer):
    """Layer scale: multiplies each channel by a learned factor that starts small.

    Source: CaiT, https://arxiv.org/abs/2103.17239, section 2.1.

    Args:
        initial: initial value of the factors.

    Input:
        (B, ..., C) floats.

    Returns:
        The same shape and dtype.

    Example:
        >>> LayerScale(1e-6)(keras.Input((8, 8, 96))).shape
        (None, 8, 8, 96)
    """

    def __init__(self, initial: float = 1e-6, **kwargs):
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, input_shape):
        initializer = keras.initializers.Constant(self.initial)
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer=initializer, name="scale")
        self.built = True

    def call(self, inputs):
        return inputs * ops.cast(self.scale, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "initial": self.initial}
