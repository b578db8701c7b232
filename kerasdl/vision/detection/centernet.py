"""CenterNet: objects as points, the peaks of a heat map, without anchors and without suppression
(https://arxiv.org/abs/1904.07850).

Deviations: plain convolutions stand before the deconvolutions where the paper has deformable ones. The radius of a
Gaussian keeps an IoU of 0.3, which is 0.23 of a square's side; the authors' code names an IoU of 0.7, and a formula
that gives 0.27 of the side. The loss of an image is divided by its objects, and then averaged over images.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from kerasdl.blocks import conv_norm_act
from kerasdl.core import checks, register
from kerasdl.ops import convert_boxes, grid_points

from ..feature_maps import backbone_features
from .method import (
    BACKGROUND,
    IGNORED,
    Heads,
    Method,
    Size,
    TrueBatch,
    cells_of,
    flattened,
    ignored,
    map_sizes,
    strides_of,
)

STRIDE = 4  # of the heads
PRIOR = 0.1  # probability of every class that a fresh classifier gives, as in the authors' code


class CenterTargets(NamedTuple):
    """Targets of the heat maps of a batch, and of its M objects."""

    heat: Any
    """(B, h, w, K), 1 at the centre of each object of a class, and a Gaussian around it."""
    counts: Any
    """(B, h, w, 1), 0 where no background is learnt."""
    places: Any
    """(B, M) int32, the place of each object's centre among h * w."""
    offsets: Any
    """(B, M, 2) of the centre from its place, x and y in strides."""
    sizes: Any
    """(B, M, 2) width and height in strides."""
    positive: Any
    """(B, M), 1 for objects."""


@dataclass(frozen=True)
class CenterMethod(Method):
    """Gaussians around centres, penalty-reduced focal loss, sizes and offsets at the centres."""

    name = "centernet"
    loss_names = ("classes", "offsets", "sizes")
    overlap = None
    least_overlap: float = 0.3
    """IoU with its object that a box has whose corners are off by the radius of the Gaussian."""
    size_weight: float = 0.1
    """Weight of the loss of sizes."""

    def targets(self, heads: Heads, truth: TrueBatch, size: Size) -> CenterTargets:
        stride, (rows, columns) = strides_of(heads, "classes")[0], map_sizes(heads, "classes")[0]
        boxes = convert_boxes(truth.boxes, "xyxy", "cxcywh") / stride
        centres, sizes = boxes[..., :2], boxes[..., 2:]
        cells = ops.floor(centres)
        fits = ops.all((cells >= 0) & (cells < (columns, rows)) & (sizes > 0), axis=-1)
        positive = ops.cast(truth.valid & fits, "float32")
        cells = ops.clip(cells, 0, (columns - 1, rows - 1))
        radii = ops.floor(corner_radius(ops.maximum(sizes, 0), self.least_overlap))
        spread = [gaussian(cells[..., axis], radii, cell_count) for axis, cell_count in ((0, columns), (1, rows))]
        peaks = spread[1][..., None] * spread[0][..., None, :] * positive[..., None, None]  # (B, M, h, w)
        points, _ = grid_points([(rows, columns)], [stride])
        background = ops.full((ops.shape(boxes)[0], rows * columns), BACKGROUND)
        counts = ignored(background, np.concatenate([points, points], axis=-1), truth) == BACKGROUND
        return CenterTargets(
            highest(peaks, truth.classes, heads[f"classes_stride{stride}"].shape[-1]),
            ops.reshape(ops.cast(counts, "float32"), (-1, rows, columns, 1)),
            ops.cast(cells[..., 1] * columns + cells[..., 0], "int32"),
            (centres - cells) * positive[..., None],
            sizes * positive[..., None],
            positive,
        )

    def assign(self, heads: Heads, truth: TrueBatch, size: Size) -> tuple[Any, Any]:
        """The place of each object's centre learns it; places on the Gaussian around it are half background."""
        stride, sizes = strides_of(heads, "classes")[0], map_sizes(heads, "classes")
        targets = self.targets(heads, truth, size)
        of_place = ops.one_hot(targets.places, sizes[0][0] * sizes[0][1]) * targets.positive[..., None]  # (B, M, A)
        index = ops.arange(ops.shape(of_place)[1], dtype="int32")[:, None]
        matches = ops.max(ops.where(of_place > 0, index, BACKGROUND), axis=1)
        counts = ops.reshape(targets.counts, ops.shape(matches))
        return cells_of(*grid_points(sizes, [stride])), ops.where((matches < 0) & (counts == 0), IGNORED, matches)

    def loss(self, heads: Heads, targets: CenterTargets, size: Size) -> dict[str, Any]:
        logits = heads[f"classes_stride{strides_of(heads, 'classes')[0]}"]
        scores = ops.sigmoid(logits)
        is_centre = ops.cast(targets.heat == 1, "float32")
        missed = is_centre * ops.square(1 - scores) * ops.log_sigmoid(logits)
        reduced = (1 - targets.heat) ** 4 * ops.square(scores) * ops.log_sigmoid(-logits) * targets.counts
        number = ops.maximum(ops.sum(targets.positive, axis=-1), 1.0)
        gaps = {
            name: ops.sum(ops.abs(self._at(heads, name, targets.places) - true) * targets.positive[..., None], (1, 2))
            for name, true in (("offsets", targets.offsets), ("sizes", targets.sizes))
        }
        return {
            "classes": -ops.sum(missed + reduced, axis=(1, 2, 3)) / number,
            "offsets": gaps["offsets"] / number,
            "sizes": self.size_weight * gaps["sizes"] / number,
        }

    def decode(self, heads: Heads, size: Size) -> tuple[Any, Any]:
        stride = strides_of(heads, "classes")[0]
        logits = heads[f"classes_stride{stride}"]
        peaks = ops.cast(ops.max_pool(logits, 3, strides=1, padding="same") == logits, "float32")
        scores = ops.sigmoid(logits) * peaks
        corners, _ = grid_points(map_sizes(heads, "classes"), [stride], offset=0.0)
        centres = flattened(heads, "offsets", 2) * stride + corners
        half = ops.relu(flattened(heads, "sizes", 2)) * (stride / 2)
        boxes = ops.concatenate([centres - half, centres + half], axis=-1)
        return boxes, flattened({f"scores_stride{stride}": scores}, "scores", logits.shape[-1])

    def _at(self, heads: Heads, kind: str, places: Any) -> Any:
        """Returns the two numbers (B, M, 2) of a head at the centre of each object."""
        return tf.gather(flattened(heads, kind, 2), places, batch_dims=1)


