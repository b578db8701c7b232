"""Residual blocks of ResNet (https://arxiv.org/abs/1512.03385), basic and bottleneck, with stochastic depth."""

from collections.abc import Callable

from keras import layers

from kerasdl.core import checks
from kerasdl.layers import DropPath

from .convolution import MOMENTUM, conv_norm_act


def add_residual(shortcut, x, *, drop_path: float = 0.0, name: str):
    """Sum of a branch and its shortcut; in training the branch is randomly dropped for each example.

    Source: stochastic depth, https://arxiv.org/abs/1603.09382, section 3.

    Args:
        shortcut: (B, ...).
        x: the branch, of the same shape.
        drop_path: probability to drop the branch, from 0 to below 1; 0 adds no layer.
        name: prefix of the layer names.

    Returns:
        A tensor of the same shape.

    Example:
        >>> x = keras.Input((8, 8, 16))
        >>> add_residual(x, x, drop_path=0.1, name="block").shape
        (None, 8, 8, 16)
    """
    if drop_path:
        x = DropPath(drop_path, name=f"{name}_drop_path")(x)
    return layers.Add(name=f"{name}_add")([shortcut, x])


def depth_rates(highest: float, count: int) -> list[float]:
    """Returns the drop-path rate of each of `count` blocks, from 0 for the first to `highest` for the last.

    Source: stochastic depth, https://arxiv.org/abs/1603.09382, section 3, the linear decay rule; it counts from a
    layer before the first block, where the code of DeiT, Swin and ConvNeXt, and this, give the first block 0.

    Args:
        highest: the rate of the last block, from 0 to below 1.
        count: blocks, 1 or more.

    Returns:
        A list of `count` rates; of one block, `[0.0]`.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> depth_rates(0.2, 3)
        [0.0, 0.1, 0.2]
    """
    checks.within("drop_path", highest, 0.0, 0.999)
    checks.at_least("count", count, 1)
    return [highest * block / max(1, count - 1) for block in range(count)]


def basic_residual(
    x,
    filters: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    first_dilation: int | None = None,
    epsilon: float = 1e-5,
    attention: Callable | None = None,
    drop_path: float = 0.0,
    name: str,
):
    """Basic residual block: two 3x3 convolutions and a shortcut around them.

    Source: https://arxiv.org/abs/1512.03385, figure 5 left; the shortcut is projected (option B) where shapes differ.

    Args:
        x: (B, H, W, C).
        filters: channels of the output.
        stride: step of the first convolution in pixels.
        dilation: distance in pixels between neighbours of a kernel.
        first_dilation: that of the first kernel, which has the stride, where it differs.
        epsilon: epsilon of the normalisations.
        attention: a block from (x, name=) to a tensor of the same shape, such as `squeeze_excite`, before the addition.
        drop_path: as in `add_residual`.
        name: prefix of the layer names.

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
    x = conv_norm_act(x, filters, 3, stride=stride, dilation=first_dilation or dilation, name=f"{name}_1", **norm)
    x = conv_norm_act(x, filters, 3, dilation=dilation, act=None, name=f"{name}_2", **norm)
    if attention:
        x = attention(x, name=f"{name}_attention")
    x = add_residual(shortcut, x, drop_path=drop_path, name=name)
    return layers.ReLU(name=f"{name}_out")(x)


def bottleneck_residual(
    x,
    filters: int,
    *,
    width: int | None = None,
    groups: int = 1,
    stride: int = 1,
    dilation: int = 1,
    first_dilation: int | None = None,
    stride_in_first: bool = False,
    bias: bool = False,
    epsilon: float = 1e-5,
    momentum: float = MOMENTUM,
    attention: Callable | None = None,
    drop_path: float = 0.0,
    name: str,
):
    """Bottleneck residual block: 1x1 down, 3x3, 1x1 up, and a shortcut around them.

    Source: https://arxiv.org/abs/1512.03385, figure 5 right; the shortcut is projected (option B) where shapes differ.

    Args:
        x: (B, H, W, C).
        filters: a quarter of the output's channels.
        width: channels of the inner convolutions; None for `filters`.
        groups: groups of the 3x3 convolution, as in ResNeXt (https://arxiv.org/abs/1611.05431, section 3.3).
        stride: step of the block in pixels.
        dilation: distance in pixels between neighbours of the 3x3 kernel.
        first_dilation: that of a 3x3 kernel that has the stride, where it differs.
        stride_in_first: the first 1x1 has the stride, as in the paper, rather than the 3x3.
        bias: whether the convolutions have a bias.
        epsilon: epsilon of the normalisations.
        momentum: momentum of their moving statistics.
        attention: as in `basic_residual`.
        drop_path: as in `add_residual`.
        name: prefix of the layer names.

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
    x = conv_norm_act(x, width or filters, 1, stride=first, name=f"{name}_1", **norm)
    rate = dilation if stride_in_first else first_dilation or dilation
    inner = dict(stride=second, dilation=rate, groups=groups)
    x = conv_norm_act(x, width or filters, 3, name=f"{name}_2", **inner, **norm)
    x = conv_norm_act(x, 4 * filters, 1, act=None, name=f"{name}_3", **norm)
    if attention:
        x = attention(x, name=f"{name}_attention")
    x = add_residual(shortcut, x, drop_path=drop_path, name=name)
    return layers.ReLU(name=f"{name}_out")(x)
