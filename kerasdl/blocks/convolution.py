"""Convolution blocks: convolution, batch normalisation, activation."""

from keras import layers

# With 0.9 the statistics converge within a hundred steps; with Keras's 0.99 they are still near their start.
MOMENTUM = 0.9


def round_channels(channels: float, divisor: int = 8) -> int:
    """Returns a scaled channel count rounded to a multiple of `divisor`, not below nine tenths of it.

    Source: MobileNetV2 (https://arxiv.org/abs/1801.04381), section 5, in the form of its authors' code.

    Args:
        channels: the scaled count, positive.
        divisor: divisor of the result.

    Returns:
        A positive multiple of `divisor`.

    Example:
        >>> round_channels(32 * 0.35), round_channels(12)
        (16, 16)
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


def activation(x, kind: str | None, *, name: str):
    """Applies an activation as a separate layer; None returns `x`."""
    if kind is None:
        return x
    if kind == "relu":
        return layers.ReLU(name=f"{name}_relu")(x)
    if kind == "relu6":
        return layers.ReLU(max_value=6.0, name=f"{name}_relu6")(x)
    if kind == "leaky":
        return layers.LeakyReLU(negative_slope=0.1, name=f"{name}_leaky")(x)
    return layers.Activation(kind, name=f"{name}_{kind}")(x)


def padded(x, kernel: int | tuple[int, int], padding: str, *, dilation: int = 1, name: str) -> tuple:
    """Returns the input of a convolution, padded by half the kernel for `symmetric`, and the padding that is left."""
    if padding != "symmetric":
        return x, padding
    sides = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    margins = tuple(dilation * (side - 1) // 2 for side in sides)
    if any(margins):
        x = layers.ZeroPadding2D(margins, name=f"{name}_pad")(x)
    return x, "valid"


def conv_norm_act(
    x,
    filters: int,
    kernel: int | tuple[int, int] = 3,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    act: str | None = "relu",
    padding: str = "same",
    bias: bool = False,
    scale: bool = True,
    epsilon: float = 1e-3,
    momentum: float = MOMENTUM,
    name: str,
):
    """Convolution, batch normalisation and activation, in this order.

    Source: batch normalisation before the activation, https://arxiv.org/abs/1502.03167, section 3.2.

    Args:
        x: (B, H, W, C).
        filters: channels of the output.
        kernel: side of the kernel in pixels, or its height and width.
        stride: step in pixels.
        dilation: distance in pixels between neighbours of the kernel.
        groups: number of groups of channels that are convolved separately.
        act: `relu`, `relu6`, `leaky` (slope 0.1 below 0, DarkNet's), the name of a Keras activation, or None.
        padding: `same` as TensorFlow pads, `symmetric` as PyTorch does, half the kernel on every side, or `valid`.
        bias: whether the convolution has a bias.
        scale: whether the normalisation has a learned factor.
        epsilon: epsilon of the normalisation.
        momentum: momentum of the moving statistics.
        name: prefix of the names of the three layers.

    Returns:
        (B, H / stride, W / stride, filters).

    Example:
        >>> conv_norm_act(keras.Input((32, 32, 3)), 16, stride=2, name="stem").shape
        (None, 16, 16, 16)
    """
    x, padding = padded(x, kernel, padding, dilation=dilation, name=name)
    x = layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding=padding,
        dilation_rate=dilation,
        groups=groups,
        use_bias=bias,
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(epsilon=epsilon, momentum=momentum, scale=scale, name=f"{name}_bn")(x)
    return activation(x, act, name=name)


def depthwise_norm_act(
    x,
    kernel: int = 3,
    *,
    stride: int = 1,
    dilation: int = 1,
    act: str | None = "relu",
    padding: str = "same",
    epsilon: float = 1e-3,
    momentum: float = MOMENTUM,
    name: str,
):
    """Depthwise convolution, batch normalisation, activation.

    Source: MobileNets, https://arxiv.org/abs/1704.04861, section 3.1.

    Args:
        x: (B, H, W, C).
        kernel: side of the kernel in pixels.
        stride: step in pixels.
        dilation: distance in pixels between neighbours of the kernel.
        act: `relu`, `relu6`, `leaky` (slope 0.1 below 0, DarkNet's), the name of a Keras activation, or None.
        padding: as in `conv_norm_act`.
        epsilon: epsilon of the normalisation.
        momentum: momentum of the moving statistics.
        name: prefix of the names of the three layers.

    Returns:
        (B, H / stride, W / stride, C).

    Example:
        >>> depthwise_norm_act(keras.Input((32, 32, 8)), stride=2, name="block1").shape
        (None, 16, 16, 8)
    """
    x, padding = padded(x, kernel, padding, dilation=dilation, name=name)
    x = layers.DepthwiseConv2D(
        kernel, strides=stride, padding=padding, dilation_rate=dilation, use_bias=False, name=f"{name}_conv"
    )(x)
    x = layers.BatchNormalization(epsilon=epsilon, momentum=momentum, name=f"{name}_bn")(x)
    return activation(x, act, name=name)
