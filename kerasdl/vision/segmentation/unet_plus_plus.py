"""U-Net++: skip connections of many decoder blocks, from near maps to far ones (https://arxiv.org/abs/1807.10165).

Deviations: the form of segmentation_models, over any backbone. Each block of the grid has the channels of the encoder's
map beside it, and those on the way to the logits have U-Net's; one head stands at the end, where the paper can learn
the mean of four. Coarser maps are resized by nearest neighbours.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerasdl.blocks import skip_decoder
from kerasdl.blocks.detection.levels import check_levels
from kerasdl.core import checks, register

from ..feature_maps import backbone_features
from .unet import CHANNELS, STRIDES, check_decoder, pixel_logits


@register(
    task="semantic_segmentation",
    paper="https://arxiv.org/abs/1807.10165",
    variants={"unet_plus_plus": {}},
    # The reference counts no batch-norm statistics: 20,800 are added.
    params={"unet_plus_plus": 26_078_609 + 20_800},
    reference="segmentation_models_pytorch 0.6.0, UnetPlusPlus('resnet34') with 1 class, plus batch-norm statistics",
    weights={"torch": "kerasdl.vision.segmenter_peers:UNET_PLUS_PLUS"},
    tags=("cnn", "segmenter"),
    tiny=dict(
        image_shape=(64, 64, 3),
        backbone="mobilenet_v2",
        backbone_settings={"width": 0.25, "stages": ((1, 8, 1, 1), (6, 8, 1, 2), (6, 16, 1, 2))},
        strides=(2, 4, 8),
        channels=(16, 8, 8),
        classes=3,
    ),
    free={"image_shape": (None, None, 3)},
)
def unet_plus_plus(
    image_shape=(256, 256, 3),
    *,
    classes: int = 1,
    backbone: str = "resnet34",
    backbone_settings: Mapping[str, Any] | None = None,
    strides: Sequence[int] = STRIDES,
    channels: Sequence[int] = CHANNELS,
    up: str = "resize",
) -> keras.Model:
    """U-Net++, the U-Net whose skip connections are grids of decoder blocks.

    Source: https://arxiv.org/abs/1807.10165, section 3 and figure 1.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None, and need not be multiples.
        classes: K, classes with background; 1 for one foreground.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features.
        strides: two or more maps of the backbone, fine to coarse, each twice the one before.
        channels: of the last block of each level from coarse to fine, one for each map.
        up: `resize`, nearest neighbours, or `transpose`, transposed convolutions.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, H, W, K) in float32.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone, or it has no map of a stride.

    Example:
        >>> unet_plus_plus((64, 50, 3), classes=3, backbone="mobilenet_v2").output_shape
        (None, 64, 50, 3)
    """
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    maps = backbone_features(image, backbone, backbone_settings, strides=strides)
    check_levels(maps, least=2)
    of_level = dict(zip(range(len(maps), 0, -1), check_decoder(channels, len(maps)), strict=True))
    # grid[level] holds X(level, 0), the encoder's map of a level from 1, the finest, and the blocks to its right.
    grid = {level: [each] for level, each in enumerate(maps.values(), start=1)}
    for column in range(1, len(maps)):
        for level in range(1, len(maps) - column + 1):
            first = grid[level][0]
            is_last = column == len(maps) - level
            x = skip_decoder(
                grid[level + 1][column - 1],
                first,
                of_level[level + 1] if is_last else first.shape[-1],
                skips=[*reversed(grid[level][1:]), first],
                up=up,
                name=f"x{level}_{column}",
            )
            grid[level].append(x)
    x = skip_decoder(grid[1][-1], image, of_level[1], up=up, factor=strides[0], name="decoder1")
    return keras.Model(image, pixel_logits(x, classes, kernel=3), name="unet_plus_plus")
