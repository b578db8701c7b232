"""SSD: dense detector with default boxes on maps of many scales, trained on the hardest background
(https://arxiv.org/abs/1512.02325).

Deviations: as torchvision, the sides of default boxes are those for COCO, boxes learn by the smooth absolute
difference that is squared below 1, and each level of `stride8` to `stride64` has its boxes at multiples of its stride.
The norm 20 of the finest level is for the 512 channels of VGG: narrower maps have less, so that a channel is as large.
The loss of an image is divided by its positives, and then averaged over images; an image without objects teaches
nothing, as in the paper.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from kerasdl.blocks.convolution import padded
from kerasdl.core import checks, register
from kerasdl.layers import LayerScale
from kerasdl.losses import SmoothL1
from kerasdl.ops import decode_offsets, default_boxes, encode_offsets, match_by_overlap, pairwise_overlaps

from ..feature_maps import backbone_features
from .method import Heads, Method, Size, TrueBatch, flattened, ignored, map_sizes, of_matched, strides_of

VARIANCES = (0.1, 0.1, 0.2, 0.2)
# Figure 2, the layers behind VGG: channels of the 1x1 and of the 3x3 convolution, and the stride of the latter; without
# one it has no padding.
EXTRAS = ((256, 512, 2), (128, 256, 2), (128, 256, 1), (128, 256, 1))
BOXES = (4, 6, 6, 6, 4, 4)  # at each place of a level


class SSDTargets(NamedTuple):
    """Targets of all default boxes of a batch."""

    classes: Any
    """(B, A) int32, 0 for background, 1 for the first class."""
    offsets: Any
    """(B, A, 4) of the matched box."""
    positive: Any
    """(B, A), 1 for positive default boxes."""
    counts: Any
    """(B, A), 0 for default boxes that teach nothing."""


@dataclass(frozen=True)
class SSDMethod(Method):
    """Default boxes matched by IoU, softmax over the classes and background, hard negative mining."""

    name = "ssd"
    loss_names = ("classes", "boxes")
    overlap = 0.45
    positive: float = 0.5
    """IoU from which on a default box is positive; the best one of each true box is too."""
    hardest: float = 3.0
    """Background boxes for each positive one, those of the highest loss."""

    def sides(self, levels: int) -> list[float]:
        """Returns the side of each level's default boxes, and one beyond, as shares of the image's shorter side."""
        return [0.07, *np.linspace(0.15, 1.05, levels)]

    def step(self, side: int, cells: int, stride: int) -> float:
        """Returns the pixels between two places: the stride where as many cells fill the side of the image."""
        return stride if cells == -(-side // stride) else side / cells

    def anchors(self, heads: Heads, size: Size) -> np.ndarray:
        """Returns the (A, 4) default boxes of all levels."""
        strides, sizes = strides_of(heads, "boxes"), map_sizes(heads, "boxes")
        steps = [
            (self.step(size[1], columns, stride), self.step(size[0], rows, stride))
            for stride, (rows, columns) in zip(strides, sizes, strict=True)
        ]
        sides = [side * min(size) for side in self.sides(len(strides))]
        numbers = [heads[f"boxes_stride{stride}"].shape[-1] // 4 for stride in strides]
        ratios = [range(2, number // 2 + 1) for number in numbers]
        return default_boxes(sizes, steps, sides, ratios, image_size=size)

    def logits(self, heads: Heads) -> Any:
        """Returns (B, A, 1 + K) logits of all default boxes, background first."""
        stride = strides_of(heads, "boxes")[0]
        numbers = 4 * heads[f"classes_stride{stride}"].shape[-1] // heads[f"boxes_stride{stride}"].shape[-1]
        return flattened(heads, "classes", numbers)

    def assign(self, heads: Heads, truth: TrueBatch, size: Size) -> tuple[Any, Any]:
        anchors = self.anchors(heads, size)
        overlaps = pairwise_overlaps(anchors, truth.boxes)  # (B, A, M)
        valid = ops.logical_and(truth.valid, ops.max(overlaps, axis=1) > 0)  # some default box can be moved onto it
        matches = match_by_overlap(overlaps, valid, positive=self.positive, negative=self.positive, rescue="boxes")
        return anchors, ignored(matches, anchors, truth)

    def targets(self, heads: Heads, truth: TrueBatch, size: Size) -> SSDTargets:
        anchors, matches = self.assign(heads, truth, size)
        positive = matches >= 0
        offsets = encode_offsets(of_matched(truth.boxes, matches), anchors, VARIANCES)
        return SSDTargets(
            ops.where(positive, of_matched(truth.classes, matches) + 1, 0),
            ops.where(positive[..., None], offsets, 0.0),
            ops.cast(positive, "float32"),
            ops.cast(matches >= -1, "float32"),
        )

    def loss(self, heads: Heads, targets: SSDTargets, size: Size) -> dict[str, Any]:
        entropy = ops.sparse_categorical_crossentropy(targets.classes, self.logits(heads), from_logits=True)  # (B, A)
        number = ops.sum(targets.positive, axis=-1, keepdims=True)
        is_background = targets.counts * (1 - targets.positive)
        hardness = ops.where(is_background > 0, ops.stop_gradient(entropy), -1.0)
        rank = ops.argsort(ops.argsort(-hardness, axis=-1), axis=-1)
        is_hard = is_background * ops.cast(ops.cast(rank, "float32") < self.hardest * number, "float32")
        gaps = SmoothL1(reduction=None)(targets.offsets, flattened(heads, "boxes", 4))
        number = ops.maximum(number[:, 0], 1.0)
        return {
            "classes": ops.sum(entropy * (targets.positive + is_hard), axis=-1) / number,
            "boxes": ops.sum(gaps * targets.positive, axis=-1) / number,
        }

    def decode(self, heads: Heads, size: Size) -> tuple[Any, Any]:
        boxes = decode_offsets(flattened(heads, "boxes", 4), self.anchors(heads, size), VARIANCES)
        return boxes, ops.softmax(self.logits(heads), axis=-1)[..., 1:]


@register(
    task="object_detection",
    paper="https://arxiv.org/abs/1512.02325",
    variants={"ssd300": {}},
    params={"ssd300": 35_641_826},
    reference="torchvision 0.29, ssd300 with 91 classes, of which one is background",
    weights={"torch": "kerasdl.vision.detector_peers:SSD"},
    tags=("cnn", "detector"),
    tiny=dict(
        image_shape=(48, 48, 3),
        backbone_settings={"pooled": False, "stages": (1, 1, 1, 1), "channels": (8, 8, 16, 16)},
        strides=(4, 8),
        hidden=16,
        dilation=2,
        extras=((8, 16, 2), (8, 16, 1)),
        boxes=(4, 6, 6, 4),
        classes=3,
    ),
)
def ssd(
    image_shape=(300, 300, 3),
    *,
    classes: int = 90,
    backbone: str = "vgg16",
    backbone_settings: Mapping[str, Any] | None = None,
    strides: Sequence[int] = (8, 16),
    hidden: int = 1024,
    dilation: int = 6,
    extras: Sequence[tuple[int, int, int]] = EXTRAS,
    boxes: Sequence[int] = BOXES,
) -> keras.Model:
    """SSD, the object detector with default boxes on feature maps from fine to coarse.

    Source: https://arxiv.org/abs/1512.02325, section 2 and figure 2.

    Args:
        image_shape: height, width and channels in pixels; the default boxes fix them.
        classes: K, classes without background.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features; None takes the maps before pooling of VGG, and the
            settings of any other net.
        strides: maps of the backbone, two or more: the first is normalised, the last goes through the dilated
            convolutions.
        hidden: channels of the dilated convolution and of the 1x1 one behind it, fc6 and fc7 of VGG.
        dilation: pixels between neighbours of the dilated kernel.
        extras: channels of the 1x1 and of the 3x3 convolution and stride of each further level; stride 1 has no
            padding.
        boxes: default boxes at each place of each level: two squares, and two for each of the ratios 2, 3, ...

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to raw heads in float32 of each level with A boxes a place:
        `classes_stride8` (B, H/8, W/8, A * (1 + K)) logits, background first, and `boxes_stride8` (B, H/8, W/8, A * 4)
        offsets from default boxes.

    Raises:
        ArgumentError: an argument breaks its rule, or the last maps are too small for an extra level.
        UnknownNameError: there is no such backbone.

    Example:
        >>> net = ssd((300, 300, 3), classes=3, backbone="mobilenet_v2", hidden=64)
        >>> [name for name in net.output if name.startswith("boxes")][-2:]
        ['boxes_stride100', 'boxes_stride300']
    """
    checks.at_least("classes", classes, 1)
    shape = checks.image_shape("image_shape", image_shape)
    if None in shape:
        checks.refuse("image_shape must have known sides, which the default boxes fix", shape)
    if len(checks.counts("strides", tuple(strides))) < 2:
        checks.refuse("strides must hold two maps or more", tuple(strides))
    image = keras.Input(shape, name="image")
    if backbone_settings is None and backbone.startswith("vgg"):
        backbone_settings = {"pooled": False}
    maps = backbone_features(image, backbone, backbone_settings, strides=strides)
    fine, coarse = f"stride{strides[0]}", f"stride{strides[-1]}"
    maps[fine] = layers.UnitNormalization(name=f"{fine}_unit_norm")(maps[fine])
    norm = 20 * math.sqrt(maps[fine].shape[-1] / 512)  # section 3.1 has 20, of 512 channels
    maps[fine] = LayerScale(norm, name=f"{fine}_scale")(maps[fine])
    maps[coarse] = dilated_tail(maps[coarse], hidden, dilation)
    maps = {**maps, **extra_maps(maps[coarse], strides[-1], extras, shape[0])}
    return keras.Model(image, level_heads(maps, classes, check_boxes(boxes, len(maps))), name="ssd")


def check_boxes(boxes: Sequence[int], levels: int) -> tuple[int, ...]:
    """Returns the numbers of default boxes of each level; raises `ArgumentError` unless they are even, one a level."""
    numbers = checks.counts("boxes", tuple(boxes))
    if len(numbers) != levels or any(number % 2 for number in numbers):
        checks.refuse(f"boxes must hold an even number for each of the {levels} levels", numbers)
    return numbers


def dilated_tail(x: Any, hidden: int, dilation: int) -> Any:
    """The dilated convolution fc6 and the 1x1 convolution fc7 behind a pooling of stride 1, each with ReLU."""
    x = layers.MaxPooling2D(3, strides=1, padding="same", name="fc6_pool")(x)
    for name, kernel, rate in (("fc6", 3, dilation), ("fc7", 1, 1)):
        x = layers.Conv2D(hidden, kernel, padding="same", dilation_rate=rate, name=f"{name}_conv")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
    return x


def extra_maps(x: Any, stride: int, extras: Sequence[tuple[int, int, int]], height: int) -> dict[str, Any]:
    """Further levels, each a 1x1 and a 3x3 convolution with ReLU, by their strides."""
    levels = {}
    for number, (squeezed, channels, step) in enumerate(extras, start=1):
        name = f"extra{number}"
        x = layers.Conv2D(squeezed, 1, name=f"{name}_squeeze_conv")(x)
        x = layers.ReLU(name=f"{name}_squeeze_relu")(x)
        if step > 1:
            x, stride = padded(x, 3, "symmetric", name=name)[0], step * stride
        elif min(x.shape[1:3]) < 3:
            hint = "Enlarge image_shape, or pass fewer extras."
            checks.refuse(f"extra level {number} without padding needs a map of 3x3 or more", x.shape[1:3], hint)
        x = layers.Conv2D(channels, 3, strides=step, name=f"{name}_conv")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
        if step == 1:
            stride = max(stride + 1, -(-height // x.shape[1]))
        levels[f"stride{stride}"] = x
    return levels


def level_heads(maps: Mapping[str, Any], classes: int, boxes: Sequence[int]) -> dict[str, Any]:
    """Heads of each level, a convolution 3x3 to the logits of each default box and one to its offsets, in float32."""
    heads = {}
    for kind, numbers in (("classes", 1 + classes), ("boxes", 4)):
        for (level, x), count in zip(maps.items(), boxes, strict=True):
            name = f"{kind}_{level}"
            heads[name] = layers.Conv2D(count * numbers, 3, padding="same", dtype="float32", name=name)(x)
    return heads
