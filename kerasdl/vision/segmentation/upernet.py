"""UPerNet: feature pyramid with pyramid pooling at its top, all levels joined for each pixel (arXiv:1807.10221).

The segmenter of scenes of "Unified perceptual parsing", often put over new backbones. Deviations: the parsing of parts,
materials and textures is left out, the mean of the whole map has a bias in place of the normalisation, and dropout is
off by default.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers

from kerasdl.blocks import conv_norm_act, pyramid_pooling, resized_logits
from kerasdl.blocks.detection.levels import check_levels, upsample_like
from kerasdl.core import checks, register

from ..feature_maps import backbone_features


@register(
    task="semantic_segmentation",
    paper="https://arxiv.org/abs/1807.10221",
    variants={"upernet": {}},
    # segmentation_models also normalises the maps of the backbone, 2 * 960 weights, and the mean of the whole map, one
    # weight more for each of its 256 channels; it counts no batch-norm statistics.
    params={"upernet": 29_599_681 - 1_920 - 256 + 22_656},
    reference="segmentation_models_pytorch 0.6.0, UPerNet('resnet34') with 1 class, less its layer norms of the "
    "backbone's maps and the norm of one bin, plus batch-norm statistics",
    tags=("cnn", "segmenter"),
    tiny=dict(
        image_shape=(48, 48, 3),
        backbone="mobilenet_v2",
        backbone_settings={"width": 0.25, "stages": ((1, 8, 1, 1), (6, 8, 1, 2), (6, 16, 1, 2))},
        strides=(2, 4, 8),
        channels=8,
        bins=(1, 2, 3),
        classes=3,
    ),
    free={"image_shape": (None, None, 3)},
)
def upernet(
    image_shape=(512, 512, 3),
    *,
    classes: int = 1,
    backbone: str = "resnet34",
    backbone_settings: Mapping[str, Any] | None = None,
    strides: Sequence[int] = (4, 8, 16, 32),
    channels: int = 256,
    bins: Sequence[int] = (1, 2, 3, 6),
    dropout: float = 0.0,
) -> keras.Model:
    """UPerNet, the segmenter of scenes over a feature pyramid and the means of regions.

    Source: https://arxiv.org/abs/1807.10221, section 3.1 and figure 4. The paper's own net of scenes has
    `backbone="resnet50", channels=512, dropout=0.1`.

    Args:
        image_shape: height, width and channels in pixels, which need not be multiples; height and width may be None for
            arrays, whose sides are known, but not for a pipeline of sides that differ.
        classes: K, classes with background; 1 for one foreground.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features.
        strides: maps of the backbone, fine to coarse, each twice the one before.
        channels: of the pyramid, and of each scale of the means.
        bins: bins along a side at each scale of the coarsest map.
        dropout: rate at which channels are dropped before the logits, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, H, W, K) in float32, resized bilinearly from the
        finest level.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone, or it has no map of a stride.

    Example:
        >>> upernet((64, 50, 3), classes=3, backbone="mobilenet_v2").output_shape
        (None, 64, 50, 3)
    """
    checks.within("dropout", dropout, 0.0, 1.0)
    checks.at_least("channels", channels, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    maps = backbone_features(image, backbone, backbone_settings, strides=strides)
    x = fused_levels(maps, channels, bins, name="pyramid")
    x = layers.SpatialDropout2D(dropout, name="drop")(x) if dropout else x
    return keras.Model(image, resized_logits(x, image, classes), name="upernet")


def fused_levels(features: Mapping[str, Any], channels: int, bins: Sequence[int], *, name: str):
    """Feature pyramid of normalised convolutions, whose top has the means of regions, joined at the finest level.

    Args:
        features: `{"stride4": (B, H/4, W/4, c), ...}`, fine to coarse, of two levels or more.
        channels: of every level.
        bins: as in `kerasdl.blocks.pyramid_pooling`.
        name: prefix of the layer names.

    Returns:
        (B, H/4, W/4, channels), of the sides of the finest level.

    Raises:
        ArgumentError: the levels break their order, or `bins` break their rule.
    """
    check_levels(dict(features), least=2)
    (top, x), *others = reversed(features.items())
    x = pyramid_pooling(x, bins, filters=channels, name=f"{name}_{top}")
    x = conv_norm_act(x, channels, 3, epsilon=1e-5, name=f"{name}_{top}_bottleneck")
    levels = [x]
    for key, each in others:
        lateral = conv_norm_act(each, channels, 1, epsilon=1e-5, name=f"{name}_{key}_lateral")
        x = upsample_like(x, lateral, interpolation="bilinear", name=f"{name}_{key}_upsample")
        x = layers.Add(name=f"{name}_{key}_add")([lateral, x])
        levels.append(conv_norm_act(x, channels, 3, epsilon=1e-5, name=f"{name}_{key}_output"))
    finest, keys = levels[-1], [top, *(key for key, _ in others)]
    resized = [
        upsample_like(each, finest, interpolation="bilinear", name=f"{name}_{key}_resize")
        for key, each in zip(keys, levels[:-1], strict=False)
    ]
    x = layers.Concatenate(name=f"{name}_concat")([finest, *resized[::-1]])  # fine to coarse
    return conv_norm_act(x, channels, 3, epsilon=1e-5, name=f"{name}_fuse")
