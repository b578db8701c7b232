"""Shape of every detection method: target assigner, loss and decoder of a network of raw heads.

A network gives a dict of raw heads in float32, and bears the name of its method. Heads of feature levels are maps named
by their stride, such as `classes_stride8` (B, H/8, W/8, A * K).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.ops import encode_distances
from kerasdl.ops.matching import BACKGROUND, IGNORED
from kerasdl.train.objectives.label_checks import demand

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
    loss_names: ClassVar[tuple[str, ...]] = ()
    """Names of the parts of its loss; with none the names are found as it runs, and a step is traced twice."""

    def assign(self, heads: Heads, truth: TrueBatch, size: Size) -> tuple[Any, Any]:
        """Returns which prediction learns which true object.

        Returns:
            The box of each prediction before it learns anything, (A, 4) or (B, A, 4): its anchor, its cell of the
            image, or of a query the box that it predicts; and (B, A) int32, the index of its true object, `BACKGROUND`
            or `IGNORED`.
        """
        raise NotImplementedError

    def targets(self, heads: Heads, truth: TrueBatch, size: Size) -> Any:
        """Returns the targets of every location, anchor or query of a batch."""
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
            (B, N) booleans. Dense arrays are taken too; a box of no area is padding, and no object.

    Raises:
        ArgumentError: the labels have another form.
        DataError: a box has no class of its own, or a class is no whole number.
    """
    if not isinstance(labels, Mapping) or not {"boxes", "classes"} <= set(labels):
        got = sorted(labels) if isinstance(labels, Mapping) else type(labels).__name__
        checks.refuse("labels of a detector must be a dict with boxes and classes", got, HINT)
    boxes, counts = _dense("boxes", labels["boxes"], (None, None, 4))
    classes, counts_of_classes = _dense("classes", labels["classes"], (None, None))
    _check_widths(labels, "classes", "class")
    demands = [_same(counts, counts_of_classes, "class"), _whole(classes)]
    present = tf.sequence_mask(counts, tf.shape(boxes)[1])  # (B, M)
    present &= tf.reduce_all(boxes[..., :2] != boxes[..., 2:], axis=-1)  # of no area: padding
    crowd = tf.zeros_like(present)
    if "crowd" in labels:
        crowd, counts_of_crowd = _dense("crowd", labels["crowd"], (None, None))
        _check_widths(labels, "crowd", "entry of crowd")
        demands.append(_same(counts, counts_of_crowd, "entry of crowd"))
    with tf.control_dependencies([each for each in demands if each is not None]):
        crowd = tf.cast(crowd, tf.bool)
        return TrueBatch(
            tf.cast(boxes, tf.float32),
            tf.cast(classes, tf.int32),
            tf.logical_and(present, tf.logical_not(crowd)),
            tf.logical_and(present, crowd),
        )


def true_masks(labels: Mapping[str, Any], size: Size) -> Any:
    """Returns the masks of the objects of `true_batch`, of the same labels.

    Args:
        labels: as there, with `masks`, a `tf.RaggedTensor` (B, N, H, W) of whole numbers or booleans, of which those
            other than 0 are of the object. Dense arrays are taken too.
        size: (height, width) of the images.

    Returns:
        (B, M, H, W) booleans.

    Raises:
        ArgumentError: there are no masks, or they have another form.
        DataError: a box has no mask of its own.
    """
    if "masks" not in labels:
        hint = 'kerasdl.data.load(..., labels="masks") has them.'
        checks.refuse("labels of Mask R-CNN must have masks beside the boxes", sorted(labels), hint)
    masks, counts = _dense("masks", labels["masks"], (None, None, *size))
    if masks.dtype.is_floating:
        checks.refuse("masks must be whole numbers or booleans", masks.dtype.name)
    _check_widths(labels, "masks", "mask")
    same = _same(counts, _dense("boxes", labels["boxes"], (None, None, 4))[1], "mask")
    with tf.control_dependencies([] if same is None else [same]):
        return tf.cast(masks, tf.bool)


