"""SSDLite: SSD of depthwise separable convolutions for phones, section 6.2 of MobileNetV2
(https://arxiv.org/abs/1801.04381); over MobileNetV3, section 6.3 of https://arxiv.org/abs/1905.02244.

Deviations: as torchvision, the heads are depthwise with ReLU6 and then 1x1, the default boxes of all levels have the
same ratios, and boxes learn by the smooth absolute difference. Convolutions with stride 2 are padded as TensorFlow pads
them, unless `padding="symmetric"` pads as torchvision does, and batch-norm momentum is 0.9.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from kerasdl.blocks import conv_norm_act, depthwise_norm_act
from kerasdl.core import checks, register

from ..backbones.mobilenet_v3 import HARD_SWISH, LARGE
from ..feature_maps import backbone_features
from .ssd import SSDMethod, check_boxes

# Table 6 of MobileNetV3 and its section 6.3: the last stage has half of its channels.
REDUCED_TAIL = (*LARGE[:12], (5, 672, 80, True, HARD_SWISH, 2), *[(5, 480, 80, True, HARD_SWISH, 1)] * 2)


@dataclass(frozen=True)
class SSDliteMethod(SSDMethod):
    """SSD's method, with default boxes from a fifth of the image on, spread evenly over it."""

    name = "ssdlite"
    overlap = 0.55

    def sides(self, levels: int) -> list[float]:
        return [*np.linspace(0.2, 0.95, levels), 1.0]

    def step(self, side: int, cells: int, stride: int) -> float:
        return side / cells


@register(
    task="object_detection",
    paper="https://arxiv.org/abs/1801.04381",
    variants={"ssdlite320": {}},
    # torchvision counts no batch-norm statistics: mean and variance of each of 16,472 channels are added.
    params={"ssdlite320": 3_440_060 + 32_944},
    reference="torchvision 0.29, ssdlite320_large 91 classes, background one of them, plus statistics",
    weights={"torch": "kerasdl.vision.detector_peers:SSDLITE"},
    tags=("cnn", "mobile", "detector"),
    tiny=dict(
        image_shape=(32, 32, 3),
        backbone_settings={
            "expanded": True,
            "stages": ((3, 24, 16, True, "relu", 2), (3, 32, 16, False, HARD_SWISH, 2), (3, 32, 16, False, "relu", 2)),
        },
        strides=(8, 16),
        last_channels=32,
        extras=(16,),
        boxes=(4, 6, 4),
        classes=3,
    ),
    free={"image_shape": (None, None, 3)},
)
def ssdlite(
    image_shape=(320, 320, 3),
    *,
    classes: int = 90,
    backbone: str = "mobilenet_v3_large",
    backbone_settings: Mapping[str, Any] | None = None,
    strides: Sequence[int] = (16, 32),
    last_channels: int | None = 480,
    extras: Sequence[int] = (512, 256, 256, 128),
    boxes: Sequence[int] = (6,) * 6,
    padding: str = "same",
) -> keras.Model:
    """SSDLite, the object detector for phones: default boxes and separable convolutions.

    Source: https://arxiv.org/abs/1801.04381, section 6.2; https://arxiv.org/abs/1905.02244, section 6.3.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: K, classes without background.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features; None takes, of `mobilenet_v3_large`, the expanded
            maps, half of the channels in the last stage and `padding`, and the settings of any other net.
        strides: maps of the backbone.
        last_channels: of a 1x1 convolution on the coarsest of them, as at the end of the classifier; None has none.
        extras: channels of further levels, each with stride 2.
        boxes: default boxes at each place of each level: two squares, and two for each of the ratios 2, 3, ...
        padding: of convolutions with a stride: `same` as TensorFlow pads, `symmetric` as torchvision does, whose
            weights need it.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to raw heads in float32 of each level with A boxes a place:
        `classes_stride16` (B, H/16, W/16, A * (1 + K)) logits, background first, and `boxes_stride16`
        (B, H/16, W/16, A * 4) offsets from default boxes.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone.

    Example:
        >>> net = ssdlite((320, 320, 3), classes=3, backbone="mobilenet_v2", last_channels=None)
        >>> net.output["boxes_stride512"].shape
        (None, 1, 1, 24)
    """
    checks.at_least("classes", classes, 1)
    checks.one_of("padding", padding, ("same", "symmetric"))
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    if backbone_settings is None and backbone == "mobilenet_v3_large":
        backbone_settings = {"stages": REDUCED_TAIL, "expanded": True, "padding": padding}
    maps = backbone_features(image, backbone, backbone_settings, strides=strides)
    stride, x = strides[-1], maps[f"stride{strides[-1]}"]
    if last_channels is not None:
        x = conv_norm_act(x, checks.at_least("last_channels", last_channels, 1), 1, act=HARD_SWISH, name="last")
        maps[f"stride{stride}"] = x
    for number, channels in enumerate(extras, start=1):
        name, stride = f"extra{number}", 2 * stride
        x = conv_norm_act(x, checks.at_least("extras", channels, 2) // 2, 1, act="relu6", name=f"{name}_squeeze")
        x = depthwise_norm_act(x, stride=2, act="relu6", padding=padding, name=f"{name}_depthwise")
        x = conv_norm_act(x, channels, 1, act="relu6", name=f"{name}_project")
        maps[f"stride{stride}"] = x
    return keras.Model(image, separable_heads(maps, classes, check_boxes(boxes, len(maps))), name="ssdlite")


def separable_heads(maps: Mapping[str, Any], classes: int, boxes: Sequence[int]) -> dict[str, Any]:
    """Heads of each level, a depthwise and a 1x1 convolution to the logits and to the offsets, in float32."""
    heads = {}
    for kind, numbers in (("classes", 1 + classes), ("boxes", 4)):
        for (level, x), count in zip(maps.items(), boxes, strict=True):
            name = f"{kind}_{level}"
            x = depthwise_norm_act(x, act="relu6", name=f"{name}_depthwise")
            heads[name] = layers.Conv2D(count * numbers, 1, dtype="float32", name=name)(x)
    return heads
