"""Faster R-CNN with a feature pyramid: a network that proposes regions, and a head that classifies each
(https://arxiv.org/abs/1506.01497; the pyramid, https://arxiv.org/abs/1612.03144, section 4).

The first network gives the pyramid and, at each of its places, proposals; the second one takes the pyramid and any
proposals. `FasterRCNN` trains both together, end to end.

Deviations: as torchvision, proposals teach nothing through their coordinates, both losses of boxes turn at 1/9, and the
anchors' edges are rounded to pixels. See `region_proposals` and `region_heads`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import layers

from kerasdl.blocks import fpn
from kerasdl.core import checks, register
from kerasdl.layers import MultiScaleROIAlign
from kerasdl.ops import level_sizes

from ...feature_maps import backbone_features
from ..shared_heads import shared_output, shared_tower
from .region_heads import RegionMethod, region_outputs
from .region_proposals import RATIOS, ProposalMethod

PAPER = "https://arxiv.org/abs/1506.01497"


@dataclass(frozen=True)
class FasterRCNNMethod(RegionMethod):
    """Proposals of a network of its own, then classes and boxes of the proposals."""

    name = "faster_rcnn"
    loss_names = ("objectness", "offsets", "classes", "boxes")
    roles = ("model", "box_head")
    rpn: ProposalMethod = field(default_factory=ProposalMethod)
    """Anchors, targets and loss of the first network."""


@register(
    task="object_detection",
    paper=PAPER,
    variants={"faster_rcnn": {}},
    # torchvision's 41,755,286 less the 14,362,055 of the box head; torchvision counts no batch norm: 2 trained and 2
    # measured numbers of each of 26,560 channels are added.
    params={"faster_rcnn": 41_755_286 - 14_362_055 + 106_240},
    reference="torchvision 0.28, fasterrcnn_resnet50_fpn without its box head, plus batch norm",
    weights={"torch": "kerasdl.vision.detector_peers:FASTER_RCNN"},
    tags=("cnn", "detector", "two-stage"),
    tiny=dict(
        image_shape=(64, 64, 3),
        backbone="mobilenet_v2",
        backbone_settings={"width": 0.25, "stages": ((1, 8, 1, 1), (6, 8, 1, 2), (6, 16, 1, 2))},
        strides=(4, 8),
        channels=16,
    ),
    free={"image_shape": (None, None, 3)},
    partners={"box_head": "faster_rcnn_box_head"},
)
def faster_rcnn(
    image_shape=(800, 800, 3),
    *,
    backbone: str = "resnet50",
    backbone_settings: Mapping[str, Any] | None = None,
    strides: Sequence[int] = (4, 8, 16, 32),
    channels: int = 256,
) -> keras.Model:
    """Faster R-CNN's first network: backbone, feature pyramid and region proposals of the two-stage detector.

    Source: https://arxiv.org/abs/1506.01497, section 3.1; https://arxiv.org/abs/1612.03144, section 4.1.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features.
        strides: maps of the backbone that the pyramid takes; one coarser level of proposals is added.
        channels: of the pyramid.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to float32 maps of each level: `objectness_stride4`
        (B, H/4, W/4, 3) logits and `offsets_stride4` (B, H/4, W/4, 3 * 4) from anchors, and for the box head
        `region_maps_stride4` (B, H/4, W/4, channels), which the coarsest level does not have.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone.

    Example:
        >>> net = faster_rcnn((64, 64, 3), backbone="mobilenet_v2", channels=32)
        >>> net.output["offsets_stride64"].shape, net.output["region_maps_stride32"].shape
        ((None, 1, 1, 12), (None, 2, 2, 32))
    """
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    maps = fpn(backbone_features(image, backbone, backbone_settings, strides=strides), channels, extra="pool")
    of_anchors = shared_tower(maps, channels, 1, name="proposals_tower")
    outputs = {
        **shared_output(of_anchors, len(RATIOS), kernel=1, name="objectness"),
        **shared_output(of_anchors, 4 * len(RATIOS), kernel=1, name="offsets"),
    }
    for stride in strides:
        name = f"region_maps_stride{stride}"
        outputs[name] = layers.Activation("linear", dtype="float32", name=name)(maps[f"stride{stride}"])
    return keras.Model(image, outputs, name="faster_rcnn")


@register(
    task="network",
    paper=PAPER,
    variants={"faster_rcnn_box_head": {}},
    exports={"int16x8": "TFLite has no int16 kernel for LESS, by which proposals find their level"},
    params={"faster_rcnn_box_head": 14_362_055},
    reference="torchvision 0.28, roi_heads of fasterrcnn_resnet50_fpn, with 90 classes and the background",
    weights={"torch": "kerasdl.vision.detector_peers:FASTER_RCNN_BOX_HEAD"},
    tags=("detector", "two-stage"),
    tiny=dict(image_shape=(64, 64, 3), classes=3, strides=(4, 8), channels=16, size=3, width=32, proposals=8),
    free={"image_shape": (None, None, 3), "proposals": None},
)
def faster_rcnn_box_head(
    image_shape=(None, None, 3),
    *,
    classes: int = 90,
    strides: Sequence[int] = (4, 8, 16, 32),
    channels: int = 256,
    size: int = 7,
    width: int = 1024,
    proposals: int | None = None,
) -> keras.Model:
    """Faster R-CNN's second network: class and box of proposals, from the features of each on its pyramid level.

    Source: https://arxiv.org/abs/1612.03144, section 4.2; https://arxiv.org/abs/1504.08083, section 2.1.

    Args:
        image_shape: of the first network's images; height and width may be None, which fits every one.
        classes: K, classes without background.
        strides: of the maps, as the first network has them.
        channels: of the maps.
        size: rows and columns of the features of a proposal.
        width: of both hidden layers.
        proposals: R, proposals of an image; None takes any number.

    Returns:
        A model from a dict of `region_maps_stride4` (B, H/4, W/4, channels) and so on, and `proposals` (B, R, 4),
        `xyxy` boxes in pixels, to float32 `classes` (B, R, 1 + K), logits with the background first, and `boxes`
        (B, R, 4 * (1 + K)), offsets from the proposal for each; those of the background are unused.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> net = faster_rcnn_box_head(classes=3, channels=16, width=64)
        >>> net.output["classes"].shape, net.output["boxes"].shape
        ((None, None, 4), (None, None, 16))
    """
    checks.at_least("classes", classes, 1)
    checks.at_least("width", width, 1)
    inputs = map_inputs(image_shape, strides, channels)
    inputs["proposals"] = keras.Input((proposals, 4), name="proposals")
    x = MultiScaleROIAlign(size, strides=tuple(strides), name="align")(list(inputs.values()))  # (B, R, size, size, C)
    x = layers.Reshape((-1, size * size * channels), name="flatten")(x)
    for number in (1, 2):
        x = layers.Dense(width, activation="relu", name=f"hidden{number}")(x)
    return keras.Model(inputs, region_outputs(x, classes), name="faster_rcnn_box_head")


def map_inputs(image_shape: Sequence[int | None], strides: Sequence[int], channels: int) -> dict[str, Any]:
    """Returns inputs for the maps of the first network, by name; sides of images may be None.

    Args:
        image_shape: height, width and channels of the images.
        strides: of the maps.
        channels: of the maps.

    Raises:
        ArgumentError: an argument breaks its rule.
    """
    *sides, _ = checks.image_shape("image_shape", image_shape)
    inputs = {}
    for stride in checks.counts("strides", tuple(strides)):
        rows, columns = (None if side is None else level_sizes((side, side), (stride,))[0][0] for side in sides)
        name = f"region_maps_stride{stride}"
        inputs[name] = keras.Input((rows, columns, channels), name=name)
    return inputs
