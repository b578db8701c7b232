"""Depthwise separable convolution: each channel separately, then all channels at each place."""

from .convolution import MOMENTUM, conv_norm_act, depthwise_norm_act


def depthwise_separable(
    x,
    filters: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    act: str | None = "relu",
    padding: str = "same",
    epsilon: float = 1e-3,
    momentum: float = MOMENTUM,
    name: str,
):
    """Depthwise separable convolution: a depthwise and a 1x1 one, each with batch normalisation and activation.

    It has two layers instead of Keras's SeparableConv2D, so that each kernel is quantised, pruned and profiled.

    Source: MobileNets, https://arxiv.org/abs/1704.04861, section 3.1 and figure 3 right.

    Args:
        x: (B, H, W, C).
        filters: channels of the output.
        kernel: side of the depthwise kernel in pixels.
        stride: step of the depthwise convolution in pixels.
        act: as in `conv_norm_act`, after each of the two.
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
    x = depthwise_norm_act(x, kernel, stride=stride, name=f"{name}_depthwise", **shared)
    return conv_norm_act(x, filters, 1, name=f"{name}_pointwise", **shared)
