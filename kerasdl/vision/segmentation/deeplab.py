"""DeepLab: segmenters with atrous spatial pyramid pooling over a dilated backbone, version 3
(https://arxiv.org/abs/1706.05587) and 3+ with a decoder (https://arxiv.org/abs/1802.02611).

Deviations: version 3 is torchvision's form, whose rates 12, 24, 36 go with an output stride of 8, without multi-grid.
Version 3+ is the form of segmentation_models: one separable convolution stands after the pyramid and one after the
concatenation, where the paper has two after the concatenation. Maps are resized at half-pixel centres. The ResNet is
that of torchvision, where the paper's has separable convolutions and more stages.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers

from kerasdl.blocks import aspp, conv_norm_act, depthwise_separable, fcn_head, resized_logits
from kerasdl.blocks.detection.levels import upsample_like
from kerasdl.core import checks, register

from .dilated_maps import dilated_maps

NARROW = {"width": 0.25, "stages": ((1, 8, 1, 1), (6, 8, 1, 2), (6, 16, 1, 2), (6, 16, 1, 2))}


@register(
    task="semantic_segmentation",
    paper="https://arxiv.org/abs/1706.05587",
    variants={"deeplab_v3": {}},
    # torchvision counts no batch-norm statistics: mean and variance of each of 28,352 channels are added.
    params={"deeplab_v3": 39_638_869 + 56_704},
    reference="torchvision 0.29, deeplabv3_resnet50 with 21 classes, no auxiliary head, plus batch-norm statistics",
    weights={"torch": "kerasdl.vision.segmenter_peers:DEEPLAB_V3"},
    tags=("cnn", "segmenter"),
    tiny=dict(
        image_shape=(32, 32, 3),
        backbone="mobilenet_v2",
        backbone_settings=NARROW,
        strides=(8, 16),
        rates=(1, 2),
        channels=16,
        dropout=0.0,
        classes=3,
    ),
    free={"image_shape": (None, None, 3)},
)
def deeplab_v3(
    image_shape=(520, 520, 3),
    *,
    classes: int = 21,
    backbone: str = "resnet50",
    backbone_settings: Mapping[str, Any] | None = None,
    strides: Sequence[int] = (16, 32),
    output_stride: int = 8,
    rates: Sequence[int] = (12, 24, 36),
    channels: int = 256,
    dropout: float = 0.5,
    auxiliary: bool = False,
) -> keras.Model:
    """DeepLabV3, the segmenter that sees each place at several scales by dilated convolutions.

    Source: https://arxiv.org/abs/1706.05587, section 3 and figure 5.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None, and need not be multiples.
        classes: K, classes with background; 1 for one foreground.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features.
        strides: names of the maps of the auxiliary head and of the pyramid; dilation leaves them as they are.
        output_stride: greatest stride of the backbone, 8 or 16, or 32 for a net that cannot be dilated.
        rates: dilation of each 3x3 branch of the pyramid; the paper halves them for an output stride of 16.
        channels: of each branch and of the last convolution.
        dropout: rate after the pyramid, from 0 to 1.
        auxiliary: whether a second head stands on the finer map, to be learned with less weight.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, H, W, K) in float32; with an auxiliary head to
        `{"logits": ..., "auxiliary": ...}`, both of that shape.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone, it has no map of a stride, or it cannot be dilated.

    Example:
        >>> deeplab_v3((65, 50, 3), classes=3, backbone="resnet18", channels=32).output_shape
        (None, 65, 50, 3)
    """
    checks.within("dropout", dropout, 0.0, 1.0)
    checks.at_least("channels", channels, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    fine, x = dilated_maps(image, backbone, backbone_settings, strides=strides, output_stride=output_stride)
    x = aspp(x, channels, checks.counts("rates", tuple(rates)), dropout=dropout, name="aspp")
    x = conv_norm_act(x, channels, 3, epsilon=1e-5, name="refine")
    logits = resized_logits(x, image, classes)
    if not auxiliary:
        return keras.Model(image, logits, name="deeplab_v3")
    second = fcn_head(fine, image, classes, name="auxiliary")
    return keras.Model(image, {"logits": logits, "auxiliary": second}, name="deeplab_v3")


@register(
    task="semantic_segmentation",
    paper="https://arxiv.org/abs/1802.02611",
    variants={
        "deeplab_v3plus": {},
        "deeplab_v3plus_mobilenet_v2": {"backbone": "mobilenet_v2", "last_channels": 1280},
    },
    # segmentation_models counts no batch-norm statistics: they are added.
    params={"deeplab_v3plus": 26_682_725 + 57_312, "deeplab_v3plus_mobilenet_v2": 4_383_653 + 38_304},
    reference="segmentation_models.pytorch 0.6, DeepLabV3Plus with 21 classes, plus batch-norm statistics",
    tags=("cnn", "segmenter"),
    tiny=dict(
        image_shape=(32, 32, 3),
        backbone="mobilenet_v2",
        backbone_settings=NARROW,
        strides=(2, 16),
        output_stride=8,
        last_channels=None,
        rates=(1, 2),
        channels=16,
        fine_channels=8,
        dropout=0.0,
        classes=3,
    ),
    free={"image_shape": (None, None, 3)},
)
def deeplab_v3plus(
    image_shape=(512, 512, 3),
    *,
    classes: int = 21,
    backbone: str = "resnet50",
    backbone_settings: Mapping[str, Any] | None = None,
    strides: Sequence[int] = (4, 32),
    output_stride: int = 16,
    last_channels: int | None = None,
    rates: Sequence[int] = (6, 12, 18),
    channels: int = 256,
    fine_channels: int = 48,
    dropout: float = 0.5,
) -> keras.Model:
    """DeepLabV3+, the segmenter whose decoder sharpens the borders of DeepLabV3 by a fine map of the backbone.

    Source: https://arxiv.org/abs/1802.02611, section 3 and figure 2.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None, and need not be multiples.
        classes: K, classes with background; 1 for one foreground.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features.
        strides: names of the maps of the decoder and of the pyramid; dilation leaves them as they are.
        output_stride: greatest stride of the backbone, 8 or 16, or 32 for a net that cannot be dilated.
        last_channels: of a 1x1 convolution on the coarser map, as at the end of a MobileNet; None for none.
        rates: dilation of each 3x3 branch of the pyramid; the paper doubles them for an output stride of 8.
        channels: of the pyramid and of the decoder.
        fine_channels: of the fine map, few so that the pyramid has more weight.
        dropout: rate after the pyramid, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, H, W, K) in float32.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone, it has no map of a stride, or it cannot be dilated.

    Example:
        >>> deeplab_v3plus((65, 50, 3), classes=3, backbone="resnet18", channels=32).output_shape
        (None, 65, 50, 3)
    """
    checks.within("dropout", dropout, 0.0, 1.0)
    checks.at_least("channels", channels, 1)
    checks.at_least("fine_channels", fine_channels, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    fine, x = dilated_maps(image, backbone, backbone_settings, strides=strides, output_stride=output_stride)
    if last_channels is not None:
        x = conv_norm_act(x, checks.at_least("last_channels", last_channels, 1), 1, act="relu6", name="last")
    separable = dict(between=False, epsilon=1e-5)
    x = aspp(x, channels, checks.counts("rates", tuple(rates)), separable=True, dropout=dropout, name="aspp")
    x = depthwise_separable(x, channels, 3, name="refine", **separable)
    x = upsample_like(x, fine, interpolation="bilinear", name="upsample")
    fine = conv_norm_act(fine, fine_channels, 1, epsilon=1e-5, name="fine")
    x = layers.Concatenate(name="concat")([x, fine])
    x = depthwise_separable(x, channels, 3, name="decoder", **separable)
    return keras.Model(image, resized_logits(x, image, classes), name="deeplab_v3plus")
