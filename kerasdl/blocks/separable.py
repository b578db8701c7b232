"""The depthwise separable convolution: each channel by itself, then all channels at each place."""

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
    """A depthwise and a 1x1 convolution, each with batch normalisation and activation.

    Two layers rather than Keras's SeparableConv2D: both kernels are quantised, pruned and profiled by themselves.

    Source: MobileNets, https://arxiv.org/abs/1704.04861, section 3.1 and figure 3 right.

    Args:
        x: (B, H, W, C).
        filters: channels of the output.
        kernel: side of the depthwise kernel in pixels.
        stride: step of the depthwise convolution in pixels.
        act: as in `conv_norm_act`, after each of the two.
        padding: as in `conv_norm_act`.
        epsilon: of the normalisations.
        momentum: of their moving statistics.
        name: what the names of the layers begin with.

    Returns:
        (B, H / stride, W / stride, filters).

    Example:
        >>> depthwise_separable(keras.Input((16, 16, 32)), 64, stride=2, name="block").shape
        (None, 8, 8, 64)
    """
    shared = dict(act=act, padding=padding, epsilon=epsilon, momentum=momentum)
    x = depthwise_norm_act(x, kernel, stride=stride, name=f"{name}_depthwise", **shared)
    return conv_norm_act(x, filters, 1, name=f"{name}_pointwise", **shared)
