"""Suppression of overlapping boxes: hard, soft and matrix NMS, class by class, with outputs of fixed size.

All of it is dense algebra over the best candidates of each image, so that the same graph runs in TensorFlow, in the
built-in operations of TFLite and in ONNX, for any batch.
"""

from typing import Any, NamedTuple

from keras import ops

from kerasdl.core import checks

from .boxes import columns_of
from .overlaps import pairwise_overlaps

CANDIDATES = 1000


class Detections(NamedTuple):
    """Detections of a batch of images in tensors of fixed size, the best first; entries beyond `count` are 0."""

    boxes: Any
    """(B, M, 4) `xyxy` boxes."""
    scores: Any
    """(B, M) floats."""
    classes: Any
    """(B, M) int32."""
    count: Any
    """(B,) int32, boxes of each image."""


def nms(
    boxes: Any,
    scores: Any,
    *,
    overlap: Any = 0.5,
    min_score: Any = 0.05,
    max_boxes: int = 100,
    candidates: int = CANDIDATES,
    class_agnostic: bool = False,
) -> Detections:
    """Returns the boxes that non-maximum suppression keeps: each class by itself, or all classes together.

    A box is dropped if its IoU with a kept box of a higher score is above `overlap`. Greedy suppression is the only
    solution of "kept = no kept box of a higher score overlaps", so it is found by repeating that rule on all boxes at
    once until nothing changes, which takes as many steps as the longest chain of boxes, not as there are boxes.

    Args:
        boxes: (B, N, 4) `xyxy` boxes, or (B, N, K, 4) with a box for each class.
        scores: (B, N, K) floats; a box may count for several classes.
        overlap: IoU from 0 to 1; or a tensor (B,), one for each image, whose values are brought into these bounds.
        min_score: scores up to it are dropped; or a tensor (B,).
        max_boxes: M, boxes of an image at most.
        candidates: pairs of box and class with the highest scores that are considered; memory grows with its square.
        class_agnostic: whether boxes suppress boxes of other classes too.

    Returns:
        Detections of M boxes an image.

    Raises:
        ArgumentError: an argument breaks its rule, or the shapes do not fit.

    Example:
        >>> boxes = np.array([[[0, 0, 4, 4], [0, 0, 4, 5], [8, 8, 9, 9]]], "float32")
        >>> kept = nms(boxes, np.array([[[0.9], [0.8], [0.7]]], "float32"), max_boxes=4)
        >>> kept.scores.numpy().round(1), kept.count.numpy()
        (array([[0.9, 0.7, 0. , 0. ]], dtype=float32), array([2], dtype=int32))
    """
    if isinstance(overlap, (int, float)):
        checks.within("overlap", overlap, 0.0, 1.0)
    else:
        overlap = ops.reshape(ops.clip(overlap, 0.0, 1.0), (-1, 1, 1))  # (B, 1, 1)
    chosen = _candidates(boxes, scores, min_score, candidates)
    blocks = _overlaps_above(overlap, chosen.boxes) * _is_rival(chosen, class_agnostic)  # row suppresses column

    def again(keep: Any, changed: Any) -> tuple:
        following = ops.cast(ops.matmul(keep[:, None], blocks)[:, 0] < 0.5, keep.dtype)
        return following, ops.any(following != keep)

    keep = ops.ones_like(chosen.scores)
    keep, _ = ops.while_loop(lambda keep, changed: changed, again, (keep, ops.convert_to_tensor(True)))
    return _best(chosen._replace(scores=chosen.scores * keep), max_boxes)


