"""YOLOv3: dense detector with three anchors at each place of three levels (https://arxiv.org/abs/1804.02767).

Deviations: the centre of a box learns by cross-entropy in place of squared error, as in later code of its authors'
framework. The loss of an image is divided by its true boxes, and then averaged over images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from kerasdl.blocks import conv_norm_act
from kerasdl.blocks.detection.levels import upsample_like
from kerasdl.core import checks, register
from kerasdl.ops import pairwise_overlaps

from ..backbones.darknet import STAGES_53, darknet_features
from .method import Heads, Method, Size, TrueBatch, class_targets, flattened, ignored, map_sizes, of_matched, strides_of

# Section 2.3: width and height in pixels of the clusters of COCO's boxes, of the finest level first.
ANCHORS = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
OF_PLACE = 3  # anchors at each place
LARGEST = 6.0  # logarithm of a side over its anchor's


class YOLOv3Targets(NamedTuple):
    """Targets of all anchors of a batch."""

    classes: Any
    """(B, A, K), 1 for the class of a positive anchor."""
    centres: Any
    """(B, A, 2), the centre of the matched box inside its cell, from 0 to 1 in x and y."""
    sides: Any
    """(B, A, 2), logarithms of width and height over those of the anchor."""
    weights: Any
    """(B, A), from 1 to 2 for positive anchors, more for smaller boxes; 0 elsewhere."""
    positive: Any
    """(B, A), 1 for positive anchors."""
    counts: Any
    """(B, A), 0 for anchors that teach no objectness."""
    number: Any
    """(B,), true boxes of each image, at least 1."""


@dataclass(frozen=True)
class YOLOv3Method(Method):
    """One anchor for each true box, objectness, independent classes, centres inside cells, logarithms of sides."""

    name = "yolo_v3"
    loss_names = ("centres", "sides", "objects", "classes")
    overlap = 0.45
    negative: float = 0.5
    """IoU of a predicted box with a true one, from which on its anchor is no background."""

    def places(self, heads: Heads) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the cell's corner (A, 2), the sides (A, 2) and the stride (A, 1) of each anchor, in pixels."""
        strides = strides_of(heads, "objects")
        anchors = np.array(ANCHORS, "float32").reshape(-1, OF_PLACE, 2) * strides[0] / 8
        if len(strides) > len(anchors):
            checks.refuse(f"YOLOv3 has anchors for {len(anchors)} levels", strides)
        corners, sides, steps = [], [], []
        for (rows, columns), stride, of_level in zip(map_sizes(heads, "objects"), strides, anchors, strict=False):
            y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
            corners.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2) * stride, OF_PLACE, axis=0))
            sides.append(np.tile(of_level, (rows * columns, 1)))
            steps.append(np.full((rows * columns * OF_PLACE, 1), stride))
        return tuple(np.concatenate(each).astype("float32") for each in (corners, sides, steps))

    def assign(self, heads: Heads, truth: TrueBatch, size: Size) -> tuple[Any, Any]:
        corners, sides, strides = self.places(heads)
        centre, extent = _centres_and_sides(truth)
        # The anchor of a box has its shape more than any other, and its centre in the anchor's cell.
        of_shape = pairwise_overlaps(_at_zero(extent), _at_zero(np.unique(sides, axis=0)))  # (B, M, 9)
        best = ops.take(ops.convert_to_tensor(np.unique(sides, axis=0)), ops.argmax(of_shape, axis=-1), axis=0)
        fits = ops.all(ops.abs(best[:, None] - sides[:, None]) < 1e-4, axis=-1)  # (B, A, M)
        inside = centre[:, None] - corners[:, None]  # (B, A, M, 2)
        fits = fits & ops.all((inside >= 0) & (inside < strides[:, None]), axis=-1) & truth.valid[:, None]
        positive = ops.any(fits, axis=-1)
        boxes, _ = self.decode(heads, size)
        overlaps = ops.where(truth.valid[:, None], pairwise_overlaps(boxes, truth.boxes), 0.0)
        near = ops.max(overlaps, axis=-1) >= self.negative
        matches = ops.where(positive, ops.cast(ops.argmax(ops.cast(fits, "int32"), axis=-1), "int32"), -1)
        matches = ops.where(near & (matches < 0), -2, matches)
        middles = corners + strides / 2
        anchors = np.concatenate([middles - sides / 2, middles + sides / 2], axis=-1)
        return anchors, ignored(matches, anchors, truth)

    def targets(self, heads: Heads, truth: TrueBatch, size: Size) -> YOLOv3Targets:
        corners, sides, strides = self.places(heads)
        centre, extent = _centres_and_sides(truth)
        _, matches = self.assign(heads, truth, size)
        positive = ops.cast(matches >= 0, "float32")
        of_centre, of_extent = of_matched(centre, matches), of_matched(extent, matches)
        share = ops.prod(of_extent / np.array([size[1], size[0]], "float32"), axis=-1)
        width = self._width(heads)
        return YOLOv3Targets(
            class_targets(matches, truth.classes, width - 5),
            ops.clip((of_centre - corners) / strides, 0.0, 1.0),
            ops.log(of_extent / sides) * positive[..., None],
            (2 - share) * positive,
            positive,
            ops.cast(matches >= -1, "float32"),
            ops.maximum(ops.sum(ops.cast(truth.valid, "float32"), axis=-1), 1.0),
        )

    def loss(self, heads: Heads, targets: YOLOv3Targets, size: Size) -> dict[str, Any]:
        centre, extent, objectness, logits = self._parts(heads)

        def entropy(shares: Any, logits: Any) -> Any:
            return ops.sum(ops.binary_crossentropy(shares, logits, from_logits=True), axis=-1)  # (B, A)

        def of_image(values: Any) -> Any:
            return ops.sum(values, axis=-1) / targets.number

        return {
            "centres": of_image(entropy(targets.centres, centre) * targets.weights),
            "sides": of_image(ops.sum(ops.square(extent - targets.sides), axis=-1) * targets.weights / 2),
            "objects": of_image(entropy(targets.positive[..., None], objectness) * targets.counts),
            "classes": of_image(entropy(targets.classes, logits) * targets.positive),
        }

    def decode(self, heads: Heads, size: Size) -> tuple[Any, Any]:
        corners, sides, strides = self.places(heads)
        centre, extent, objectness, logits = self._parts(heads)
        middle = ops.sigmoid(centre) * strides + corners
        half = ops.exp(ops.minimum(extent, LARGEST)) * sides / 2
        return ops.concatenate([middle - half, middle + half], axis=-1), ops.sigmoid(objectness) * ops.sigmoid(logits)

    def _width(self, heads: Heads) -> int:
        return heads[f"objects_stride{strides_of(heads, 'objects')[0]}"].shape[-1] // OF_PLACE

    def _parts(self, heads: Heads) -> list:
        """Returns the logits of centres (B, A, 2), the sides, and the logits of objectness and classes."""
        return ops.split(flattened(heads, "objects", self._width(heads)), [2, 4, 5], axis=-1)


