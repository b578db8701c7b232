"""Matching of predictions to true boxes: by IoU, ATSS, centre sampling, task alignment, and one to one.

Boxes of an image are padded to a fixed number M of 1 or more; `valid` says which are real. A match is the index of a
true box, or `BACKGROUND`, or `IGNORED` where a prediction is to teach nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops
from scipy.optimize import linear_sum_assignment

from kerasdl.core import checks

from .box_coding import encode_distances
from .boxes import box_areas
from .overlaps import pairwise_overlaps

BACKGROUND, IGNORED = -1, -2
FAR = 1e9  # a cost or distance that nothing real has


def match_by_overlap(
    overlaps: Any, valid: Any, *, positive: float = 0.5, negative: float = 0.4, rescue: str = "predictions"
) -> Any:
    """Returns matches by the best IoU of each prediction: positive from one bound on, background below another.

    Source: Faster R-CNN, https://arxiv.org/abs/1506.01497, section 3.1.2; SSD, https://arxiv.org/abs/1512.02325,
    section 2.2.

    Args:
        overlaps: (..., A, M) IoU of predictions (anchors) with true boxes.
        valid: (..., M) booleans.
        positive: the IoU from which on a prediction is positive.
        negative: the IoU below which it is background; between both it is ignored.
        rescue: what happens to true boxes whose best IoU is too low. `predictions`: each prediction that no other
            exceeds for some true box keeps its own best box (Faster R-CNN, RetinaNet); `boxes`: each true box takes the
            one prediction of highest IoU (SSD); `none`.

    Returns:
        (..., A) int32.

    Raises:
        ArgumentError: the bounds are not 0 <= negative <= positive <= 1, or `rescue` is unknown.

    Example:
        >>> match_by_overlap([[0.6, 0.1], [0.45, 0.0], [0.1, 0.3]], [True, True]).numpy()
        array([ 0, -2,  1], dtype=int32)
    """
    checks.one_of("rescue", rescue, ("predictions", "boxes", "none"))
    checks.within("negative", negative, 0.0, checks.within("positive", positive, 0.0, 1.0))
    overlaps = _of_valid(ops.convert_to_tensor(overlaps), valid, -1.0)
    best, nearest = ops.max(overlaps, axis=-1), ops.cast(ops.argmax(overlaps, axis=-1), "int32")
    matches = ops.where(best >= positive, nearest, ops.where(best < negative, BACKGROUND, IGNORED))
    if rescue == "predictions":
        highest = ops.max(overlaps, axis=-2, keepdims=True)  # (..., 1, M)
        is_highest = ops.logical_and(overlaps == highest, overlaps > 0)
        return ops.where(ops.any(is_highest, axis=-1), nearest, matches)
    if rescue == "boxes":
        winners = ops.argmax(overlaps, axis=-2)[..., None, :]  # (..., 1, M)
        wins = ops.logical_and(ops.arange(overlaps.shape[-2])[:, None] == winners, _row(valid))
        last = ops.shape(overlaps)[-1] - 1 - ops.argmax(ops.flip(ops.cast(wins, "int32"), axis=-1), axis=-1)
        return ops.where(ops.any(wins, axis=-1), ops.cast(last, "int32"), matches)
    return matches


def match_atss(anchors: Any, boxes: Any, valid: Any, level_counts: Sequence[int], *, candidates: int = 9) -> Any:
    """Returns matches by adaptive training sample selection: each true box sets its own IoU bound.

    The bound is the mean plus the standard deviation of the IoU of the `candidates` anchors of each level whose centres
    are nearest; an anchor above it with its centre inside the box is positive.

    Source: ATSS, https://arxiv.org/abs/1912.02424, algorithm 1.

    Args:
        anchors: (A, 4) `xyxy` anchors, one at each place.
        boxes: (..., M, 4) true boxes.
        valid: (..., M) booleans.
        level_counts: anchors of each level.
        candidates: anchors of a level.

    Returns:
        (..., A) int32; an anchor that several boxes claim goes to that of the highest IoU.

    Raises:
        ArgumentError: the counts do not add up to A.

    Example:
        >>> anchors = anchor_boxes([(4, 4)], [8], [[16]], [1.0])
        >>> int((match_atss(anchors, [[[4, 4, 20, 20]]], [[True]], [16]) == 0).numpy().sum())
        1
    """
    anchors, boxes = ops.convert_to_tensor(anchors), ops.convert_to_tensor(boxes, "float32")
    if sum(level_counts) != anchors.shape[0]:
        checks.refuse(f"level_counts must add up to the {anchors.shape[0]} anchors", tuple(level_counts))
    overlaps = pairwise_overlaps(anchors, boxes)  # (..., A, M)
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    offsets = centres[:, None] - (boxes[..., None, :, :2] + boxes[..., None, :, 2:]) / 2  # (..., A, M, 2)
    distances = ops.sum(ops.square(offsets), axis=-1)
    chosen, start = [], 0
    for count in checks.counts("level_counts", tuple(level_counts)):
        chosen.append(_smallest(distances[..., start : start + count, :], min(candidates, count)))
        start += count
    chosen = ops.concatenate(chosen, axis=-2)  # (..., A, M), 1 for candidates
    number = ops.sum(chosen, axis=-2, keepdims=True)
    mean = ops.sum(overlaps * chosen, axis=-2, keepdims=True) / number
    spread = ops.sum(ops.square(overlaps - mean) * chosen, axis=-2, keepdims=True) / ops.maximum(number - 1, 1)
    inside = ops.min(encode_distances(boxes[..., None, :, :], centres[:, None]), axis=-1) > 0
    is_positive = (chosen > 0) & (overlaps >= mean + ops.sqrt(spread)) & inside & _row(valid)
    return _claimed(is_positive, overlaps)


def match_centres(
    points: Any, reaches: Any, boxes: Any, valid: Any, *, strides: Any, radius: float | None = 1.5
) -> Any:
    """Returns matches of points to the smallest true box that holds them and is of their level's size.

    Source: FCOS, https://arxiv.org/abs/1904.01355, section 3.2, with the centre sampling of its later version.

    Args:
        points: (A, 2) of x and y.
        reaches: (A, 2), the least and the greatest distance from a point to the farthest edge of its box.
        boxes: (..., M, 4) true boxes.
        valid: (..., M) booleans.
        strides: (A,) pixels between the points of each level.
        radius: a point stands within so many strides of the box's centre, in x and in y; None takes the whole box.

    Returns:
        (..., A) int32.

    Example:
        >>> points, strides = grid_points([(2, 2)], [8])
        >>> match_centres(points, np.tile([0.0, 99.0], (4, 1)), [[[0, 0, 8, 8]]], [[True]], strides=strides).numpy()
        array([[ 0, -1, -1, -1]], dtype=int32)
    """
    points, boxes = ops.convert_to_tensor(points, "float32"), ops.convert_to_tensor(boxes, "float32")
    reaches, strides = ops.convert_to_tensor(reaches, "float32"), ops.convert_to_tensor(strides, "float32")
    distances = encode_distances(boxes[..., None, :, :], points[:, None])  # (..., A, M, 4)
    farthest = ops.max(distances, axis=-1)
    fits = ops.min(distances, axis=-1) > 0
    fits = fits & (farthest >= reaches[:, :1]) & (farthest <= reaches[:, 1:])
    if radius is not None:
        centres = (boxes[..., None, :, :2] + boxes[..., None, :, 2:]) / 2
        off = ops.max(ops.abs(points[:, None] - centres), axis=-1)
        fits = fits & (off < radius * strides[:, None])
    return _claimed(fits & _row(valid), -box_areas(boxes)[..., None, :])


def match_task_aligned(
    scores: Any,
    overlaps: Any,
    inside: Any,
    valid: Any,
    *,
    candidates: int = 10,
    score_power: float = 0.5,
    overlap_power: float = 6.0,
) -> tuple[Any, Any]:
    """Returns matches of the predictions that fit each true box best by score and IoU together, and their targets.

    Source: TOOD, https://arxiv.org/abs/2108.07755, section 3.3, with the constants of YOLOv8.

    Args:
        scores: (..., A, M) probability that a prediction gives to the class of each true box.
        overlaps: (..., A, M) IoU of predicted with true boxes.
        inside: (..., A, M) booleans: the prediction's point lies in the box.
        valid: (..., M) booleans.
        candidates: predictions of each true box at most.
        score_power: alpha.
        overlap_power: beta.

    Returns:
        (..., A) int32, where a prediction that several boxes claim goes to that of the highest IoU; and (..., A)
        floats, the targets of classification: alignment, scaled so that the best of each box has its highest IoU.

    Raises:
        ArgumentError: `candidates` is not a positive integer.

    Example:
        >>> match, target = match_task_aligned([[0.9], [0.5]], [[0.8], [0.4]], [[True], [True]], [True], candidates=1)
        >>> match.numpy(), target.numpy().round(2)
        (array([ 0, -1], dtype=int32), array([0.8, 0. ], dtype=float32))
    """
    overlaps = ops.maximum(ops.convert_to_tensor(overlaps), 0)
    allowed = ops.cast(ops.convert_to_tensor(inside) & _row(valid), overlaps.dtype)
    alignment = ops.convert_to_tensor(scores) ** score_power * overlaps**overlap_power * allowed
    chosen = _smallest(-alignment, min(checks.at_least("candidates", candidates, 1), alignment.shape[-2]))
    is_positive = ops.logical_and(chosen > 0, alignment > 0)
    matches = _claimed(is_positive, overlaps)
    places = ops.arange(ops.shape(overlaps)[-1], dtype="int32")
    is_own = ops.cast(places == matches[..., None], overlaps.dtype)  # (..., A, M)
    best_alignment = ops.max(alignment * is_own, axis=-2, keepdims=True)
    best_overlap = ops.max(overlaps * is_own, axis=-2, keepdims=True)
    scale = best_overlap / ops.where(best_alignment > 0, best_alignment, ops.ones_like(best_alignment))
    return matches, ops.sum(alignment * is_own * scale, axis=-1)


def match_one_to_one(costs: Any, valid: Any) -> Any:
    """Returns the one-to-one matches of least total cost (the Hungarian method, computed by SciPy on the host).

    Source: DETR, https://arxiv.org/abs/2005.12872, equation 1.

    Args:
        costs: (B, Q, M) floats: cost of each prediction for each true box; a cost that is no number counts as highest.
        valid: (B, M) booleans.

    Returns:
        (B, Q) int32; each valid box has one prediction, as far as there are predictions.

    Example:
        >>> match_one_to_one([[[1.0, 2.0], [0.0, 5.0], [9.0, 9.0]]], [[True, True]]).numpy()
        array([[ 1,  0, -1]], dtype=int32)
    """
    matches = tf.numpy_function(_least_costs, (costs, valid), tf.int32, stateful=False)
    return tf.ensure_shape(matches, tf.convert_to_tensor(costs).shape[:2])


def sample_balanced(matches: Any, noise: Any, *, count: int = 256, positive_share: float = 0.5) -> Any:
    """Returns which predictions take part in a loss: a random sample of positives and background.

    Source: Faster R-CNN, https://arxiv.org/abs/1506.01497, section 3.1.3.

    Args:
        matches: (..., A) integers.
        noise: (..., A) uniform random numbers, which choose.
        count: predictions of an image.
        positive_share: share of positives at most; background fills up the rest.

    Returns:
        (..., A) booleans; ignored predictions are never taken.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> sample_balanced([0, 1, -1, -1, -2], [0.1, 0.2, 0.3, 0.4, 0.0], count=3, positive_share=0.4).numpy()
        array([ True, False,  True,  True, False])
    """
    checks.at_least("count", count, 1)
    checks.within("positive_share", positive_share, 0.0, 1.0)
    matches, noise = ops.convert_to_tensor(matches), ops.convert_to_tensor(noise)
    is_positive, is_background = matches >= 0, matches == BACKGROUND
    most = int(count * positive_share)
    positives = ops.minimum(ops.sum(ops.cast(is_positive, "int32"), axis=-1, keepdims=True), most)
    taken = is_positive & (_rank(is_positive, noise) < positives)
    return taken | (is_background & (_rank(is_background, noise) < count - positives))


def _rank(flags: Any, noise: Any) -> Any:
    """Returns the place of each flagged entry among the flagged ones, by noise; others come after."""
    order = ops.argsort(ops.where(flags, noise, ops.ones_like(noise) * 2), axis=-1)
    return ops.argsort(order, axis=-1)


def _of_valid(values: Any, valid: Any, other: float) -> Any:
    return ops.where(_row(valid), values, ops.full_like(values, other))


def _row(valid: Any) -> Any:
    return ops.convert_to_tensor(valid, "bool")[..., None, :]  # (..., 1, M)


def _smallest(values: Any, count: int) -> Any:
    """Returns 1 for the `count` smallest of each column of (..., A, M), and 0 elsewhere."""
    _, places = ops.top_k(-ops.swapaxes(values, -1, -2), count)  # (..., M, count)
    return ops.swapaxes(ops.sum(ops.one_hot(places, values.shape[-2], dtype=values.dtype), axis=-2), -1, -2)


def _claimed(is_positive: Any, preference: Any) -> Any:
    """Returns the match of each prediction: of the boxes that claim it, that of the highest preference."""
    value = ops.where(is_positive, preference, -FAR)
    return ops.where(ops.any(is_positive, axis=-1), ops.cast(ops.argmax(value, axis=-1), "int32"), BACKGROUND)


def _least_costs(costs: np.ndarray, valid: np.ndarray) -> np.ndarray:
    matches = np.full(costs.shape[:2], BACKGROUND, np.int32)
    for row, cost, is_real in zip(matches, np.nan_to_num(costs, nan=FAR, posinf=FAR, neginf=-FAR), valid, strict=True):
        real = np.flatnonzero(is_real)
        chosen, of_real = linear_sum_assignment(cost[:, real])
        row[chosen] = real[of_real]
    return matches
