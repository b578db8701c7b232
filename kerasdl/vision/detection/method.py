"""Shape of every detection method: target assigner, loss and decoder of a network of raw heads.

A network gives a dict of raw heads in float32, and bears the name of its method. Heads of feature levels are maps named
by their stride, such as `classes_stride8` (B, H/8, W/8, A * K).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.ops import encode_distances
from kerasdl.ops.matching import BACKGROUND, IGNORED

Heads = Mapping[str, Any]
Size = tuple[int, int]
HINT = 'Labels are {"boxes": (N, 4) of each image, "classes": (N,)}; kerasdl.data.load reads them from files.'


class TrueBatch(NamedTuple):
    """True objects of a batch of images, padded to the largest number M of objects; M is 1 or more."""

    boxes: Any
    """(B, M, 4) float32 `xyxy` boxes in pixels of the network's input; 0 where there is no object."""
    classes: Any
    """(B, M) int32."""
    valid: Any
    """(B, M) booleans: which are objects."""
    crowd: Any
    """(B, M) booleans: which are regions of many objects, and no objects; nothing is learnt inside them."""


@dataclass(frozen=True)
class Method:
    """Base class of detection methods: three functions of the raw heads of a network.

    Fields of subclasses are plain settings. Coordinates are pixels of the network's input, whose size is (height,
    width).
    """

    name: ClassVar[str]
    """Name of the method, and of each `keras.Model` that it trains."""
    overlap: ClassVar[float | None] = 0.5
    """IoU above which of two predicted boxes of a class the less likely one is dropped; None drops none."""
    candidates: ClassVar[int] = 1000
    """Pairs of box and class of an image that are considered as predictions."""
    roles: ClassVar[tuple[str, ...]] = ("model",)
    """Roles of the networks that it trains together; the first one takes the images."""

    def targets(self, heads: Heads, truth: TrueBatch, size: Size) -> Any:
        """Returns the targets of every location, anchor or query of a batch: the assigner."""
        raise NotImplementedError

    def loss(self, heads: Heads, targets: Any, size: Size) -> dict[str, Any]:
        """Returns the parts of the loss by name, each (B,), a number for each image."""
        raise NotImplementedError

    def decode(self, heads: Heads, size: Size) -> tuple[Any, Any]:
        """Returns boxes (B, A, 4), `xyxy` in pixels, and the score (B, A, K) of each class, from 0 to 1."""
        raise NotImplementedError


def true_batch(labels: Any) -> TrueBatch:
    """Returns labels of a batch as one record of dense tensors.

    Args:
        labels: dict with `boxes`, a `tf.RaggedTensor` (B, N, 4) in pixels, `classes` (B, N), and optionally `crowd`
            (B, N) booleans.

    Raises:
        ArgumentError: the labels have another form.
    """
    if not isinstance(labels, Mapping) or not {"boxes", "classes"} <= set(labels):
        got = sorted(labels) if isinstance(labels, Mapping) else type(labels).__name__
        checks.refuse("labels of a detector must be a dict with boxes and classes", got, HINT)
    boxes, counts = _dense(labels["boxes"], (None, None, 4))
    classes, counts_of_classes = _dense(labels["classes"], (None, None))
    same = tf.debugging.assert_equal(counts, counts_of_classes, "each box must have one class")
    with tf.control_dependencies([same] if same is not None else []):
        present = tf.sequence_mask(counts, tf.shape(boxes)[1])  # (B, M)
    crowd = tf.zeros_like(present)
    if "crowd" in labels:
        crowd = tf.cast(_dense(labels["crowd"], (None, None))[0], tf.bool)
    return TrueBatch(
        tf.cast(boxes, tf.float32),
        tf.cast(classes, tf.int32),
        tf.logical_and(present, tf.logical_not(crowd)),
        tf.logical_and(present, crowd),
    )


