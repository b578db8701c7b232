"""Inverted residual block: a narrow shortcut around a wide depthwise convolution (https://arxiv.org/abs/1801.04381)."""

from .convolution import conv_norm_act, depthwise_norm_act
from .residual import add_residual
from .squeeze_excitation import squeeze_excite


def inverted_residual(
    x,
    filters: int,
    *,
    expanded: int,
    kernel: int = 3,
    stride: int = 1,
    dilation: int = 1,
    act: str = "relu6",
    squeezed: int | None = None,
    squeeze_act: str = "relu",
    gate: str = "hard_sigmoid",
    padding: str = "same",
    shortcut: bool = True,
    drop_path: float = 0.0,
    name: str,
):
    """Inverted residual block: 1x1 expansion, depthwise convolution, linear 1x1 projection, shortcut if shapes agree.

    Source: MobileNetV2, section 3.3; with `squeezed`, MobileNetV3 (https://arxiv.org/abs/1905.02244), figure 4, and
    EfficientNet (https://arxiv.org/abs/1905.11946), section 4.

    Args:
        x: (B, H, W, C).
        filters: channels of the output.
        expanded: channels between the two 1x1 convolutions; if it equals C, the first one is left out.
        kernel: side of the depthwise kernel in pixels.
        stride: step of the depthwise convolution in pixels.
        dilation: distance in pixels between neighbours of the depthwise kernel.
        act: activation after the first two convolutions.
        squeezed: channels of the squeeze-and-excitation bottleneck; None for none.
        squeeze_act: activation of that bottleneck.
        gate: activation of its gate.
        padding: of a depthwise convolution with a stride, as in `conv_norm_act`.
        shortcut: whether the input is added where shapes agree; False where dilation replaces a stride.
        drop_path: as in `add_residual`.
        name: prefix of the layer names.

    Returns:
        (B, H / stride, W / stride, filters).

    Example:
        >>> inverted_residual(keras.Input((16, 16, 24)), 32, expanded=144, stride=2, name="block").shape
        (None, 8, 8, 32)
    """
    entry = x
    if expanded != x.shape[-1]:
        x = conv_norm_act(x, expanded, 1, act=act, name=f"{name}_expand")
    step = dict(stride=stride, dilation=dilation, padding=padding if stride > 1 else "same")
    x = depthwise_norm_act(x, kernel, act=act, name=f"{name}_depthwise", **step)
    if squeezed:
        x = squeeze_excite(x, squeezed, act=squeeze_act, gate=gate, name=f"{name}_se")
    x = conv_norm_act(x, filters, 1, act=None, name=f"{name}_project")
    if shortcut and stride == 1 and entry.shape[-1] == filters:
        x = add_residual(entry, x, drop_path=drop_path, name=name)
    return x


def fused_inverted_residual(
    x,
    filters: int,
    *,
    expanded: int,
    kernel: int = 3,
    stride: int = 1,
    act: str = "silu",
    drop_path: float = 0.0,
    name: str,
):
    """Fused inverted residual block: expansion by a full convolution, 1x1 projection, shortcut if shapes agree.

    Source: EfficientNetV2 (https://arxiv.org/abs/2104.00298), figure 2.

    Args:
        x: (B, H, W, C).
        filters: channels of the output.
        expanded: channels between the two convolutions; if it equals C, one convolution with activation replaces both.
        kernel: side of the first kernel in pixels.
        stride: its step in pixels.
        act: activation after the first convolution.
        drop_path: as in `add_residual`.
        name: prefix of the layer names.

    Returns:
        (B, H / stride, W / stride, filters).

    Example:
        >>> fused_inverted_residual(keras.Input((16, 16, 24)), 48, expanded=96, stride=2, name="block").shape
        (None, 8, 8, 48)
    """
    shortcut = x
    if expanded != x.shape[-1]:
        x = conv_norm_act(x, expanded, kernel, stride=stride, act=act, name=f"{name}_expand")
        x = conv_norm_act(x, filters, 1, act=None, name=f"{name}_project")
    else:
        x = conv_norm_act(x, filters, kernel, stride=stride, act=act, name=f"{name}_project")
    if stride == 1 and shortcut.shape[-1] == filters:
        x = add_residual(shortcut, x, drop_path=drop_path, name=name)
    return x
