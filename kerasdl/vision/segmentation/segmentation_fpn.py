"""Semantic FPN: feature pyramid whose levels are brought to one size and added (https://arxiv.org/abs/1901.02446).

The semantic half of panoptic FPN, a segmenter by itself. Deviations: none in the branch; the usual backbone here is
ResNet-34, the paper's are ResNet-50 and 101.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers

from kerasdl.blocks import fpn, resized_logits, semantic_branch
from kerasdl.core import checks, register

from ..feature_maps import backbone_features


@register(
    task="semantic_segmentation",
    paper="https://arxiv.org/abs/1901.02446",
    variants={"segmentation_fpn": {}},
    # segmentation_models has no 3x3 convolutions of the pyramid's levels, and counts no batch-norm statistics.
    params={"segmentation_fpn": 23_155_393 + 4 * (9 * 256 * 256 + 256) + 17_024},
    reference="segmentation_models_pytorch 0.6.0, FPN('resnet34') with 1 class, plus the pyramid's last convolutions "
    "and batch-norm statistics",
    tags=("cnn", "segmenter"),
    tiny=dict(
        image_shape=(32, 32, 3),
        backbone="mobilenet_v2",
        backbone_settings={"width": 0.25, "stages": ((1, 8, 1, 1), (6, 8, 1, 2), (6, 16, 1, 2))},
        strides=(2, 4, 8),
        channels=16,
        branch_channels=8,
        groups=4,
        classes=3,
    ),
    free={"image_shape": (None, None, 3)},
)
def segmentation_fpn(
    image_shape=(256, 256, 3),
    *,
    classes: int = 1,
    backbone: str = "resnet34",
    backbone_settings: Mapping[str, Any] | None = None,
    strides: Sequence[int] = (4, 8, 16, 32),
    channels: int = 256,
    branch_channels: int = 128,
    groups: int = 32,
    dropout: float = 0.0,
) -> keras.Model:
    """Semantic FPN, the light segmenter over the feature pyramid that detectors have.

    Source: https://arxiv.org/abs/1901.02446, section 3.1 and figure 3.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None, and need not be multiples.
        classes: K, classes with background; 1 for one foreground.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features.
        strides: maps of the backbone, fine to coarse, each twice the one before.
        channels: of the pyramid.
        branch_channels: of the branch behind it.
        groups: of the group normalisation in the branch.
        dropout: rate at which channels are dropped before the logits, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, H, W, K) in float32, resized bilinearly from the
        finest level.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone, or it has no map of a stride.

    Example:
        >>> segmentation_fpn((64, 50, 3), classes=3, backbone="mobilenet_v2").output_shape
        (None, 64, 50, 3)
    """
    checks.within("dropout", dropout, 0.0, 1.0)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    levels = fpn(backbone_features(image, backbone, backbone_settings, strides=strides), channels, name="fpn")
    x = semantic_branch(levels, branch_channels, groups=groups)
    x = layers.SpatialDropout2D(dropout, name="drop")(x) if dropout else x
    return keras.Model(image, resized_logits(x, image, classes), name="segmentation_fpn")