def corner_radius(sizes: Any, overlap: float) -> Any:
    """Returns the distance by which both corners of a box may be off, in x and in y, for an IoU of `overlap` or more.

    Source: CornerNet, https://arxiv.org/abs/1808.01244, section 3.2: the least of three, where both corners move
    inwards, both outwards, or one each.

    Args:
        sizes: (..., 2) width and height.
        overlap: IoU above 0.

    Returns:
        (...,) in the units of the sizes.

    Example:
        >>> float(corner_radius([8.0, 8.0], 0.25))  # (8 - 2 * 2)^2 / 8^2
        2.0
    """
    sizes = ops.convert_to_tensor(sizes, "float32")
    total, area = ops.sum(sizes, axis=-1), ops.prod(sizes, axis=-1)
    one_each = (total - ops.sqrt(ops.relu(total**2 - 4 * area * (1 - overlap) / (1 + overlap)))) / 2
    inwards = (total - ops.sqrt(ops.relu(total**2 - 4 * area * (1 - overlap)))) / 4
    outwards = (ops.sqrt(total**2 + 4 * area * (1 - overlap) / overlap) - total) / 4
    return ops.minimum(ops.minimum(one_each, inwards), outwards)


def gaussian(centres: Any, radii: Any, cells: int) -> Any:
    """Returns (B, M, cells), a Gaussian around each centre (B, M) with a sixth of its width as deviation, cut there."""
    gaps = ops.arange(cells, dtype="float32") - centres[..., None]
    deviations = (2 * radii[..., None] + 1) / 6
    return ops.exp(-ops.square(gaps / deviations) / 2) * ops.cast(ops.abs(gaps) <= radii[..., None], "float32")


def highest(peaks: Any, classes: Any, number: int) -> Any:
    """Returns (B, h, w, K), the highest of the peaks (B, M, h, w) of each class; 0 where there are none."""
    batch, _, rows, columns = ops.shape(peaks)
    owners = tf.range(batch)[:, None] * number + classes
    flat = tf.reshape(peaks, (-1, rows, columns))
    heat = tf.math.unsorted_segment_max(flat, tf.reshape(owners, [-1]), batch * number)
    return ops.transpose(ops.reshape(ops.maximum(heat, 0), (batch, number, rows, columns)), (0, 2, 3, 1))


