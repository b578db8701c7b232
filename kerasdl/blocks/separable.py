"""Depthwise separable convolution: each channel separately, then all channels at each place."""

from keras import layers

from .convolution import MOMENTUM, conv_norm_act, depthwise_norm_act, padded


def depthwise_separable(
    x,
    filters: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    dilation: int = 1,
    act: str | None = "relu",
    between: bool = True,
    padding: str = "same",
    epsilon: float = 1e-3,
    momentum: float = MOMENTUM,
    name: str,
):
    """Depthwise separable convolution: a depthwise and a 1x1 one, each with batch normalisation and activation.

    It has two layers instead of Keras's SeparableConv2D, so that each kernel is quantised, pruned and profiled.

    Source: MobileNets, https://arxiv.org/abs/1704.04861, section 3.1 and figure 3 right; with nothing between the two,
    Xception, https://arxiv.org/abs/1610.02357, section 3.

    Args:
        x: (B, H, W, C).
        filters: channels of the output.
        kernel: side of the depthwise kernel in pixels.
        stride: step of the depthwise convolution in pixels.
        dilation: distance in pixels between neighbours of the depthwise kernel.
        act: as in `conv_norm_act`, after each of the two.
        between: whether normalisation and activation stand after the depthwise convolution too.
        padding: as in `conv_norm_act`.
        epsilon: epsilon of the normalisations.
        momentum: momentum of their moving statistics.
        name: prefix of the layer names.

    Returns:
        (B, H / stride, W / stride, filters).

    Example:
        >>> depthwise_separable(keras.Input((16, 16, 32)), 64, stride=2, name="block").shape
        (None, 8, 8, 64)
    """
    shared = dict(act=act, padding=padding, epsilon=epsilon, momentum=momentum)
    step = dict(stride=stride, dilation=dilation)
    if between:
        x = depthwise_norm_act(x, kernel, name=f"{name}_depthwise", **step, **shared)
    else:
        start = f"{name}_depthwise"
        x, left = padded(x, kernel, padding, dilation=dilation, name=start)
        settings = dict(strides=stride, dilation_rate=dilation, padding=left, use_bias=False)
        x = layers.DepthwiseConv2D(kernel, name=f"{start}_conv", **settings)(x)
    return conv_norm_act(x, filters, 1, name=f"{name}_pointwise", **shared)
