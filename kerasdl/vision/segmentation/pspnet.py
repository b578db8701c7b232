"""PSPNet: segmenter whose places know the means of regions of the image at several scales
(https://arxiv.org/abs/1612.01105).

Deviations: the form of segmentation_models, a quick one: the pyramid stands on a map of stride 8 of a net without
dilation, the convolution after it is 1x1 and that of the logits 3x3, where the paper has them the other way round. The
paper's net is `pspnet(backbone="resnet50", strides=(16, 32), output_stride=8, auxiliary=True)` but for these kernels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers

from kerasdl.blocks import conv_norm_act, fcn_head, pyramid_pooling, resized_logits
from kerasdl.core import checks, register

from .dilated_maps import dilated_maps


@register(
    task="semantic_segmentation",
    paper="https://arxiv.org/abs/1612.01105",
    variants={"pspnet": {}},
    # segmentation_models has 21,437,985 weights with the last two stages of the ResNet, which its net never runs, and
    # counts no batch-norm statistics.
    params={"pspnet": 21_437_985 - 19_936_768 + 4_416},
    reference="segmentation_models.pytorch 0.6, PSPNet of 1 class, less two unused stages, plus statistics",
    tags=("cnn", "segmenter"),
    tiny=dict(
        image_shape=(48, 48, 3),
        backbone="mobilenet_v2",
        backbone_settings={"width": 0.25, "stages": ((1, 8, 1, 2), (6, 16, 1, 1))},
        strides=(2, 4),
        bins=(1, 2, 3),
        channels=32,
        dropout=0.0,
        classes=3,
    ),
    free={"image_shape": (None, None, 3)},
)
def pspnet(
    image_shape=(480, 480, 3),
    *,
    classes: int = 1,
    backbone: str = "resnet34",
    backbone_settings: Mapping[str, Any] | None = None,
    strides: Sequence[int] = (4, 8),
    output_stride: int = 32,
    bins: Sequence[int] = (1, 2, 3, 6),
    channels: int = 512,
    dropout: float = 0.2,
    auxiliary: bool = False,
) -> keras.Model:
    """PSPNet, the segmenter with a pyramid of means over regions of the image.

    Source: https://arxiv.org/abs/1612.01105, section 3.2 and figure 3.

    Args:
        image_shape: height, width and channels in pixels, which need not be multiples; height and width may be None for
            arrays, whose sides are known, but not for a pipeline of sides that differ.
        classes: K, classes with background; 1 for one foreground.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features.
        strides: names of the maps of the auxiliary head and of the pyramid; dilation leaves them as they are.
        output_stride: greatest stride of the backbone, 8 or 16, or 32 for none dilated.
        bins: bins along a side at each scale of the pyramid.
        channels: of the convolution after the pyramid.
        dropout: rate at which channels are dropped before the logits, from 0 to 1.
        auxiliary: whether a second head stands on the finer map, to be learned with less weight.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, H, W, K) in float32; with an auxiliary head to
        `{"logits": ..., "auxiliary": ...}`, both of that shape.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone, it has no map of a stride, or it cannot be dilated.

    Example:
        >>> pspnet((65, 50, 3), classes=3, backbone="mobilenet_v2").output_shape
        (None, 65, 50, 3)
    """
    checks.within("dropout", dropout, 0.0, 1.0)
    checks.at_least("channels", channels, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    fine, x = dilated_maps(image, backbone, backbone_settings, strides=strides, output_stride=output_stride)
    x = pyramid_pooling(x, bins, name="pyramid")
    x = conv_norm_act(x, channels, 1, epsilon=1e-5, name="project")
    x = layers.SpatialDropout2D(dropout, name="drop")(x) if dropout else x
    logits = resized_logits(x, image, classes, kernel=3)
    if not auxiliary:
        return keras.Model(image, logits, name="pspnet")
    second = fcn_head(fine, image, classes, name="auxiliary")
    return keras.Model(image, {"logits": logits, "auxiliary": second}, name="pspnet")
