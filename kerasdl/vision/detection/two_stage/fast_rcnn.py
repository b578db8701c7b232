"""Fast R-CNN: one pass over the image, then class and box of each given proposal (https://arxiv.org/abs/1504.08083).

As two networks, so that proposals of any number and origin fit: the first one gives the map of the image, the second
one pools the features of each proposal. Proposals are sliding windows, or those of a search that is passed.

Deviations: proposals of a low overlap are background too, images stand alone in the mean of the loss, and the last
layers are not compressed (section 3.1 of the paper). See `region_heads`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from kerasdl.core import checks, register
from kerasdl.layers import ROIPool
from kerasdl.ops import level_sizes

from ...feature_maps import backbone_features
from .region_heads import region_outputs
from .windows import WindowMethod

PAPER = "https://arxiv.org/abs/1504.08083"


@dataclass(frozen=True)
class FastRCNNMethod(WindowMethod):
    """Sliding windows or searched boxes on one map of the image."""

    name = "fast_rcnn"
    roles = ("model", "box_head")
    overlap = 0.3
    samples: int = 64


@register(
    task="object_detection",
    paper=PAPER,
    variants={"fast_rcnn": {}},
    params={"fast_rcnn": 14_714_688},
    reference="the thirteen convolutions of VGG-16, as keras.applications 3.15.1 without top",
    tags=("cnn", "detector", "two-stage"),
    tiny=dict(
        image_shape=(64, 64, 3),
        backbone_settings={"stages": (1, 1, 1), "channels": (8, 16, 16), "pooled": False},
        stride=4,
    ),
    free={"image_shape": (None, None, 3)},
    partners={"box_head": "fast_rcnn_box_head"},
)
def fast_rcnn(
    image_shape=(608, 800, 3),
    *,
    backbone: str = "vgg16",
    backbone_settings: Mapping[str, Any] | None = None,
    stride: int = 16,
) -> keras.Model:
    """Fast R-CNN's first network: the convolutions of a backbone, computed once for all proposals.

    Source: https://arxiv.org/abs/1504.08083, section 2.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features; None takes VGG's maps before each pooling.
        stride: of the map of the backbone.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to `region_maps_stride16` (B, H/16, W/16, c) in float32.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone.

    Example:
        >>> fast_rcnn((64, 96, 3)).output["region_maps_stride16"].shape
        (None, 4, 6, 512)
    """
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    if backbone_settings is None and backbone.startswith("vgg"):
        backbone_settings = {"pooled": False}
    (x,) = backbone_features(image, backbone, backbone_settings, strides=(stride,)).values()
    name = f"region_maps_stride{stride}"
    x = layers.Activation("linear", dtype="float32", name=name)(x)
    return keras.Model(image, {name: x}, name="fast_rcnn")


@register(
    task="network",
    paper=PAPER,
    variants={"fast_rcnn_box_head": {}},
    exports={
        "int8": "256 steps are too coarse for the edges of proposals",
        "int16x8": "TFLite has no int16 kernel for GREATER, by which proposals find their places",
    },
    params={"fast_rcnn_box_head": 25_088 * 4_096 + 4_096 + 4_097 * 4_096 + 4_097 * 21 * 5},
    reference="section 2.1 of the paper: fc6 and fc7 of VGG-16 over 7x7x512, 21 classes and their offsets",
    tags=("detector", "two-stage"),
    tiny=dict(image_shape=(64, 64, 3), classes=3, stride=4, channels=16, size=3, width=32, proposals=8, dropout=0.0),
    free={"proposals": None},
)
def fast_rcnn_box_head(
    image_shape=(608, 800, 3),
    *,
    classes: int = 20,
    stride: int = 16,
    channels: int = 512,
    size: int = 7,
    width: int = 4096,
    dropout: float = 0.5,
    proposals: int | None = None,
) -> keras.Model:
    """Fast R-CNN's second network: class and box of each proposal, by RoI pooling and two hidden layers.

    Source: https://arxiv.org/abs/1504.08083, section 2.1.

    Args:
        image_shape: of the first network's images; sides must be known.
        classes: K, classes without background.
        stride: of the map.
        channels: of the map.
        size: rows and columns of the features of a proposal.
        width: of both hidden layers.
        dropout: rate after each hidden layer, from 0 to 1.
        proposals: R, proposals of an image; None takes any number.

    Returns:
        A model from `region_maps_stride16` (B, H/16, W/16, channels) and `proposals` (B, R, 4), `xyxy` boxes in pixels,
        to float32 `classes` (B, R, 1 + K), logits with the background first, and `boxes` (B, R, 4 * (1 + K)), offsets
        from the proposal for each; those of the background are unused.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> net = fast_rcnn_box_head((64, 64, 3), classes=3, channels=16, width=32)
        >>> net.output["classes"].shape
        (None, None, 4)
    """
    checks.at_least("classes", classes, 1)
    checks.at_least("width", width, 1)
    checks.within("dropout", dropout, 0.0, 1.0)
    shape = checks.image_shape("image_shape", image_shape)
    if None in shape:
        checks.refuse("image_shape must have known sides, which the pooling needs", shape)
    sides = level_sizes(shape[:2], checks.counts("stride", (stride,)))[0]
    name = f"region_maps_stride{stride}"
    maps, boxes = keras.Input((*sides, channels), name=name), keras.Input((proposals, 4), name="proposals")
    x = ROIPool(size, stride=float(stride), name="pool")([maps, boxes])  # (B, R, size, size, C)
    x = layers.Reshape((-1, size * size * channels), name="flatten")(x)
    for number in (1, 2):
        x = layers.Dense(width, activation="relu", name=f"hidden{number}")(x)
        x = layers.Dropout(dropout, name=f"drop{number}")(x)
    return keras.Model({name: maps, "proposals": boxes}, region_outputs(x, classes), name="fast_rcnn_box_head")
