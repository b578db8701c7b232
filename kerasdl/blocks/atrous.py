"""Atrous spatial pyramid pooling (ASPP): features at several scales (https://arxiv.org/abs/1706.05587)."""

from keras import layers

from kerasdl.layers import ResizeLike

from .convolution import conv_norm_act


def aspp(x, filters: int = 256, rates=(6, 12, 18), *, dropout: float = 0.0, name: str):
    """Atrous spatial pyramid pooling: 1x1, dilated 3x3 and image-level branches, joined by a 1x1 convolution.

    Source: https://arxiv.org/abs/1706.05587, section 3.3 and figure 5.

    Args:
        x: (B, H, W, C).
        filters: channels of each branch and of the output.
        rates: dilation of each 3x3 branch in pixels; the paper's are for an output stride of 16.
        dropout: rate after the joining convolution, from 0 to 1.
        name: prefix of the layer names.

    Returns:
        (B, H, W, filters).

    Example:
        >>> aspp(keras.Input((32, 32, 64)), 16, name="aspp").shape
        (None, 32, 32, 16)
    """
    branches = [conv_norm_act(x, filters, 1, epsilon=1e-5, name=f"{name}_1x1")]
    for rate in rates:
        branches.append(conv_norm_act(x, filters, 3, dilation=rate, epsilon=1e-5, name=f"{name}_rate{rate}"))
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)  # (B, 1, 1, C)
    pooled = conv_norm_act(pooled, filters, 1, epsilon=1e-5, name=f"{name}_image")
    branches.append(ResizeLike(name=f"{name}_image_resize")([pooled, x]))
    x = layers.Concatenate(name=f"{name}_concat")(branches)
    x = conv_norm_act(x, filters, 1, epsilon=1e-5, name=f"{name}_project")
    return layers.Dropout(dropout, name=f"{name}_drop")(x) if dropout else x
