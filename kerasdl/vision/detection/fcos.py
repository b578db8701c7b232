"""FCOS: dense detector without anchors, each place of a box tells the distances of its edges
(https://arxiv.org/abs/1904.01355).

Deviations: as torchvision, P6 is made of P5, distances are ReLU in strides in place of an exponential with a learned
scale, boxes learn by GIoU, and places are sampled around the centre of a box. Places are the centres of their cells, as
in the paper; torchvision has the corners, which `corners=True` takes. The loss of an image is divided by its positives,
and then averaged over images.
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
from kerasdl.ops import aligned_overlaps, decode_distances, encode_distances, grid_points, match_centres

from ..feature_maps import backbone_features
from .method import (
    Heads,
    Method,
    Size,
    TrueBatch,
    cells_of,
    class_targets,
    flattened,
    ignored,
    map_sizes,
    of_matched,
    strides_of,
)
from .shared_heads import PRIOR, shared_output, shared_tower


class FCOSTargets(NamedTuple):
    """Targets of all places of a batch."""

    classes: Any
    """(B, A, K), 1 for the class of a positive place."""
    boxes: Any
    """(B, A, 4) `xyxy` of the matched box."""
    centredness: Any
    """(B, A), from 0 at an edge of the box to 1 at its centre."""
    positive: Any
    """(B, A), 1 for positive places."""
    counts: Any
    """(B, A), 0 for places that teach nothing."""


@dataclass(frozen=True)
class FCOSMethod(Method):
    """Places inside boxes of their level's size, focal loss, GIoU, centre-ness."""

    name = "fcos"
    loss_names = ("classes", "boxes", "centredness")
    overlap = 0.6
    reach: float = 8.0
    """Greatest distance, in strides, from a place to an edge of its box; half of it is the least. The finest level has
    no least, the coarsest no greatest."""
    radius: float = 1.5
    """Half side, in strides, of the square around the centre of a box in which places are positive."""
    offset: float = 0.5
    """Place inside its cell, in strides: 0.5 is the centre, 0 the left upper corner."""

    def places(self, heads: Heads) -> tuple[np.ndarray, np.ndarray]:
        """Returns the (A, 2) places of all levels in pixels, and the (A,) strides."""
        return grid_points(map_sizes(heads, "classes"), strides_of(heads, "classes"), offset=self.offset)

    def assign(self, heads: Heads, truth: TrueBatch, size: Size) -> tuple[Any, Any]:
        points, strides = self.places(heads)
        least = np.where(strides == strides.min(), 0.0, self.reach / 2 * strides)
        greatest = np.where(strides == strides.max(), np.inf, self.reach * strides)
        reaches = np.stack([least, greatest], axis=-1)
        matches = match_centres(points, reaches, truth.boxes, truth.valid, strides=strides, radius=self.radius)
        return cells_of(points, strides), ignored(matches, cells_of(points, strides), truth)

    def targets(self, heads: Heads, truth: TrueBatch, size: Size) -> FCOSTargets:
        points, _ = self.places(heads)
        _, matches = self.assign(heads, truth, size)
        positive = ops.cast(matches >= 0, "float32")
        boxes = of_matched(truth.boxes, matches)
        left, top, right, bottom = ops.split(encode_distances(boxes, points) * positive[..., None], 4, axis=-1)
        shares = [
            ops.minimum(one, other) / ops.maximum(ops.maximum(one, other), 1e-6)
            for one, other in ((left, right), (top, bottom))
        ]
        number = heads[f"classes_stride{strides_of(heads, 'classes')[0]}"].shape[-1]
        return FCOSTargets(
            class_targets(matches, truth.classes, number),
            boxes,
            ops.sqrt(ops.maximum(shares[0] * shares[1], 0.0))[..., 0],
            positive,
            ops.cast(matches >= -1, "float32"),
        )

    def loss(self, heads: Heads, targets: FCOSTargets, size: Size) -> dict[str, Any]:
        focal = SigmoidFocal(reduction=None)(targets.classes, flattened(heads, "classes", targets.classes.shape[-1]))
        gaps = 1 - aligned_overlaps(self._boxes(heads), targets.boxes, "giou")
        centre = flattened(heads, "centredness", 1)
        entropy = ops.binary_crossentropy(targets.centredness[..., None], centre, from_logits=True)[..., 0]
        number = ops.maximum(ops.sum(targets.positive, axis=-1), 1.0)
        return {
            "classes": ops.sum(focal * targets.counts, axis=-1) / number,
            "boxes": ops.sum(gaps * targets.positive, axis=-1) / number,
            "centredness": ops.sum(entropy * targets.positive, axis=-1) / number,
        }

    def decode(self, heads: Heads, size: Size) -> tuple[Any, Any]:
        number = heads[f"classes_stride{strides_of(heads, 'classes')[0]}"].shape[-1]
        scores = ops.sigmoid(flattened(heads, "classes", number))
        return self._boxes(heads), ops.sqrt(scores * ops.sigmoid(flattened(heads, "centredness", 1)))

    def _boxes(self, heads: Heads) -> Any:
        points, strides = self.places(heads)
        return decode_distances(flattened(heads, "boxes", 4) * strides[:, None], points)


