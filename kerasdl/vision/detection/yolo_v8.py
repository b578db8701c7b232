"""YOLOv8: dense detector without anchors, whose distances are distributions, trained by task-aligned assignment.

It has no paper: figures of its net are those of Ultralytics' model card (https://docs.ultralytics.com/models/yolov8).
Its parts are of TOOD (https://arxiv.org/abs/2108.07755, assignment), generalised focal loss
(https://arxiv.org/abs/2006.04388, distributions) and DIoU (https://arxiv.org/abs/1911.08287, CIoU loss).

Deviations: the loss of an image is divided by its own target scores, and then averaged over images, where Ultralytics
divides by those of the batch. The 16 fixed weights by which its net takes the mean of a distribution are constants of
the decoder.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from kerasdl.blocks import c2f, conv_norm_act, pan, sppf
from kerasdl.core import checks, register
from kerasdl.losses import DistributionFocal
from kerasdl.ops import (
    aligned_overlaps,
    decode_distances,
    encode_distances,
    expected_distances,
    grid_points,
    match_task_aligned,
    pairwise_overlaps,
)

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

STRIDES = (8, 16, 32)
# Depth and width of each size, and the most channels before widening.
SIZES = {
    "n": {"depth": 0.33, "width": 0.25, "most_channels": 1024},
    "s": {"depth": 0.33, "width": 0.5, "most_channels": 1024},
    "m": {"depth": 0.67, "width": 0.75, "most_channels": 768},
    "l": {"depth": 1.0, "width": 1.0, "most_channels": 512},
    "x": {"depth": 1.0, "width": 1.25, "most_channels": 512},
}
# Channels and C2f repeats of the stages at strides 4, 8, 16 and 32.
STAGES = ((128, 3), (256, 6), (512, 6), (1024, 3))


class YOLOTargets(NamedTuple):
    """Targets of all places of a batch."""

    classes: Any
    """(B, A, K), the quality of a positive place at its class."""
    boxes: Any
    """(B, A, 4) `xyxy` of the matched box."""
    weights: Any
    """(B, A), the quality of a positive place, 0 elsewhere."""
    counts: Any
    """(B, A), 0 for places that teach nothing."""


@dataclass(frozen=True)
class YOLOv8Method(Method):
    """Places chosen by score and overlap, cross-entropy with their quality, CIoU, distributions of distances."""

    name = "yolo_v8"
    loss_names = ("classes", "boxes", "distances")
    overlap = 0.7
    candidates_of_box: int = 10
    """Places of each true box at most."""
    boxes_gain: float = 7.5
    """Weight of the CIoU loss."""
    classes_gain: float = 0.5
    """Weight of the cross-entropy."""
    distances_gain: float = 1.5
    """Weight of the distribution focal loss."""

    def places(self, heads: Heads) -> tuple[np.ndarray, np.ndarray]:
        """Returns the (A, 2) places of all levels in pixels, and the (A,) strides."""
        return grid_points(map_sizes(heads, "classes"), strides_of(heads, "classes"))

    def assign(self, heads: Heads, truth: TrueBatch, size: Size) -> tuple[Any, Any]:
        return cells_of(*self.places(heads)), self._matched(heads, truth, size)[0]

    def _matched(self, heads: Heads, truth: TrueBatch, size: Size) -> tuple[Any, Any]:
        """Returns the true object (B, A) of each place, and the quality of its prediction of it."""
        points, strides = self.places(heads)
        boxes, scores = self.decode(heads, size)
        number = scores.shape[-1]
        of_true = ops.one_hot(truth.classes, number)  # (B, M, K)
        of_class = ops.matmul(scores, ops.swapaxes(of_true, 1, 2))  # (B, A, M)
        inside = ops.min(encode_distances(truth.boxes[:, None], points[:, None]), axis=-1) > 0
        overlaps = pairwise_overlaps(boxes, truth.boxes, "ciou")
        matches, quality = match_task_aligned(
            of_class, overlaps, inside, truth.valid, candidates=self.candidates_of_box
        )
        return ignored(matches, cells_of(points, strides), truth), quality

    def targets(self, heads: Heads, truth: TrueBatch, size: Size) -> YOLOTargets:
        matches, quality = self._matched(heads, truth, size)
        number = heads[f"classes_stride{strides_of(heads, 'classes')[0]}"].shape[-1]
        return YOLOTargets(
            class_targets(matches, truth.classes, number) * quality[..., None],
            of_matched(truth.boxes, matches),
            quality,
            ops.cast(matches >= -1, "float32"),
        )

    def loss(self, heads: Heads, targets: YOLOTargets, size: Size) -> dict[str, Any]:
        points, strides = self.places(heads)
        number = ops.maximum(ops.sum(targets.weights, axis=-1), 1.0)  # (B,)
        logits = flattened(heads, "classes", targets.classes.shape[-1])
        entropy = ops.sum(ops.binary_crossentropy(targets.classes, logits, from_logits=True), axis=-1)
        boxes, _ = self.decode(heads, size)
        gaps = 1 - aligned_overlaps(boxes, targets.boxes, "ciou")
        distances = encode_distances(targets.boxes, points) / strides[:, None]
        bins = bins_of(heads)
        logits = ops.reshape(flattened(heads, "boxes", 4 * bins), (-1, len(points), 4, bins))
        spread = ops.mean(DistributionFocal(reduction=None)(ops.clip(distances, 0, bins - 1.01), logits), axis=-1)
        return {
            "classes": self.classes_gain * ops.sum(entropy * targets.counts, axis=-1) / number,
            "boxes": self.boxes_gain * ops.sum(gaps * targets.weights, axis=-1) / number,
            "distances": self.distances_gain * ops.sum(spread * targets.weights, axis=-1) / number,
        }

    def decode(self, heads: Heads, size: Size) -> tuple[Any, Any]:
        points, strides = self.places(heads)
        number = heads[f"classes_stride{strides_of(heads, 'classes')[0]}"].shape[-1]
        distances = expected_distances(flattened(heads, "boxes", 4 * bins_of(heads))) * strides[:, None]
        return decode_distances(distances, points), ops.sigmoid(flattened(heads, "classes", number))


def bins_of(heads: Heads) -> int:
    """Returns the number of distances of each distribution."""
    return heads[f"boxes_stride{strides_of(heads, 'boxes')[0]}"].shape[-1] // 4


def yolo_v8_features(
    x, *, depth: float = 0.33, width: float = 0.25, most_channels: int = 1024, stages=STAGES, prefix: str = ""
) -> dict:
    """The backbone of YOLOv8: convolutions with stride 2 and C2f blocks in turns, and SPPF.

    Source: the table of `yolov8.yaml` of Ultralytics.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        depth: multiplies the repeats of each C2f block.
        width: multiplies every channel count.
        most_channels: channels of a stage at most, before they are widened.
        stages: rows of channels and repeats, at strides 4, 8, 16, 32.
        prefix: what every layer name begins with.

    Returns:
        `{"stride4": (B, H/4, W/4, c), ..., "stride32": (B, H/32, W/32, c)}`.

    Example:
        >>> list(yolo_v8_features(keras.Input((64, 64, 3))))
        ['stride4', 'stride8', 'stride16', 'stride32']
    """
    conv = dict(stride=2, padding="symmetric", act="silu")
    x = conv_norm_act(x, widened(64, width, most_channels), 3, name=f"{prefix}stem", **conv)
    features = {}
    for number, (channels, repeats) in enumerate(stages, start=1):
        filters, stride = widened(channels, width, most_channels), 2 ** (number + 1)
        x = conv_norm_act(x, filters, 3, name=f"{prefix}stage{number}_down", **conv)
        x = c2f(x, filters, repeats=deepened(repeats, depth), name=f"{prefix}stage{number}")
        features[f"stride{stride}"] = x
    features[f"stride{stride}"] = sppf(x, filters, name=f"{prefix}sppf")
    return features


def widened(channels: int, width: float, most: int) -> int:
    """Returns a channel count scaled, at most that of `most`, as a multiple of 8 that is not below it."""
    return max(8, -(-round(min(channels, most) * width) // 8) * 8)


def deepened(repeats: int, depth: float) -> int:
    """Returns a number of blocks scaled, 1 or more."""
    return max(1, round(repeats * depth))


@register(
    task="object_detection",
    paper="https://arxiv.org/abs/2108.07755",
    variants={f"yolo_v8_{size}": settings for size, settings in SIZES.items()},
    # Trained weights as Ultralytics counts them, less 16 fixed ones, plus 2 measured numbers a channel of batch norm.
    params={
        "yolo_v8_n": 3_157_200 - 16 + 10_592,
        "yolo_v8_s": 11_166_560 - 16 + 20_032,
        "yolo_v8_m": 25_902_640 - 16 + 33_120,
        "yolo_v8_l": 43_691_520 - 16 + 46_464,
        "yolo_v8_x": 68_229_648 - 16 + 58_080,
    },
    reference="ultralytics 8, yolov8n to yolov8x with 80 classes, plus batch-norm statistics",
    weights={"torch": "kerasdl.vision.detector_peers:YOLO_V8"},
    tags=("cnn", "detector", "anchor-free", "mobile"),
    tiny=dict(
        image_shape=(64, 64, 3),
        depth=0.33,
        width=0.125,
        most_channels=1024,
        stages=((32, 1), (64, 1), (64, 1)),
        strides=(8, 16),
        bins=6,
        classes=3,
    ),
    free={"image_shape": (None, None, 3)},
)
def yolo_v8(
    image_shape=(640, 640, 3),
    *,
    classes: int = 80,
    depth: float = 0.33,
    width: float = 0.25,
    most_channels: int = 1024,
    stages=STAGES,
    strides=STRIDES,
    bins: int = 16,
) -> keras.Model:
    """YOLOv8, the dense object detector whose places tell class and distributions of the distances to four edges.

    Source: the table of `yolov8.yaml` of Ultralytics.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: K, classes without background.
        depth: multiplies the repeats of each C2f block; 0.33 for n and s, 0.67 for m, 1 for l and x.
        width: multiplies every channel count; 0.25, 0.5, 0.75, 1 and 1.25 for n, s, m, l and x.
        most_channels: channels of a stage at most, before they are widened.
        stages: rows of channels and repeats of the backbone.
        strides: maps of the backbone that are merged, the last ones.
        bins: distances of each distribution, from 0 to bins - 1 strides.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to raw heads in float32 of each level: `classes_stride8`
        (B, H/8, W/8, K) logits, and `boxes_stride8` (B, H/8, W/8, 4 * bins) logits of distances in strides.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> yolo_v8((64, 64, 3), classes=3).output["classes_stride32"].shape
        (None, 2, 2, 3)
    """
    checks.at_least("classes", classes, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    checks.at_least("bins", bins, 2)
    settings = dict(depth=depth, width=width, most_channels=most_channels)
    maps = yolo_v8_features(image, stages=stages, **settings)
    maps = {f"stride{stride}": maps[f"stride{stride}"] for stride in strides}
    repeats = deepened(3, depth)
    maps = pan(maps, [each.shape[-1] for each in maps.values()], repeats=repeats, name="pan")
    finest = next(iter(maps.values())).shape[-1]
    of_boxes, of_classes = max(16, finest // 4, 4 * bins), max(finest, min(classes, 100))
    heads = {}
    for level, x in maps.items():
        heads[f"classes_{level}"] = _head(x, of_classes, classes, name=f"classes_{level}", stride=int(level[6:]))
        heads[f"boxes_{level}"] = _head(x, of_boxes, 4 * bins, name=f"boxes_{level}")
    return keras.Model(image, heads, name="yolo_v8")


def _head(x, channels: int, outputs: int, *, name: str, stride: int | None = None):
    """Two 3x3 convolutions and a 1x1; of a fresh head, 5 objects in 640 x 640 pixels have a score, boxes one stride."""
    for number in (1, 2):
        x = conv_norm_act(x, channels, 3, act="silu", padding="symmetric", name=f"{name}_{number}")
    bias = 1.0 if stride is None else np.log(5 / outputs / (640 / stride) ** 2)
    start = keras.initializers.Constant(float(bias))
    return layers.Conv2D(outputs, 1, bias_initializer=start, dtype="float32", name=name)(x)