@register(
    task="object_detection",
    paper="https://arxiv.org/abs/1904.07850",
    variants={"centernet": {}},
    # ResNet-18 without its classifier; for each of three steps up a 3x3 and a 4x4 convolution without bias and two
    # batch norms of four numbers a channel; three heads of a 3x3 and a 1x1 convolution.
    params={
        "centernet": (11_699_112 - 513_000)
        + (512 * 256 * 9 + 256 * 256 * 16 + 8 * 256)
        + (256 * 128 * 9 + 128 * 128 * 16 + 8 * 128)
        + (128 * 64 * 9 + 64 * 64 * 16 + 8 * 64)
        + 3 * (64 * 64 * 9 + 64)
        + (64 + 1) * (80 + 2 + 2)
    },
    reference="the paper's section 5 by the sum of its layers, with 80 classes; resnet18 as in torchvision 0.28",
    tags=("cnn", "detector", "anchor-free"),
    tiny=dict(
        image_shape=(64, 64, 3),
        backbone="mobilenet_v2",
        backbone_settings={"width": 0.25, "stages": ((1, 8, 1, 1), (6, 8, 1, 2), (6, 16, 1, 2), (6, 16, 1, 2))},
        channels=(16, 16),
        head_channels=16,
        classes=3,
    ),
    free={"image_shape": (None, None, 3)},
)
def centernet(
    image_shape=(512, 512, 3),
    *,
    classes: int = 80,
    backbone: str = "resnet18",
    backbone_settings: Mapping[str, Any] | None = None,
    channels: Sequence[int] = (256, 128, 64),
    head_channels: int = 64,
    skips: bool = False,
) -> keras.Model:
    """CenterNet, the object detector that sees objects as points.

    Source: https://arxiv.org/abs/1904.07850, sections 3, 4 and 5.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: K, classes without background.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features.
        channels: of each step that doubles the map's sides, up to stride 4; three steps begin at stride 32.
        head_channels: of the 3x3 convolution of each head.
        skips: whether each step up is summed with a 1x1 convolution of the backbone's map of its stride. The paper's
            nets over DLA-34 (figure 6d) have skips from finer maps, those over ResNet have none.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to raw heads in float32: `classes_stride4` (B, H/4, W/4, K)
        logits of a centre, `offsets_stride4` (B, H/4, W/4, 2) of the centre from its place, x and y in strides, and
        `sizes_stride4` (B, H/4, W/4, 2), width and height in strides. Sides are rounded up to what the backbone
        has, times the steps.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone.

    Example:
        >>> net = centernet((64, 96, 3), classes=3)
        >>> net.output["classes_stride4"].shape
        (None, 16, 24, 3)
    """
    checks.at_least("classes", classes, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    stride = STRIDE * 2 ** len(checks.counts("channels", tuple(channels)))
    strides = [STRIDE * 2**step for step in range(len(channels) + 1)] if skips else [stride]
    if skips and any(side is not None and side % stride for side in image.shape[1:3]):
        checks.refuse(f"image_shape must have sides that are multiples of {stride} where skips=True", image_shape)
    maps = backbone_features(image, backbone, backbone_settings, strides=strides)
    x = maps[f"stride{stride}"]
    for filters in channels:
        stride //= 2
        x = upsampled(x, filters, name=f"up_stride{stride}")
        if skips:
            skip = conv_norm_act(maps[f"stride{stride}"], filters, 1, name=f"skip_stride{stride}")
            x = layers.Add(name=f"up_stride{stride}_sum")([x, skip])
    heads = {}
    for kind, numbers, prior in (("classes", classes, PRIOR), ("offsets", 2, 0.5), ("sizes", 2, 0.5)):
        y = layers.Conv2D(head_channels, 3, padding="same", name=f"{kind}_conv")(x)
        y = layers.ReLU(name=f"{kind}_relu")(y)
        start = keras.initializers.Constant(math.log(prior / (1 - prior)))
        name = f"{kind}_stride{STRIDE}"
        heads[name] = layers.Conv2D(numbers, 1, bias_initializer=start, dtype="float32", name=name)(y)
    return keras.Model(image, heads, name="centernet")


def upsampled(x: Any, filters: int, *, name: str) -> Any:
    """One step up: a 3x3 convolution, then a deconvolution that doubles the sides, each with batch norm and ReLU."""
    x = conv_norm_act(x, filters, name=name)
    x = layers.Conv2DTranspose(filters, 4, strides=2, padding="same", use_bias=False, name=f"{name}_deconv")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_deconv_bn")(x)
    return layers.ReLU(name=f"{name}_deconv_relu")(x)
