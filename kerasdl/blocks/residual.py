"""The two residual blocks of ResNet (https://arxiv.org/abs/1512.03385)."""

from keras import layers

from .convolution import MOMENTUM, conv_norm_act


def basic_residual(x, filters: int, *, stride: int = 1, epsilon: float = 1e-5, name: str):
    """Two 3x3 convolutions and a shortcut around them.

    Source: https://arxiv.org/abs/1512.03385, figure 5 left; the shortcut is projected (option B) where shapes differ.

    Args:
        x: (B, H, W, C).
        filters: channels of the output.
        stride: step of the first convolution in pixels.
        epsilon: of the normalisations.
        name: what the names of the layers begin with.

    Returns:
        (B, H / stride, W / stride, filters).

    Example:
        >>> basic_residual(keras.Input((16, 16, 64)), 128, stride=2, name="block").shape
        (None, 8, 8, 128)
    """
    norm = dict(padding="symmetric", epsilon=epsilon)
    shortcut = x
    if stride > 1 or x.shape[-1] != filters:
        shortcut = conv_norm_act(x, filters, 1, stride=stride, act=None, name=f"{name}_shortcut", **norm)
    x = conv_norm_act(x, filters, 3, stride=stride, name=f"{name}_1", **norm)
    x = conv_norm_act(x, filters, 3, act=None, name=f"{name}_2", **norm)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_out")(x)


def bottleneck_residual(
    x,
    filters: int,
    *,
    stride: int = 1,
    stride_in_first: bool = False,
    bias: bool = False,
    epsilon: float = 1e-5,
    momentum: float = MOMENTUM,
    name: str,
):
    """1x1 down, 3x3, 1x1 up, and a shortcut around them.

    Source: https://arxiv.org/abs/1512.03385, figure 5 right; the shortcut is projected (option B) where shapes differ.

    Args:
        x: (B, H, W, C).
        filters: channels of the inner convolutions; the output has four times as many.
        stride: step of the block in pixels.
        stride_in_first: the first 1x1 has the stride, as in the paper, rather than the 3x3.
        bias: whether the convolutions have one.
        epsilon: of the normalisations.
        momentum: of their moving statistics.
        name: what the names of the layers begin with.

    Returns:
        (B, H / stride, W / stride, 4 * filters).

    Example:
        >>> bottleneck_residual(keras.Input((16, 16, 256)), 128, stride=2, name="block").shape
        (None, 8, 8, 512)
    """
    norm = dict(padding="symmetric", bias=bias, epsilon=epsilon, momentum=momentum)
    first, second = (stride, 1) if stride_in_first else (1, stride)
    shortcut = x
    if stride > 1 or x.shape[-1] != 4 * filters:
        shortcut = conv_norm_act(x, 4 * filters, 1, stride=stride, act=None, name=f"{name}_shortcut", **norm)
    x = conv_norm_act(x, filters, 1, stride=first, name=f"{name}_1", **norm)
    x = conv_norm_act(x, filters, 3, stride=second, name=f"{name}_2", **norm)
    x = conv_norm_act(x, 4 * filters, 1, act=None, name=f"{name}_3", **norm)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_out")(x)
