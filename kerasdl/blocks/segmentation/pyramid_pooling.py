"""Pyramid pooling of PSPNet: means of an image's regions at several scales (https://arxiv.org/abs/1612.01105)."""

from collections.abc import Sequence

from keras import layers

from kerasdl.core import checks
from kerasdl.layers import AdaptivePooling2D

from ..convolution import conv_norm_act
from ..detection.levels import upsample_like


def pyramid_pooling(x, bins: Sequence[int] = (1, 2, 3, 6), *, filters: int | None = None, name: str):
    """Pyramid pooling module: the map, and for each scale the means of its bins, projected and resized to the map.

    Source: https://arxiv.org/abs/1612.01105, section 3.2 and figure 3. The mean of the whole map has a bias in place of
    the normalisation, as in segmentation_models: over one place of one image there is nothing to normalise.

    Args:
        x: (B, H, W, C), sides of 2 or more; of free sides the size must be known where the net is traced.
        bins: bins along a side at each scale; bin i of n goes from floor(i * H / n) to ceil((i + 1) * H / n).
        filters: channels of each scale; None takes C // len(bins), as PSPNet does.
        name: prefix of the layer names.

    Returns:
        (B, H, W, C + len(bins) * filters).

    Raises:
        ArgumentError: `filters` is less than 1; a side is 1; or `bins` holds no number, one less than 1, or, without
            filters, more numbers than x has channels.

    Example:
        >>> pyramid_pooling(keras.Input((12, 12, 64)), name="pyramid").shape
        (None, 12, 12, 128)
    """
    share = x.shape[-1] // len(checks.counts("bins", tuple(bins)))
    filters = share if filters is None else checks.at_least("filters", filters, 1)
    if not filters:
        checks.refuse(f"bins must be at most the {x.shape[-1]} channels", tuple(bins))
    if 1 in x.shape[1:3]:
        checks.refuse("a map that is cut into bins must have sides of 2 or more", tuple(x.shape[1:3]))
    scales = [x]
    for count in bins:
        scale = f"{name}_bins{count}"
        pooled = bin_means(x, count, name=f"{scale}_pool")  # (B, count, count, C)
        if count == 1:
            pooled = layers.Conv2D(filters, 1, activation="relu", name=f"{scale}_conv")(pooled)
        else:
            pooled = conv_norm_act(pooled, filters, 1, epsilon=1e-5, name=scale)
        scales.append(upsample_like(pooled, x, interpolation="bilinear", name=f"{scale}_resize"))
    return layers.Concatenate(name=f"{name}_concat")(scales)


def bin_means(x, count: int, *, name: str):
    """Means (B, count, count, C) of the bins of a map; an ordinary pooling where all bins are of one size."""
    sides = x.shape[1:3]
    if count == 1:
        return layers.GlobalAveragePooling2D(keepdims=True, name=name)(x)
    if None in sides or any(side % count for side in sides):
        return AdaptivePooling2D(count, name=name)(x)
    return layers.AveragePooling2D(tuple(side // count for side in sides), name=name)(x)
