"""Overlaps of boxes: IoU, GIoU, DIoU and CIoU, pairwise and aligned, with finite gradients for boxes of no area.

Sources: GIoU https://arxiv.org/abs/1902.09630; DIoU and CIoU https://arxiv.org/abs/1911.08287, equations 7 to 11.
"""

import math
from typing import Any

from keras import ops

from kerasdl.core import checks

from .boxes import columns_of

KINDS = ("iou", "giou", "diou", "ciou")


def aligned_overlaps(boxes: Any, others: Any, kind: str = "iou") -> Any:
    """Returns the overlap of each box with the other box of the same place.

    Args:
        boxes: (..., 4) `xyxy` boxes.
        others: the same shape, or one that broadcasts.
        kind: `iou` from 0 to 1, `giou` and `diou` from -1 to 1, `ciou` from about -1.5 to 1.

    Returns:
        (...,) floats. Two boxes of no area overlap by 0, at the same place too; `ciou` holds its weight of the aspect
        term constant under gradients, as its authors do.

    Raises:
        ArgumentError: the kind is unknown, or the last axis is not 4.

    Example:
        >>> aligned_overlaps([[0, 0, 2, 2]], [[1, 0, 3, 2]], "giou").numpy().round(3)
        array([0.333], dtype=float32)
    """
    checks.one_of("kind", kind, KINDS)
    return ops.squeeze(_overlap(columns_of(boxes), columns_of(others), kind), axis=-1)


def pairwise_overlaps(boxes: Any, others: Any, kind: str = "iou") -> Any:
    """Returns the overlap of each box with each other box.

    Args:
        boxes: (..., N, 4) `xyxy` boxes.
        others: (..., M, 4) `xyxy` boxes.
        kind: as in `aligned_overlaps`.

    Returns:
        (..., N, M) floats.

    Raises:
        ArgumentError: the kind is unknown, or the last axis is not 4.

    Example:
        >>> pairwise_overlaps([[0, 0, 2, 2]], [[0, 0, 2, 1], [5, 5, 6, 6]]).numpy()
        array([[0.5, 0. ]], dtype=float32)
    """
    checks.one_of("kind", kind, KINDS)
    rows = columns_of(boxes)  # each (..., N, 1)
    columns = [ops.swapaxes(column, -1, -2) for column in columns_of(others)]  # each (..., 1, M)
    return _overlap(rows, columns, kind)


def _overlap(boxes: list, others: list, kind: str) -> Any:
    left, top, right, bottom = boxes
    left2, top2, right2, bottom2 = others
    width, height, width2, height2 = right - left, bottom - top, right2 - left2, bottom2 - top2
    shared = ops.relu(ops.minimum(right, right2) - ops.maximum(left, left2))
    shared = shared * ops.relu(ops.minimum(bottom, bottom2) - ops.maximum(top, top2))
    union = ops.relu(width) * ops.relu(height) + ops.relu(width2) * ops.relu(height2) - shared
    iou = _ratio(shared, union)
    if kind == "iou":
        return iou
    hull_width = ops.maximum(right, right2) - ops.minimum(left, left2)
    hull_height = ops.maximum(bottom, bottom2) - ops.minimum(top, top2)
    if kind == "giou":
        hull = hull_width * hull_height
        return iou - _ratio(hull - union, hull)
    apart = ops.square(left + right - left2 - right2) + ops.square(top + bottom - top2 - bottom2)
    diou = iou - _ratio(apart / 4, ops.square(hull_width) + ops.square(hull_height))
    if kind == "diou":
        return diou
    angles = _angle(width2, height2) - _angle(width, height)
    aspect = ops.square(angles) * (4 / math.pi**2)
    weight = ops.stop_gradient(_ratio(aspect, 1 - iou + aspect))
    return diou - weight * aspect


def _ratio(above: Any, below: Any) -> Any:
    """Returns a quotient, 0 without a gradient where the denominator is 0."""
    is_some = below > 0
    return ops.where(is_some, above / ops.where(is_some, below, ops.ones_like(below)), ops.zeros_like(below))


def _angle(width: Any, height: Any) -> Any:
    """Returns arctan(width / height), 0 for a point, with a finite gradient."""
    width, height = ops.relu(width), ops.relu(height)
    is_some = ops.logical_or(width > 0, height > 0)
    return ops.arctan2(width, ops.where(is_some, height, ops.ones_like(height)))
