"""Path aggregation (PAN): a pyramid from coarse to fine, and back to coarse (https://arxiv.org/abs/1803.01534).

Deviations: levels are concatenated and merged by a block of DarkNet's kind, as in YOLOv4 to YOLOv8, where the paper
adds them and convolves.
"""

from collections.abc import Callable, Sequence

from keras import layers

from kerasdl.core import checks

from ..convolution import conv_norm_act
from .cross_stage import c2f
from .levels import check_levels, upsample_like


def pan(
    features: dict, channels: Sequence[int], *, repeats: int = 1, block: Callable = c2f, act: str = "silu", name="pan"
) -> dict:
    """Path aggregation network: levels merged by concatenation from coarse to fine, then from fine to coarse.

    Source: https://arxiv.org/abs/1803.01534, section 3.1 and figure 1; the concatenations are YOLOv4's,
    https://arxiv.org/abs/2004.10934, figure 6.

    Args:
        features: `{"stride8": (B, H/8, W/8, c), ...}` of a backbone, fine to coarse.
        channels: of each level of the result.
        repeats: bottlenecks of each merging block.
        block: merging block, `c2f` (YOLOv8) or `csp_block` (YOLOv5).
        act: activation, as in `conv_norm_act`.
        name: prefix of the layer names.

    Returns:
        The levels in the same order: `{"stride8": (B, H/8, W/8, channels[0]), ...}`.

    Raises:
        ArgumentError: the features are fewer than two levels or break their order, or the channels differ in number.

    Example:
        >>> features = {"stride8": keras.Input((13, 13, 32)), "stride16": keras.Input((7, 7, 64))}
        >>> pan(features, (32, 64))["stride16"].shape
        (None, 7, 7, 64)
    """
    check_levels(features, least=2)
    if len(checks.counts("channels", channels)) != len(features):
        checks.refuse(f"channels must have one entry for each of the {len(features)} levels", channels)
    filters = dict(zip(features, channels, strict=True))
    finest, *coarser, coarsest = features
    merge = dict(repeats=repeats, shortcut=False, act=act)
    x = features[coarsest]
    top_down = {coarsest: x}
    for key in (*reversed(coarser), finest):
        x = upsample_like(x, features[key], name=f"{name}_{key}_upsample")
        x = layers.Concatenate(name=f"{name}_{key}_top_down_merge")([x, features[key]])
        x = top_down[key] = block(x, filters[key], name=f"{name}_{key}_top_down", **merge)
    levels = {finest: x}
    for key in (*coarser, coarsest):
        down = dict(stride=2, padding="symmetric", act=act)
        x = conv_norm_act(x, x.shape[-1], 3, name=f"{name}_{key}_downsample", **down)
        x = layers.Concatenate(name=f"{name}_{key}_bottom_up_merge")([x, top_down[key]])
        x = levels[key] = block(x, filters[key], name=f"{name}_{key}_bottom_up", **merge)
    return levels