def checked_truth(truth: TrueBatch, size: Size, classes: int) -> TrueBatch:
    """Returns true objects of a batch that a detector can learn; in a graph they are checked as it runs.

    Args:
        truth: true objects of the batch.
        size: (height, width) of the images.
        classes: K, classes of the detector.

    Raises:
        DataError: a box is not finite, reversed, wholly outside its image or a share of it, or a class is none of K.
    """
    there = tf.logical_or(truth.valid, truth.crowd)
    left, top, right, bottom = tf.unstack(truth.boxes, axis=-1)
    outside = (left >= size[1]) | (top >= size[0]) | (right <= 0) | (bottom <= 0)
    shares = (tf.reduce_max(truth.boxes) <= 1) & ((left > 0) | (top > 0))
    unknown = (truth.classes < 0) | (truth.classes >= classes)
    finite = tf.reduce_all(tf.math.is_finite(truth.boxes), axis=-1)
    form = "boxes must be left, top, right, bottom"
    demands = [
        demand(there & ~finite, "boxes must be finite", truth.boxes),
        demand(there & ((left > right) | (top > bottom)), form, truth.boxes),
        demand(there & shares, f"{form} in pixels, not in shares of the image", truth.boxes),
        demand(there & outside, f"boxes must overlap the resized images of {size[0]} x {size[1]} pixels", truth.boxes),
        demand(truth.valid & unknown, f"classes must be whole numbers from 0 to {classes - 1}", truth.classes),
    ]
    with tf.control_dependencies([each for each in demands if each is not None]):
        return TrueBatch(*map(tf.identity, truth))


def _check_widths(labels: Mapping[str, Any], name: str, what: str) -> None:
    """Refuses dense labels of other widths than the boxes, before a graph of them fails."""
    if isinstance(labels["boxes"], tf.RaggedTensor) or isinstance(labels[name], tf.RaggedTensor):
        return  # their numbers are compared in each image
    widths = tuple(tf.convert_to_tensor(labels[each]).shape[1] for each in ("boxes", name))
    if None not in widths and widths[0] != widths[1]:
        checks.refuse(f"each box must have one {what}", widths, HINT)


def _same(counts: Any, others: Any, what: str) -> Any:
    return demand(counts != others, f"each box must have one {what}", tf.stack([counts, others], axis=-1))


def _whole(classes: Any) -> Any:
    """Returns the operation that stops at a class between two whole numbers; None for integers."""
    if classes.dtype.is_floating:
        return demand(classes != tf.floor(classes), "classes must be whole numbers", classes)
    return None


def _dense(name: str, values: Any, shape: tuple) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns values padded by one entry at least, and the number of entries of each image."""
    if not isinstance(values, tf.RaggedTensor):
        values = tf.convert_to_tensor(values)
    if not (values.dtype.is_floating or values.dtype.is_integer or values.dtype.is_bool):
        checks.refuse(f"{name} of a detector must be numbers", values.dtype.name, HINT)
    if not values.shape.is_compatible_with((None, None, *shape[2:])):
        checks.refuse(f"{name} of a batch must be {('B', 'N', *shape[2:])}", tuple(values.shape), HINT)
    if isinstance(values, tf.RaggedTensor):
        counts, values = tf.cast(values.row_lengths(), tf.int64), values.to_tensor(shape=shape)
    else:
        counts = tf.fill([tf.shape(values)[0]], tf.cast(tf.shape(values)[1], tf.int64))
    padding = [[0, 0], [0, 1], *[[0, 0]] * (len(shape) - 2)]
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


def cells_of(points: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """Returns the cells of the image (A, 4) around points (A, 2) of levels with strides (A,)."""
    half = strides[:, None] / 2
    return np.concatenate([points - half, points + half], axis=-1).astype("float32")


def class_targets(matches: Any, classes: Any, number: int) -> Any:
    """Returns (B, A, K) float32, 1 for the class of each matched prediction.

    Args:
        matches: (B, A) int32, negative where there is no match.
        classes: (B, M) int32.
        number: K.
    """
    found = ops.cast(matches >= 0, "float32")[..., None]
    return ops.one_hot(of_matched(classes, matches), number) * found
