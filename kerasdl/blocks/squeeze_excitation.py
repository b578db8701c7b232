"""Squeeze-and-excitation: attention over the channels (https://arxiv.org/abs/1709.01507)."""

from keras import layers


def squeeze_excite(x, squeezed: int, *, act: str = "relu", gate: str = "sigmoid", name: str):
    """Squeeze-and-excitation block: a gate for each channel, computed from the means of all channels.

    Source: https://arxiv.org/abs/1709.01507, section 3.

    Args:
        x: (B, H, W, C).
        squeezed: channels of the bottleneck between the two 1x1 convolutions.
        act: activation of the bottleneck.
        gate: activation of the gate; MobileNetV3 takes `hard_sigmoid`.
        name: prefix of the layer names.

    Returns:
        (B, H, W, C).

    Example:
        >>> squeeze_excite(keras.Input((8, 8, 16)), 4, name="se").shape
        (None, 8, 8, 16)
    """
    channels = x.shape[-1]
    weight = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)  # (B, 1, 1, C)
    weight = layers.Conv2D(squeezed, 1, name=f"{name}_squeeze")(weight)
    weight = layers.Activation(act, name=f"{name}_{act}")(weight)
    weight = layers.Conv2D(channels, 1, name=f"{name}_excite")(weight)
    weight = layers.Activation(gate, name=f"{name}_gate")(weight)
    return layers.Multiply(name=f"{name}_scale")([x, weight])
