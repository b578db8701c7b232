"""Instance normalisation, which Keras has as a special case of group normalisation."""

import keras


@keras.saving.register_keras_serializable("kerasdl")
class InstanceNormalization(keras.layers.GroupNormalization):
    """Instance normalisation of each channel of each example, a group normalisation with one channel per group.

    Use it for style transfer and image generation; batch normalisation for large batches, layer normalisation in
    transformers, group normalisation for small batches.

    Source: https://arxiv.org/abs/1607.08022, equation 3.

    Args:
        epsilon: added to the variance.
        **kwargs: as in `keras.layers.GroupNormalization`.

    Input:
        (B, ..., C) floats.

    Returns:
        The same shape and dtype.

    Example:
        >>> InstanceNormalization()(keras.Input((8, 8, 16))).shape
        (None, 8, 8, 16)
    """

    def __init__(self, epsilon: float = 1e-5, **kwargs):
        super().__init__(groups=-1, epsilon=epsilon, **kwargs)

    def get_config(self):
        return {name: value for name, value in super().get_config().items() if name != "groups"}
