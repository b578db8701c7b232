"""Bidirectional feature pyramid (BiFPN) of EfficientDet (https://arxiv.org/abs/1911.09070).

Deviations: each input level is projected once, as in the paper's equations, where its authors' code projects the
middle levels a second time for the way back; convolutions before a normalisation have no bias.
"""

from keras import layers

from kerasdl.core import checks
from kerasdl.layers import FastNormalizedFusion

from ..convolution import activation, conv_norm_act
from .levels import check_levels, upsample_like


def bifpn(features: dict, channels: int = 64, *, repeats: int = 3, extra: int = 2, name: str = "bifpn") -> dict:
    """Bidirectional feature pyramid: cells from coarse to fine and back, with learned weights of each sum.

    Source: EfficientDet, https://arxiv.org/abs/1911.09070, section 3.3 and figure 2 d.

    Args:
        features: `{"stride8": (B, H/8, W/8, c), ...}` of a backbone, fine to coarse.
        channels: of every level of the result.
        repeats: cells, one after the other.
        extra: coarser levels, each a max pooling of the one before.
        name: prefix of the layer names.

    Returns:
        The levels in the same order, and the extra ones after them: `{"stride8": (B, H/8, W/8, channels), ...}`.

    Raises:
        ArgumentError: an argument breaks its rule, or there are fewer than two levels in all.

    Example:
        >>> features = {"stride16": keras.Input((8, 8, 32)), "stride32": keras.Input((4, 4, 64))}
        >>> list(bifpn(features, 16, repeats=1, extra=1))
        ['stride16', 'stride32', 'stride64']
    """
    checks.at_least("channels", channels, 1)
    checks.at_least("extra", extra, 0)
    stride = check_levels(features, least=1 if extra else 2)[-1]
    levels = {}
    for key, x in features.items():
        levels[key] = x = conv_norm_act(x, channels, 1, act=None, name=f"{name}_{key}_input")
    for _ in range(extra):
        stride *= 2
        pooling = layers.MaxPooling2D(3, strides=2, padding="same", name=f"{name}_stride{stride}_input_pool")
        levels[f"stride{stride}"] = x = pooling(x)
    for number in range(1, checks.at_least("repeats", repeats, 1) + 1):
        levels = bifpn_cell(levels, channels, name=f"{name}_cell{number}")
    return levels


def bifpn_cell(levels: dict, channels: int, *, name: str) -> dict:
    """One cell: a path from coarse to fine, and one back that also reads the input and the first path."""
    finest, *coarser, coarsest = levels
    x, top_down = levels[coarsest], {}
    for key in (*reversed(coarser), finest):
        upsampled = upsample_like(x, levels[key], name=f"{name}_{key}_upsample")
        x = top_down[key] = fused([levels[key], upsampled], channels, name=f"{name}_{key}_top_down")
    outputs = {finest: x}
    for key in (*coarser, coarsest):
        pooled = layers.MaxPooling2D(3, strides=2, padding="same", name=f"{name}_{key}_pool")(x)
        between = [top_down[key]] if key in top_down else []
        x = outputs[key] = fused([levels[key], *between, pooled], channels, name=f"{name}_{key}_bottom_up")
    return outputs


def fused(parts: list, channels: int, *, name: str):
    """Weighted sum, SiLU, and a depthwise separable convolution with one normalisation, at its end."""
    x = FastNormalizedFusion(name=f"{name}_fusion")(parts)
    x = activation(x, "silu", name=name)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_depthwise_conv")(x)
    return conv_norm_act(x, channels, 1, act=None, name=f"{name}_pointwise")
