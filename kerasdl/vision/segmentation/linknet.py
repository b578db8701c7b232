"""LinkNet: quick segmenter whose narrow decoder adds the encoder's maps (https://arxiv.org/abs/1707.03718).

Deviations: the form of segmentation_models, in which five blocks of the decoder are alike, over any backbone; the
paper's, over ResNet-18, ends in two transposed convolutions and one convolution of its own. Sides that were rounded up
are cut.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers

from kerasdl.blocks import conv_norm_act
from kerasdl.blocks.convolution import MOMENTUM
from kerasdl.blocks.detection.levels import check_levels, upsample_like
from kerasdl.core import checks, register

from ..feature_maps import backbone_features
from .unet import STRIDES, pixel_logits


@register(
    task="semantic_segmentation",
    paper="https://arxiv.org/abs/1707.03718",
    variants={"linknet": {}},
    # The reference counts no batch-norm statistics: 19,136 are added.
    params={"linknet": 21_771_937 + 19_136},
    reference="segmentation_models_pytorch 0.6.0, Linknet('resnet34') with 1 class, plus batch-norm statistics",
    weights={"torch": "kerasdl.vision.segmenter_peers:LINKNET"},
    tags=("cnn", "segmenter", "mobile"),
    tiny=dict(
        image_shape=(64, 64, 3),
        backbone="mobilenet_v2",
        backbone_settings={"width": 0.25, "stages": ((1, 8, 1, 1), (6, 8, 1, 2), (6, 16, 1, 2))},
        strides=(2, 4, 8),
        channels=8,
        classes=3,
    ),
    free={"image_shape": (None, None, 3)},
)
def linknet(
    image_shape=(256, 256, 3),
    *,
    classes: int = 1,
    backbone: str = "resnet34",
    backbone_settings: Mapping[str, Any] | None = None,
    strides: Sequence[int] = STRIDES,
    channels: int = 32,
) -> keras.Model:
    """LinkNet, the quick segmenter whose decoder adds the maps of its encoder.

    Source: https://arxiv.org/abs/1707.03718, section 3, figures 1 and 2.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None, and need not be multiples.
        classes: K, classes with background; 1 for one foreground.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features.
        strides: maps of the backbone, fine to coarse, each twice the one before and the first 2.
        channels: of the last block, before the logits.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, H, W, K) in float32.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone, or it has no map of a stride.

    Example:
        >>> linknet((64, 50, 3), classes=3, backbone="mobilenet_v2").output_shape
        (None, 64, 50, 3)
    """
    checks.at_least("channels", channels, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    maps = backbone_features(image, backbone, backbone_settings, strides=strides)
    if check_levels(maps)[0] != 2:
        checks.refuse("strides must begin at 2, since the last block doubles the sides", tuple(strides))
    *finer, x = maps.values()
    for level, skip in reversed(list(enumerate(finer, start=2))):
        x = linknet_decoder(x, skip, skip.shape[-1], name=f"decoder{level}")
        x = layers.Add(name=f"decoder{level}_add")([x, skip])
    x = linknet_decoder(x, image, channels, name="decoder1")
    return keras.Model(image, pixel_logits(x, classes), name="linknet")


def linknet_decoder(x, like, filters: int, *, name: str):
    """1x1 convolution to a quarter of the channels, a transposed one that doubles the sides, and 1x1 to `filters`."""
    narrow = max(1, x.shape[-1] // 4)
    x = conv_norm_act(x, narrow, 1, epsilon=1e-5, name=f"{name}_reduce")
    x = layers.Conv2DTranspose(narrow, 4, strides=2, padding="same", name=f"{name}_up_conv")(x)
    x = layers.BatchNormalization(epsilon=1e-5, momentum=MOMENTUM, name=f"{name}_up_bn")(x)
    x = layers.ReLU(name=f"{name}_up_relu")(x)
    x = conv_norm_act(x, filters, 1, epsilon=1e-5, name=f"{name}_expand")
    return upsample_like(x, like, name=f"{name}_resize")