def _centres_and_sides(truth: TrueBatch) -> tuple[Any, Any]:
    """Returns the centre and the sides, (B, M, 2) each, of true boxes."""
    low, high = ops.split(truth.boxes, 2, axis=-1)
    return (low + high) / 2, ops.maximum(high - low, 1e-3)


def _at_zero(sides: Any) -> Any:
    """Returns boxes of these sides whose left upper corner is 0."""
    sides = ops.convert_to_tensor(sides, "float32")
    return ops.concatenate([ops.zeros_like(sides), sides], axis=-1)


@register(
    task="object_detection",
    paper="https://arxiv.org/abs/1804.02767",
    variants={"yolo_v3": {}},
    params={"yolo_v3": 62_001_757},
    reference="derived from the paper's table 1 and section 2.3: 61,949,149 trained, 52,608 of batch-norm statistics",
    tags=("cnn", "detector"),
    # One level: rounding to int8 grows with depth behind LeakyReLU; with two, random weights are off by 0.1.
    tiny=dict(image_shape=(32, 32, 3), stages=(1, 1), channels=8, strides=(4,), classes=3),
    free={"image_shape": (None, None, 3)},
)
def yolo_v3(
    image_shape=(416, 416, 3),
    *,
    classes: int = 80,
    stages=STAGES_53,
    channels: int = 32,
    strides: Sequence[int] = (8, 16, 32),
) -> keras.Model:
    """YOLOv3, the dense object detector over DarkNet-53 that merges three levels from coarse to fine.

    Source: https://arxiv.org/abs/1804.02767, section 2.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: K, classes without background.
        stages: residual blocks in each stage of DarkNet.
        channels: of DarkNet's stem, even.
        strides: maps of the backbone that are merged, the last ones, three at most.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to raw heads in float32 of each level: `objects_stride8`
        (B, H/8, W/8, 3 * (5 + K)): of each anchor centre, sides, objectness and classes.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> yolo_v3((64, 64, 3), classes=3, stages=(1, 1, 1, 1, 1), channels=4).output["objects_stride32"].shape
        (None, 2, 2, 24)
    """
    checks.at_least("classes", classes, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    maps = darknet_features(image, stages=stages, channels=channels)
    heads, coarser = {}, None
    for stride in reversed(checks.counts("strides", tuple(strides))):
        x = maps[checks.known_name("map of darknet", f"stride{stride}", maps)]
        filters = x.shape[-1] // 2
        if coarser is not None:
            name = f"merge_stride{stride}"
            coarser = conv_norm_act(coarser, filters, 1, act="leaky", name=name)
            coarser = upsample_like(coarser, x, name=f"{name}_upsample")
            x = layers.Concatenate(name=f"{name}_concat")([coarser, x])
        for number in range(1, 6):
            width, kernel = (filters, 1) if number % 2 else (2 * filters, 3)
            x = conv_norm_act(x, width, kernel, act="leaky", name=f"neck_stride{stride}_{number}")
        coarser = x
        x = conv_norm_act(x, 2 * filters, 3, act="leaky", name=f"objects_stride{stride}_1")
        name = f"objects_stride{stride}"
        heads[name] = layers.Conv2D(OF_PLACE * (5 + classes), 1, dtype="float32", name=name)(x)
    return keras.Model(image, dict(reversed(heads.items())), name="yolo_v3")
