"""LR-ASPP: segmenter for phones, a gated coarse map and a fine one over a dilated MobileNetV3, section 6.4 of
https://arxiv.org/abs/1905.02244.

Deviations: as torchvision, the gate is computed from the mean of the whole map, where the paper's pooling has windows
of 49 pixels, and the last stage has all of its channels. Convolutions with stride 2 are padded as TensorFlow pads them,
unless `padding="symmetric"` pads as torchvision does, and batch-norm momentum is 0.9.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers

from kerasdl.blocks import conv_norm_act
from kerasdl.blocks.detection.levels import upsample_like
from kerasdl.core import checks, register

from ..backbones.mobilenet_v3 import HARD_SWISH
from .dilated_maps import dilated_maps


@register(
    task="semantic_segmentation",
    paper="https://arxiv.org/abs/1905.02244",
    variants={"lraspp": {}},
    # torchvision counts no batch-norm statistics: mean and variance of each of 12,328 channels are added.
    params={"lraspp": 3_221_538 + 24_656},
    reference="torchvision 0.29, lraspp_mobilenet_v3_large with 21 classes, plus batch-norm statistics",
    weights={"torch": "kerasdl.vision.segmenter_peers:LRASPP"},
    tags=("cnn", "mobile", "segmenter"),
    tiny=dict(
        image_shape=(32, 32, 3),
        backbone_settings={
            "stages": ((3, 16, 8, False, "relu", 2), (5, 24, 16, True, HARD_SWISH, 2), (3, 32, 16, False, "relu", 2)),
            "first": True,
        },
        strides=(4, 16),
        output_stride=8,
        last_channels=32,
        channels=16,
        classes=3,
    ),
    free={"image_shape": (None, None, 3)},
)
def lraspp(
    image_shape=(520, 520, 3),
    *,
    classes: int = 21,
    backbone: str = "mobilenet_v3_large",
    backbone_settings: Mapping[str, Any] | None = None,
    strides: Sequence[int] = (8, 32),
    output_stride: int = 16,
    last_channels: int | None = 960,
    channels: int = 128,
    padding: str = "same",
) -> keras.Model:
    """LR-ASPP, the segmenter for phones: a coarse map with a gate from its mean, and a fine map beside it.

    Source: https://arxiv.org/abs/1905.02244, section 6.4 and figure 10.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None, and need not be multiples.
        classes: K, classes with background; 1 for one foreground.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features; None takes, of a MobileNetV3, the first map of each
            stride and `padding`, and the settings of any other net.
        strides: names of the fine and of the coarse map; dilation leaves them as they are.
        output_stride: greatest stride of the backbone, 8 or 16, or 32 for a net that cannot be dilated.
        last_channels: of a 1x1 convolution on the coarse map, as at the end of the classifier; None has none.
        channels: of the coarse map that is gated.
        padding: of convolutions with a stride: `same` as TensorFlow pads, `symmetric` as torchvision does, whose
            weights need it.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, H, W, K) in float32.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone, it has no map of a stride, or it cannot be dilated.

    Example:
        >>> lraspp((65, 50, 3), classes=3, backbone="mobilenet_v2", last_channels=None).output_shape
        (None, 65, 50, 3)
    """
    checks.at_least("classes", classes, 1)
    checks.at_least("channels", channels, 1)
    checks.one_of("padding", padding, ("same", "symmetric"))
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    if backbone_settings is None and backbone.startswith("mobilenet_v3"):
        backbone_settings = {"first": True, "padding": padding}
    fine, x = dilated_maps(image, backbone, backbone_settings, strides=strides, output_stride=output_stride)
    if last_channels is not None:
        x = conv_norm_act(x, checks.at_least("last_channels", last_channels, 1), 1, act=HARD_SWISH, name="last")
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="gate_pool")(x)  # (B, 1, 1, C)
    gate = layers.Conv2D(channels, 1, use_bias=False, name="gate_conv")(gate)
    gate = layers.Activation("sigmoid", name="gate_sigmoid")(gate)
    x = conv_norm_act(x, channels, 1, epsilon=1e-5, name="project")
    x = layers.Multiply(name="gated")([x, gate])
    x = upsample_like(x, fine, interpolation="bilinear", name="upsample")
    x = layers.Conv2D(classes, 1, dtype="float32", name="coarse_logits")(x)
    fine = layers.Conv2D(classes, 1, dtype="float32", name="fine_logits")(fine)
    x = layers.Add(dtype="float32", name="logits")([fine, x])
    x = upsample_like(x, image, interpolation="bilinear", dtype="float32", name="logits_resize")
    return keras.Model(image, x, name="lraspp")