def soft_nms(
    boxes: Any,
    scores: Any,
    *,
    sigma: float = 0.5,
    overlap: float = 0.3,
    kind: str = "gaussian",
    min_score: float = 0.05,
    max_boxes: int = 100,
    candidates: int = CANDIDATES,
    class_agnostic: bool = False,
) -> Detections:
    """Returns boxes whose scores fall with the overlap of better boxes, instead of being dropped.

    Source: Soft-NMS, https://arxiv.org/abs/1704.04503, section 3.

    Args:
        boxes: as in `nms`.
        scores: as in `nms`.
        sigma: for `gaussian`, scores are multiplied by exp(-IoU^2 / sigma).
        overlap: for `linear`, scores are multiplied by 1 - IoU where the IoU is at least this.
        kind: `gaussian` or `linear`.
        min_score: scores up to it are dropped, before and after.
        max_boxes: M, boxes of an image at most; one step of a loop each.
        candidates: as in `nms`.
        class_agnostic: as in `nms`.

    Returns:
        Detections of M boxes an image, by their lowered scores.

    Raises:
        ArgumentError: an argument breaks its rule, or the shapes do not fit.

    Example:
        >>> boxes = np.array([[[0, 0, 4, 4], [0, 0, 4, 4]]], "float32")
        >>> soft = soft_nms(boxes, np.array([[[0.9], [0.8]]], "float32"), max_boxes=2)
        >>> soft.scores.numpy().round(3)
        array([[0.9  , 0.108]], dtype=float32)
    """
    checks.one_of("kind", kind, ("gaussian", "linear"))
    checks.within("overlap", overlap, 0.0, 1.0)
    if not sigma > 0:
        checks.refuse("sigma must be positive", sigma)
    checks.at_least("max_boxes", max_boxes, 1)
    chosen = _candidates(boxes, scores, min_score, candidates)
    shared = pairwise_overlaps(chosen.boxes, chosen.boxes)
    if not class_agnostic:
        shared = shared * ops.cast(chosen.classes[:, :, None] == chosen.classes[:, None], shared.dtype)
    if kind == "gaussian":
        factors = ops.exp(-ops.square(shared) / sigma)
    else:
        factors = ops.where(shared >= overlap, 1 - shared, ops.ones_like(shared))
    places = ops.arange(ops.shape(chosen.scores)[1])

    def take_best(step: Any, left: Any, taken: Any) -> tuple:
        best = ops.cast(places[None] == ops.argmax(left, axis=-1)[:, None], left.dtype)  # (B, C), one-hot
        taken = taken + best * left
        left = left * (1 - best) * ops.matmul(best[:, None], factors)[:, 0]
        return step + 1, left * ops.cast(left > min_score, left.dtype), taken

    start = (ops.convert_to_tensor(0), chosen.scores, ops.zeros_like(chosen.scores))
    _, _, final = ops.while_loop(lambda step, left, taken: step < max_boxes, take_best, start)
    return _best(chosen._replace(scores=final), max_boxes)


def matrix_nms(
    boxes: Any,
    scores: Any,
    *,
    sigma: float = 0.5,
    kind: str = "gaussian",
    min_score: float = 0.05,
    max_boxes: int = 100,
    candidates: int = CANDIDATES,
    class_agnostic: bool = False,
) -> Detections:
    """Returns boxes whose scores are lowered in one step, without a loop.

    Source: matrix NMS, SOLOv2, https://arxiv.org/abs/2003.10152, equations 5 and 6: a box decays by the better box
    that lowers it most, in relation to how far that box is itself covered by a better one.

    Args:
        boxes: as in `nms`.
        scores: as in `nms`.
        sigma: for `gaussian`, the decay is exp(-(IoU^2 - IoU'^2) / sigma).
        kind: `gaussian` or `linear`, (1 - IoU) / (1 - IoU').
        min_score: scores up to it are dropped, before and after.
        max_boxes: M, boxes of an image at most.
        candidates: as in `nms`.
        class_agnostic: as in `nms`.

    Returns:
        Detections of M boxes an image, by their lowered scores.

    Raises:
        ArgumentError: an argument breaks its rule, or the shapes do not fit.

    Example:
        >>> boxes = np.array([[[0, 0, 4, 4], [0, 0, 4, 2]]], "float32")
        >>> kept = matrix_nms(boxes, np.array([[[0.9], [0.8]]], "float32"), kind="linear", max_boxes=2)
        >>> kept.scores.numpy().round(2)
        array([[0.9, 0.4]], dtype=float32)
    """
    checks.one_of("kind", kind, ("gaussian", "linear"))
    if not sigma > 0:
        checks.refuse("sigma must be positive", sigma)
    chosen = _candidates(boxes, scores, min_score, candidates)
    shared = pairwise_overlaps(chosen.boxes, chosen.boxes) * _is_rival(chosen, class_agnostic)  # (B, C, C)
    covered = ops.max(shared, axis=-2)[..., None]  # of each row by a better box
    if kind == "gaussian":
        decay = ops.exp((ops.square(covered) - ops.square(shared)) / sigma)
    else:
        decay = (1 - shared) / ops.maximum(1 - covered, 1e-6)
    decay = ops.where(shared > 0, decay, ops.ones_like(decay))  # what does not overlap does not decay
    final = chosen.scores * ops.minimum(ops.min(decay, axis=-2), 1)
    return _best(chosen._replace(scores=final * ops.cast(final > min_score, final.dtype)), max_boxes)