@dataclass(frozen=True)
class CornerFCOSMethod(FCOSMethod):
    """FCOS's method with places on the corners of their cells, as torchvision has them."""

    name = "fcos_corners"
    offset: float = 0.0


@register(
    task="object_detection",
    paper="https://arxiv.org/abs/1904.01355",
    variants={"fcos": {}},
    # torchvision counts no batch norm: 2 trained and 2 measured numbers of each of 26,560 channels are added.
    params={"fcos": 32_269_600 + 106_240},
    reference="torchvision 0.28, fcos_resnet50_fpn with 91 classes, plus batch norm",
    weights={"torch": "kerasdl.vision.detector_peers:FCOS"},
    tags=("cnn", "detector", "anchor-free"),
    tiny=dict(
        image_shape=(64, 64, 3),
        backbone="mobilenet_v2",
        backbone_settings={"width": 0.25, "stages": ((1, 8, 1, 1), (6, 8, 1, 2), (6, 16, 1, 2))},
        strides=(4, 8),
        extra="pool",
        channels=16,
        groups=4,
        depth=1,
        classes=3,
    ),
    free={"image_shape": (None, None, 3)},
)
def fcos(
    image_shape=(800, 800, 3),
    *,
    classes: int = 91,
    backbone: str = "resnet50",
    backbone_settings: Mapping[str, Any] | None = None,
    strides: Sequence[int] = (8, 16, 32),
    extra: str | None = "output",
    channels: int = 256,
    groups: int = 32,
    depth: int = 4,
    corners: bool = False,
) -> keras.Model:
    """FCOS, the dense object detector whose places tell class, distances to four edges, and centre-ness.

    Source: https://arxiv.org/abs/1904.01355, section 3.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: K, classes without background.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features.
        strides: maps of the backbone that the pyramid takes.
        extra: coarser levels, as in `kerasdl.blocks.fpn`: two of the pyramid (`output`) or of the backbone (`input`),
            one by pooling (`pool`), or None.
        channels: of the pyramid and of both heads.
        groups: of the group normalisation in both heads.
        depth: convolutions of each head before its last.
        corners: whether a place is the left upper corner of its cell, as for weights of torchvision, and not the
            centre; the name of the network tells it to the decoder.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to raw heads in float32 of each level: `classes_stride8`
        (B, H/8, W/8, K) logits, `boxes_stride8` (B, H/8, W/8, 4) distances of left, top, right and bottom edge in
        strides, and `centredness_stride8` (B, H/8, W/8, 1) logits.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone.

    Example:
        >>> net = fcos((64, 64, 3), classes=3, backbone="mobilenet_v2", channels=32)
        >>> net.output["boxes_stride16"].shape
        (None, 4, 4, 4)
    """
    checks.at_least("classes", classes, 1)
    checks.at_least("depth", depth, 0)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    maps = backbone_features(image, backbone, backbone_settings, strides=strides)
    maps = fpn(maps, channels, extra=extra, name="fpn")
    of_classes = shared_tower(maps, channels, depth, groups=groups, name="classes_tower")
    of_boxes = shared_tower(maps, channels, depth, groups=groups, name="boxes_tower")
    heads = {
        **shared_output(of_classes, classes, prior=PRIOR, name="classes"),
        **shared_output(of_boxes, 4, start=1.0, act="relu", name="boxes"),  # a ReLU that starts at 0 may never learn
        **shared_output(of_boxes, 1, name="centredness"),
    }
    return keras.Model(image, heads, name="fcos_corners" if corners else "fcos")
