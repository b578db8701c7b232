"""Blocks of DarkNet and YOLO: residual, cross-stage partial (CSP), C2f, and fast spatial pyramid pooling (SPPF)."""

from keras import layers

from kerasdl.core import checks

from ..convolution import conv_norm_act


def darknet_residual(x, *, act: str = "leaky", name: str):
    """Residual block of DarkNet-53: a 1x1 convolution to half the channels, a 3x3 back, and a shortcut around them.

    Source: YOLOv3, https://arxiv.org/abs/1804.02767, table 1.

    Args:
        x: (B, H, W, C), C even.
        act: activation, as in `conv_norm_act`.
        name: prefix of the layer names.

    Returns:
        (B, H, W, C).

    Raises:
        ArgumentError: the channels are odd.

    Example:
        >>> darknet_residual(keras.Input((8, 8, 64)), name="block").shape
        (None, 8, 8, 64)
    """
    hidden = half_of(x.shape[-1], "the channels of x")
    inner = conv_norm_act(x, hidden, 1, act=act, name=f"{name}_1")
    inner = conv_norm_act(inner, x.shape[-1], 3, act=act, name=f"{name}_2")
    return layers.Add(name=f"{name}_add")([x, inner])


def csp_block(x, filters: int, *, repeats: int = 1, shortcut: bool = True, act: str = "silu", name: str):
    """Cross-stage partial block: half of the channels pass bottlenecks, the other half passes them by.

    Source: CSPNet, https://arxiv.org/abs/1911.11929, section 3.2 and figure 3, in the form that YOLOv5 calls C3.

    Args:
        x: (B, H, W, C).
        filters: channels of the output, even.
        repeats: bottlenecks, each a 1x1 and a 3x3 convolution.
        shortcut: whether each bottleneck has a shortcut around it.
        act: activation, as in `conv_norm_act`.
        name: prefix of the layer names.

    Returns:
        (B, H, W, filters).

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> csp_block(keras.Input((8, 8, 32)), 64, repeats=2, name="stage1").shape
        (None, 8, 8, 64)
    """
    hidden = half_of(filters, "filters")
    past = conv_norm_act(x, hidden, 1, act=act, name=f"{name}_past")
    inner = conv_norm_act(x, hidden, 1, act=act, name=f"{name}_through")
    for number in range(1, checks.at_least("repeats", repeats, 1) + 1):
        inner = bottleneck(inner, 1, shortcut=shortcut, act=act, name=f"{name}_block{number}")
    x = layers.Concatenate(name=f"{name}_concat")([inner, past])
    return conv_norm_act(x, filters, 1, act=act, name=f"{name}_project")


def c2f(x, filters: int, *, repeats: int = 1, shortcut: bool = True, act: str = "silu", name: str):
    """C2f block: a cross-stage partial block that concatenates the output of every bottleneck.

    It has no paper: it is the block of YOLOv8, which joins CSPNet (https://arxiv.org/abs/1911.11929) and ELAN
    (https://arxiv.org/abs/2211.04800, section 3). The split of one 1x1 convolution into two halves is written as two
    convolutions: the same function and weights, without a slice in the graph.

    Args:
        x: (B, H, W, C).
        filters: channels of the output, even.
        repeats: bottlenecks, each two 3x3 convolutions.
        shortcut: whether each bottleneck has a shortcut around it.
        act: activation, as in `conv_norm_act`.
        name: prefix of the layer names.

    Returns:
        (B, H, W, filters).

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> c2f(keras.Input((8, 8, 32)), 64, repeats=2, name="stage1").shape
        (None, 8, 8, 64)
    """
    hidden = half_of(filters, "filters")
    past = conv_norm_act(x, hidden, 1, act=act, name=f"{name}_past")
    inner = conv_norm_act(x, hidden, 1, act=act, name=f"{name}_through")
    parts = [past, inner]
    for number in range(1, checks.at_least("repeats", repeats, 1) + 1):
        inner = bottleneck(inner, 3, shortcut=shortcut, act=act, name=f"{name}_block{number}")
        parts.append(inner)
    x = layers.Concatenate(name=f"{name}_concat")(parts)
    return conv_norm_act(x, filters, 1, act=act, name=f"{name}_project")


def sppf(x, filters: int, *, pool: int = 5, act: str = "silu", name: str):
    """Fast spatial pyramid pooling: three max poolings in a row, concatenated with their input.

    Source: the pooling of YOLOv3-SPP after https://arxiv.org/abs/1406.4729, section 2; windows of 5, 9 and 13 pixels
    are one, two and three windows of 5 in a row.

    Args:
        x: (B, H, W, C), C even.
        filters: channels of the output.
        pool: side of a window in pixels, odd.
        act: activation, as in `conv_norm_act`.
        name: prefix of the layer names.

    Returns:
        (B, H, W, filters).

    Raises:
        ArgumentError: the channels of `x` are odd, or `pool` is even.

    Example:
        >>> sppf(keras.Input((8, 8, 64)), 32, name="pool").shape
        (None, 8, 8, 32)
    """
    if checks.at_least("pool", pool, 1) % 2 == 0:
        checks.refuse("pool must be odd, so that a window has a centre", pool)
    hidden = half_of(x.shape[-1], "the channels of x")
    parts = [conv_norm_act(x, hidden, 1, act=act, name=f"{name}_reduce")]
    for number in (1, 2, 3):
        pooling = layers.MaxPooling2D(pool, strides=1, padding="same", name=f"{name}_pool{number}")
        parts.append(pooling(parts[-1]))
    x = layers.Concatenate(name=f"{name}_concat")(parts)
    return conv_norm_act(x, filters, 1, act=act, name=f"{name}_project")


def bottleneck(x, first_kernel: int, *, shortcut: bool, act: str, name: str):
    """Bottleneck of CSP blocks: two convolutions of the same channels, the second 3x3, and a shortcut if asked."""
    inner = conv_norm_act(x, x.shape[-1], first_kernel, act=act, name=f"{name}_1")
    inner = conv_norm_act(inner, x.shape[-1], 3, act=act, name=f"{name}_2")
    return layers.Add(name=f"{name}_add")([x, inner]) if shortcut else inner


def half_of(channels: int, name: str) -> int:
    """Returns half of an even count of 2 or more; else raises `ArgumentError`."""
    if checks.at_least(name, channels, 2) % 2:
        checks.refuse(f"{name} must be even, since the block works on half of them", channels)
    return channels // 2
