"""Convolution, batch normalisation and activation, the trio that convolutional nets repeat."""

from keras import layers

# Statistics follow a run of a hundred steps; Keras's own 0.99 is still near its start then.
MOMENTUM = 0.9


def round_channels(channels: float, divisor: int = 8) -> int:
    """Rounds a scaled channel count to a multiple of `divisor`, never down by more than a tenth.

    Source: MobileNetV2 (https://arxiv.org/abs/1801.04381), section 5, in the form of its authors' code.

    Args:
        channels: the count asked for, positive.
        divisor: what the result is a multiple of.

    Returns:
        A positive multiple of `divisor`.

    Example:
        >>> round_channels(32 * 0.35), round_channels(12)
        (16, 16)
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


def activation(x, kind: str | None, *, name: str):
    """Applies an activation as a layer of its own; None passes `x` on."""
    if kind is None:
        return x
    if kind == "relu":
        return layers.ReLU(name=f"{name}_relu")(x)
    if kind == "relu6":
        return layers.ReLU(max_value=6.0, name=f"{name}_relu6")(x)
    return layers.Activation(kind, name=f"{name}_{kind}")(x)


def conv_norm_act(
    x,
    filters: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    act: str | None = "relu",
    padding: str = "same",
    bias: bool = False,
    epsilon: float = 1e-3,
    momentum: float = MOMENTUM,
    name: str,
):
    """Convolution, batch normalisation, activation.

    Source: batch normalisation before the activation, https://arxiv.org/abs/1502.03167, section 3.2.

    Args:
        x: (B, H, W, C).
        filters: channels of the output.
        kernel: side of the kernel in pixels.
        stride: step in pixels.
        act: `relu`, `relu6`, the name of a Keras activation, or None.
        padding: `same` as TensorFlow pads, or `symmetric` as PyTorch does: `kernel // 2` on every side.
        bias: whether the convolution has one of its own.
        epsilon: of the normalisation.
        momentum: of the moving statistics.
        name: what the names of the three layers begin with.

    Returns:
        (B, H / stride, W / stride, filters).

    Example:
        >>> conv_norm_act(keras.Input((32, 32, 3)), 16, stride=2, name="stem").shape
        (None, 16, 16, 16)
    """
    if padding == "symmetric" and kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
        padding = "valid"
    elif padding == "symmetric":
        padding = "valid"
    x = layers.Conv2D(filters, kernel, strides=stride, padding=padding, use_bias=bias, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(epsilon=epsilon, momentum=momentum, name=f"{name}_bn")(x)
    return activation(x, act, name=name)


def depthwise_norm_act(
    x,
    kernel: int = 3,
    *,
    stride: int = 1,
    act: str | None = "relu",
    epsilon: float = 1e-3,
    name: str,
):
    """Depthwise convolution, batch normalisation, activation.

    Source: MobileNets, https://arxiv.org/abs/1704.04861, section 3.1.

    Args:
        x: (B, H, W, C).
        kernel: side of the kernel in pixels.
        stride: step in pixels.
        act: `relu`, `relu6`, the name of a Keras activation, or None.
        epsilon: of the normalisation.
        name: what the names of the three layers begin with.

    Returns:
        (B, H / stride, W / stride, C).

    Example:
        >>> depthwise_norm_act(keras.Input((32, 32, 8)), stride=2, name="block1").shape
        (None, 16, 16, 8)
    """
    x = layers.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(epsilon=epsilon, momentum=MOMENTUM, name=f"{name}_bn")(x)
    return activation(x, act, name=name)