def _dense(values: Any, shape: tuple) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns values padded by one entry at least, and the number of entries of each image."""
    if isinstance(values, tf.RaggedTensor):
        counts, values = values.row_lengths(), values.to_tensor(shape=shape)
    else:
        values = tf.convert_to_tensor(values)
        counts = tf.fill([tf.shape(values)[0]], tf.cast(tf.shape(values)[1], tf.int64))
    padding = [[0, 0], [0, 1], [0, 0]][: len(shape)]
    return tf.pad(values, padding), counts


def strides_of(heads: Heads, kind: str) -> list[int]:
    """Returns the strides of the levels that have a head of a kind, from fine to coarse.

    Example:
        >>> strides_of({"classes_stride16": None, "classes_stride8": None, "boxes_stride8": None}, "classes")
        [8, 16]
    """
    start = f"{kind}_stride"
    return sorted(int(name.removeprefix(start)) for name in heads if name.startswith(start))


def flattened(heads: Heads, kind: str, width: int) -> Any:
    """Returns the heads of a kind of all levels as one tensor, in the order of `kerasdl.ops.anchor_boxes`.

    Args:
        heads: raw heads of a network, maps (B, h, w, A * width).
        kind: beginning of their names, such as `classes`.
        width: numbers of one anchor or location.

    Returns:
        (B, A of all levels, width).
    """
    maps = [heads[f"{kind}_stride{stride}"] for stride in strides_of(heads, kind)]
    return ops.concatenate([ops.reshape(each, (-1, _places(each, width), width)) for each in maps], axis=1)


def map_sizes(heads: Heads, kind: str) -> list[Size]:
    """Returns (rows, columns) of each level's head of a kind, from fine to coarse.

    Raises:
        ArgumentError: the sides of the maps are not known.
    """
    sizes = [tuple(heads[f"{kind}_stride{stride}"].shape[1:3]) for stride in strides_of(heads, kind)]
    if any(side is None for size in sizes for side in size):
        checks.refuse("images of a batch must have known sides", sizes, "Batch images of one size.")
    return sizes


def _places(head: Any, width: int) -> int:
    sides = head.shape[1:]
    if None in sides:
        checks.refuse("images of a batch must have known sides", tuple(sides), "Batch images of one size.")
    return sides[0] * sides[1] * sides[2] // width


def sides_of(images: Any) -> Size:
    """Returns (height, width) of a batch of images; raises `ArgumentError` where they are not known."""
    height, width = images.shape[1:3]
    if height is None or width is None:
        checks.refuse("images of a batch must have known sides", tuple(images.shape), "Load them with image_shape.")
    return height, width


def without_gradients(targets: Any) -> Any:
    """Returns targets, a record of tensors, as constants of a loss."""
    return tf.nest.map_structure(tf.stop_gradient, targets)


def of_matched(values: Any, matches: Any) -> Any:
    """Returns the value of the matched true object of each prediction; those of unmatched ones are of the first.

    Args:
        values: (B, M) or (B, M, D).
        matches: (B, A) int32, negative where there is no match.
    """
    return tf.gather(values, tf.maximum(matches, 0), batch_dims=1)


def ignored(matches: Any, boxes: Any, truth: TrueBatch) -> Any:
    """Returns matches without background inside crowd regions: there it is `IGNORED`.

    Args:
        matches: (B, A) int32.
        boxes: (A, 4) `xyxy` anchors, or (B, A, 4) boxes of each image; a place is a box of no area.
        truth: true objects of the batch.
    """
    boxes = tf.convert_to_tensor(boxes, tf.float32)
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    inside = ops.min(encode_distances(truth.boxes[:, None], centres[..., None, :]), axis=-1) > 0  # (B, A, M)
    in_crowd = ops.any(ops.logical_and(inside, truth.crowd[:, None]), axis=-1)
    return ops.where(ops.logical_and(in_crowd, matches == BACKGROUND), IGNORED, matches)


def class_targets(matches: Any, classes: Any, number: int) -> Any:
    """Returns (B, A, K) float32, 1 for the class of each matched prediction.

    Args:
        matches: (B, A) int32, negative where there is no match.
        classes: (B, M) int32.
        number: K.
    """
    found = ops.cast(matches >= 0, "float32")[..., None]
    return ops.one_hot(of_matched(classes, matches), number) * found
