"""CBAM: attention over the channels, then over the places of an image (https://arxiv.org/abs/1807.06521)."""

from keras import layers

from kerasdl.layers import ChannelStatistics


def cbam(x, squeezed: int, *, kernel: int = 7, name: str):
    """CBAM block: gates for each channel, then for each place, computed from means and maxima.

    Source: https://arxiv.org/abs/1807.06521, section 3 and figure 2.

    Args:
        x: (B, H, W, C).
        squeezed: channels of the bottleneck of the channel gate, which averages and maxima share.
        kernel: side of the convolution of the spatial gate in pixels.
        name: prefix of the layer names.

    Returns:
        (B, H, W, C).

    Example:
        >>> cbam(keras.Input((8, 8, 16)), 4, name="cbam").shape
        (None, 8, 8, 16)
    """
    squeeze = layers.Conv2D(squeezed, 1, activation="relu", name=f"{name}_channel_squeeze")
    excite = layers.Conv2D(x.shape[-1], 1, name=f"{name}_channel_excite")
    average = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_channel_average")(x)  # (B, 1, 1, C)
    largest = layers.GlobalMaxPooling2D(keepdims=True, name=f"{name}_channel_max")(x)
    weight = layers.Add(name=f"{name}_channel_add")([excite(squeeze(average)), excite(squeeze(largest))])
    weight = layers.Activation("sigmoid", name=f"{name}_channel_gate")(weight)
    x = layers.Multiply(name=f"{name}_channel_scale")([x, weight])
    place = ChannelStatistics(name=f"{name}_spatial_statistics")(x)  # (B, H, W, 2)
    place = layers.Conv2D(1, kernel, padding="same", use_bias=False, name=f"{name}_spatial_conv")(place)
    place = layers.Activation("sigmoid", name=f"{name}_spatial_gate")(place)
    return layers.Multiply(name=f"{name}_spatial_scale")([x, place])