def _candidates(boxes: Any, scores: Any, min_score: Any, candidates: int) -> Detections:
    """Returns the pairs of box and class of the highest scores, in order; those up to `min_score` score 0."""
    boxes, scores = ops.convert_to_tensor(boxes), ops.convert_to_tensor(scores)
    checks.at_least("candidates", candidates, 1)
    if not isinstance(min_score, (int, float)):
        min_score = ops.reshape(min_score, (-1, 1))  # (B, 1)
    elif not min_score >= 0:
        checks.refuse("min_score must be 0 or more", min_score, "Pass probabilities as scores.")
    fits = len(scores.shape) == 3 and boxes.shape[-1] == 4 and len(boxes.shape) in (3, 4)
    if not fits or (len(boxes.shape) == 4 and boxes.shape[2] not in (1, scores.shape[2])):
        shapes = tuple(boxes.shape), tuple(scores.shape)
        checks.refuse("boxes must be (B, N, 4) or (B, N, K, 4), with scores (B, N, K)", shapes)
    count, classes = scores.shape[1:]
    if count is None:
        checks.refuse("the number of boxes must be known", tuple(boxes.shape), "Fix the size of the image.")
    boxes = boxes if len(boxes.shape) == 4 else boxes[:, :, None]
    if classes > 1 and count > candidates:  # each of the best pairs is of one of as many best boxes
        rows = -ops.top_k(-ops.top_k(ops.max(scores, axis=-1), candidates)[1], candidates)[0]  # in their own order
        scores = ops.take_along_axis(scores, rows[..., None], axis=1)
        boxes = ops.take_along_axis(boxes, rows[..., None, None], axis=1)
        count = candidates
    best, places = ops.top_k(ops.reshape(scores, (-1, count * classes)), min(candidates, count * classes))
    rows = places if boxes.shape[2] > 1 else places // classes
    picked = ops.take_along_axis(ops.reshape(boxes, (-1, count * boxes.shape[2], 4)), rows[..., None], axis=1)
    best = ops.where(best > min_score, best, ops.zeros_like(best))  # a score that is no number is dropped too
    valid = ops.sum(ops.cast(best > 0, "int32"), axis=-1)
    return Detections(picked, best, ops.cast(places % classes, "int32"), valid)


def _overlaps_above(bound: Any, boxes: Any) -> Any:
    """Returns (B, C, C), 1 where the IoU of two boxes is above a bound.

    Intersection > bound * union, where the union is the sum of both areas less the intersection.
    """
    left, top, right, bottom = columns_of(boxes)
    share = ops.relu(right - left) * ops.relu(bottom - top) * (bound / (1 + bound))
    left2, top2, right2, bottom2, share2 = (ops.swapaxes(each, 1, 2) for each in (left, top, right, bottom, share))
    width = ops.relu(ops.minimum(right, right2) - ops.maximum(left, left2))
    height = ops.minimum(bottom, bottom2) - ops.maximum(top, top2)  # below 0 the product is no more than 0 either
    return ops.cast(width * height > share + share2, boxes.dtype)


def _is_rival(chosen: Detections, class_agnostic: bool) -> Any:
    """Returns (B, C, C), 1 where the row is a valid candidate before the column, of the same class unless agnostic."""
    # Known only when it runs: files would store the table of all pairs, a megabyte for 1,000 candidates.
    places = ops.arange(chosen.scores.shape[1], dtype=chosen.scores.dtype) + 0 * chosen.scores
    is_rival = ops.logical_and(places[:, :, None] < places[:, None], chosen.scores[:, :, None] > 0)
    if not class_agnostic:
        is_rival = ops.logical_and(is_rival, chosen.classes[:, :, None] == chosen.classes[:, None])
    return ops.cast(is_rival, chosen.scores.dtype)


def _best(chosen: Detections, max_boxes: int) -> Detections:
    checks.at_least("max_boxes", max_boxes, 1)
    have = chosen.scores.shape[1]
    scores, places = ops.top_k(chosen.scores, min(max_boxes, have))
    is_some = scores > 0
    boxes = ops.take_along_axis(chosen.boxes, ops.cast(places, "int32")[..., None], axis=1)
    classes = ops.take_along_axis(chosen.classes, ops.cast(places, "int32"), axis=1)
    more = max(max_boxes - have, 0)
    return Detections(
        ops.pad(boxes * ops.cast(is_some, boxes.dtype)[..., None], ((0, 0), (0, more), (0, 0))),
        ops.pad(scores, ((0, 0), (0, more))),
        ops.pad(classes * ops.cast(is_some, "int32"), ((0, 0), (0, more))),
        ops.sum(ops.cast(is_some, "int32"), axis=-1),
    )
