"""Atrous spatial pyramid pooling (ASPP): features at several scales (https://arxiv.org/abs/1706.05587)."""

from keras import layers

from .convolution import conv_norm_act
from .detection.levels import upsample_like
from .separable import depthwise_separable


def aspp(x, filters: int = 256, rates=(6, 12, 18), *, separable: bool = False, dropout: float = 0.0, name: str):
    """Atrous spatial pyramid pooling: 1x1, dilated 3x3 and image-level branches, joined by a 1x1 convolution.

    Source: https://arxiv.org/abs/1706.05587, section 3.3 and figure 5; separable convolutions: DeepLabV3+,
    https://arxiv.org/abs/1802.02611, section 3.1.

    Args:
        x: (B, H, W, C).
        filters: channels of each branch and of the output.
        rates: dilation of each 3x3 branch in pixels; the paper's are for an output stride of 16.
        separable: whether the 3x3 branches are depthwise separable, with nothing between the two convolutions.
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
        branches.append(_dilated(x, filters, rate, separable, name=f"{name}_rate{rate}"))
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)  # (B, 1, 1, C)
    pooled = conv_norm_act(pooled, filters, 1, epsilon=1e-5, name=f"{name}_image")
    branches.append(upsample_like(pooled, x, name=f"{name}_image_resize"))  # of one place, whatever the interpolation
    x = layers.Concatenate(name=f"{name}_concat")(branches)
    x = conv_norm_act(x, filters, 1, epsilon=1e-5, name=f"{name}_project")
    return layers.Dropout(dropout, name=f"{name}_drop")(x) if dropout else x


def _dilated(x, filters: int, rate: int, separable: bool, *, name: str):
    settings = dict(dilation=rate, epsilon=1e-5, name=name)
    if separable:
        return depthwise_separable(x, filters, 3, between=False, **settings)
    return conv_norm_act(x, filters, 3, **settings)
