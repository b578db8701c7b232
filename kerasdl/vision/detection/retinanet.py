"""RetinaNet: dense detector with anchors, trained by the focal loss (https://arxiv.org/abs/1708.02002).

Deviations: as torchvision, P6 is made of P5 and not of C5, anchors stand on the corners of their cells with edges
rounded to pixels, and boxes learn by the absolute difference. The loss of an image is divided by its positives, and
then averaged over images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from kerasdl.blocks import fpn
from kerasdl.core import checks, register
from kerasdl.losses import SigmoidFocal
from kerasdl.ops import anchor_boxes, decode_offsets, encode_offsets, match_by_overlap, pairwise_overlaps, retina_sides

from ..feature_maps import backbone_features
from .method import Heads, Method, Size, TrueBatch, class_targets, flattened, ignored, map_sizes, of_matched, strides_of
from .shared_heads import PRIOR, shared_output, shared_tower

RATIOS = (0.5, 1.0, 2.0)
OCTAVES = 3


class RetinaTargets(NamedTuple):
    """Targets of all anchors of a batch."""

    classes: Any
    """(B, A, K), 1 for the class of a positive anchor."""
    offsets: Any
    """(B, A, 4) of the matched box."""
    positive: Any
    """(B, A), 1 for positive anchors."""
    counts: Any
    """(B, A), 0 for anchors that teach nothing."""


@dataclass(frozen=True)
class RetinaMethod(Method):
    """Anchors matched by IoU, focal loss of independent classes, offsets of boxes."""

    name = "retinanet"
    loss_names = ("classes", "boxes")
    overlap = 0.5
    scale: float = 4.0
    """Side of the smallest anchor of a level, in strides."""
    positive: float = 0.5
    """IoU from which on an anchor is positive."""
    negative: float = 0.4
    """IoU below which an anchor is background."""

    def anchors(self, heads: Heads) -> np.ndarray:
        """Returns the (A, 4) anchors of all levels."""
        strides = strides_of(heads, "classes")
        sides = [[int(side) for side in level] for level in retina_sides(strides, scale=self.scale, octaves=OCTAVES)]
        return anchor_boxes(map_sizes(heads, "classes"), strides, sides, RATIOS, offset=0.0, rounded=True)

    def assign(self, heads: Heads, truth: TrueBatch, size: Size) -> tuple[Any, Any]:
        anchors = self.anchors(heads)
        overlaps = pairwise_overlaps(anchors, truth.boxes)  # (B, A, M)
        matches = match_by_overlap(overlaps, truth.valid, positive=self.positive, negative=self.negative)
        return anchors, ignored(matches, anchors, truth)

    def targets(self, heads: Heads, truth: TrueBatch, size: Size) -> RetinaTargets:
        anchors, matches = self.assign(heads, truth, size)
        positive = ops.cast(matches >= 0, "float32")
        return RetinaTargets(
            class_targets(matches, truth.classes, number_of_classes(heads, OCTAVES * len(RATIOS))),
            encode_offsets(of_matched(truth.boxes, matches), anchors) * positive[..., None],
            positive,
            ops.cast(matches >= -1, "float32"),
        )

    def loss(self, heads: Heads, targets: RetinaTargets, size: Size) -> dict[str, Any]:
        logits = flattened(heads, "classes", targets.classes.shape[-1])
        focal = SigmoidFocal(reduction=None)(targets.classes, logits)  # (B, A)
        gaps = ops.sum(ops.abs(flattened(heads, "boxes", 4) - targets.offsets), axis=-1)
        number = ops.maximum(ops.sum(targets.positive, axis=-1), 1.0)
        return {
            "classes": ops.sum(focal * targets.counts, axis=-1) / number,
            "boxes": ops.sum(gaps * targets.positive, axis=-1) / number,
        }

    def decode(self, heads: Heads, size: Size) -> tuple[Any, Any]:
        logits = flattened(heads, "classes", number_of_classes(heads, OCTAVES * len(RATIOS)))
        return decode_offsets(flattened(heads, "boxes", 4), self.anchors(heads)), ops.sigmoid(logits)


def number_of_classes(heads: Heads, boxes: int) -> int:
    """Returns the number of classes K of heads `classes` (B, h, w, boxes * K)."""
    return heads[f"classes_stride{strides_of(heads, 'classes')[0]}"].shape[-1] // boxes


@register(
    task="object_detection",
    paper="https://arxiv.org/abs/1708.02002",
    variants={"retinanet": {}},
    # torchvision counts no batch norm: 2 trained and 2 measured numbers of each of 26,560 channels are added.
    params={"retinanet": 34_014_999 + 106_240},
    reference="torchvision 0.28, retinanet_resnet50_fpn with 91 classes, plus batch norm",
    weights={"torch": "kerasdl.vision.detector_peers:RETINANET"},
    tags=("cnn", "detector"),
    tiny=dict(
        image_shape=(64, 64, 3),
        backbone="mobilenet_v2",
        backbone_settings={"width": 0.25, "stages": ((1, 8, 1, 1), (6, 8, 1, 2), (6, 16, 1, 2))},
        strides=(4, 8),
        channels=16,
        depth=1,
        classes=3,
    ),
    free={"image_shape": (None, None, 3)},
)
def retinanet(
    image_shape=(800, 800, 3),
    *,
    classes: int = 91,
    backbone: str = "resnet50",
    backbone_settings: Mapping[str, Any] | None = None,
    strides: Sequence[int] = (8, 16, 32),
    extra: str | None = "output",
    channels: int = 256,
    groups: int | None = None,
    depth: int = 4,
) -> keras.Model:
    """RetinaNet, the dense object detector with nine anchors at each place of a feature pyramid.

    Source: https://arxiv.org/abs/1708.02002, section 4.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: K, classes without background.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features.
        strides: maps of the backbone that the pyramid takes.
        extra: coarser levels, as in `kerasdl.blocks.fpn`: two of the pyramid (`output`) or of the backbone (`input`),
            one by pooling (`pool`), or None.
        channels: of the pyramid and of both heads.
        groups: of a group normalisation after each convolution of both heads, as in torchvision's second form; None
            normalises nothing. Narrow heads learn slowly without it.
        depth: convolutions of each head before its last.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to raw heads in float32 of each level: `classes_stride8`
        (B, H/8, W/8, 9 * K) logits, and `boxes_stride8` (B, H/8, W/8, 9 * 4) offsets from anchors.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone.

    Example:
        >>> net = retinanet((64, 64, 3), classes=3, backbone="mobilenet_v2", channels=32)
        >>> net.output["classes_stride8"].shape
        (None, 8, 8, 27)
    """
    checks.at_least("classes", classes, 1)
    checks.at_least("depth", depth, 0)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    maps = backbone_features(image, backbone, backbone_settings, strides=strides)
    maps = fpn(maps, channels, extra=extra, name="fpn")
    boxes = OCTAVES * len(RATIOS)
    of_classes = shared_tower(maps, channels, depth, groups=groups, name="classes_tower")
    of_boxes = shared_tower(maps, channels, depth, groups=groups, name="boxes_tower")
    heads = {
        **shared_output(of_classes, boxes * classes, prior=PRIOR, name="classes"),
        **shared_output(of_boxes, boxes * 4, name="boxes"),
    }
    return keras.Model(image, heads, name="retinanet")
