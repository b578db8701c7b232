"""Semantic branch of panoptic FPN: all levels of a pyramid brought to the finest and added (arXiv:1901.02446)."""

from keras import layers

from kerasdl.core import checks

from ..detection.levels import check_levels, upsample_like


def semantic_branch(levels: dict, channels: int = 128, *, groups: int = 32, name: str = "semantic"):
    """Semantic branch over a feature pyramid: convolutions and bilinear doublings of each level, and their sum.

    Source: https://arxiv.org/abs/1901.02446, section 3.1 and figure 3: 3x3 convolution, group normalisation, ReLU, and
    doubling until a level has the sides of the finest, which has one convolution and no doubling.

    Args:
        levels: `{"stride4": (B, H/4, W/4, c), ...}` of a feature pyramid, fine to coarse.
        channels: of every convolution, a multiple of `groups`.
        groups: of the normalisation.
        name: prefix of the layer names.

    Returns:
        (B, H/4, W/4, channels), of the sides of the finest level.

    Raises:
        ArgumentError: the levels break their order, or the channels are no multiple of the groups.

    Example:
        >>> levels = {"stride4": keras.Input((25, 19, 64)), "stride8": keras.Input((13, 10, 64))}
        >>> semantic_branch(levels, 32, groups=8).shape
        (None, 25, 19, 32)
    """
    check_levels(levels)
    checks.at_least("channels", channels, 1)
    if channels % checks.at_least("groups", groups, 1):
        checks.refuse(f"channels must be a multiple of the {groups} groups", channels)
    maps, summed = list(levels.values()), []
    for place, (key, x) in enumerate(levels.items()):
        for number in range(1, max(1, place) + 1):
            step = f"{name}_{key}_{number}"
            x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{step}_conv")(x)
            x = layers.GroupNormalization(groups, epsilon=1e-5, name=f"{step}_norm")(x)
            x = layers.ReLU(name=f"{step}_relu")(x)
            if place:
                x = upsample_like(x, maps[place - number], interpolation="bilinear", name=f"{step}_upsample")
        summed.append(x)
    return layers.Add(name=f"{name}_add")(summed) if len(summed) > 1 else summed[0]
