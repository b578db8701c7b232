"""Region features of detectors: RoIAlign on one level or a pyramid, RoIPool, and the level of each box.

All of it is gathering by computed places, so that the same graph runs in TensorFlow, in the built-in operations of
TFLite and in ONNX, for any batch. Boxes get no gradient, as in the papers.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from kerasdl.core import checks

from .boxes import box_areas

# Corners of RoIPool stay below this many places, so that int32 holds them times the number of bins.
FARTHEST = 2.0**22


def roi_align(
    features: Any,
    boxes: Any,
    size: tuple[int, int],
    *,
    stride: float = 1.0,
    sampling_ratio: int = 2,
    aligned: bool = False,
) -> Any:
    """Returns the features of boxes by RoIAlign: bilinear samples at exact places, averaged in each bin.

    Source: Mask R-CNN, https://arxiv.org/abs/1703.06870, section 3 and figure 3; a sample up to one place outside the
    map takes the border, one farther counts as 0, as in the code of Detectron and torchvision.

    Args:
        features: (B, H, W, C) floats.
        boxes: (B, R, 4) `xyxy` boxes in pixels; they get no gradient.
        size: rows and columns of bins.
        stride: pixels between two places of the map.
        sampling_ratio: samples of a bin along each side. torchvision's 0, a number by the size of the box, would need
            shapes that depend on the data.
        aligned: whether pixel centres are at half pixels; False moves boxes by half a place and widens those below
            one place, as the paper's code did.

    Returns:
        (B, R, rows, columns, C) of the features' dtype.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> ramp = np.broadcast_to(np.arange(8, dtype="float32")[None, None, :, None], (1, 8, 8, 1))
        >>> roi_align(ramp, [[[2.0, 2.0, 6.0, 6.0]]], (1, 2)).numpy().ravel()
        array([3., 5.], dtype=float32)
    """
    return pyramid_roi_align(
        [features], boxes, size, strides=[stride], sampling_ratio=sampling_ratio, aligned=aligned, levels=0
    )


def pyramid_roi_align(
    features: Sequence[Any],
    boxes: Any,
    size: tuple[int, int],
    *,
    strides: Sequence[float],
    sampling_ratio: int = 2,
    aligned: bool = False,
    levels: Any = None,
) -> Any:
    """Returns the features of boxes by RoIAlign, each box on its own level of a pyramid.

    Source: feature pyramid networks, https://arxiv.org/abs/1612.03144, section 4.2, equation 1; see `roi_levels`.

    Args:
        features: (B, H, W, C) floats of each level, fine to coarse.
        boxes: (B, R, 4) `xyxy` boxes in pixels; they get no gradient.
        size: rows and columns of bins.
        strides: pixels between two places of each level.
        sampling_ratio: as in `roi_align`.
        aligned: as in `roi_align`.
        levels: (B, R) integers, the level of each box; None for those of `roi_levels`.

    Returns:
        (B, R, rows, columns, C) of the features' dtype.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> pyramid = [np.zeros((1, 32, 32, 2), "float32"), np.ones((1, 16, 16, 2), "float32")]
        >>> pyramid_roi_align(pyramid, [[[0, 0, 9, 9], [0, 0, 250, 250]]], (1, 1), strides=(8, 16)).numpy()[0, :, 0, 0]
        array([[0., 0.],
               [1., 1.]], dtype=float32)
    """
    features = [ops.convert_to_tensor(each) for each in features]
    _check_strides(strides, len(features))
    boxes = _checked_boxes(boxes)
    rows, columns = checks.counts("size", size)
    samples = checks.at_least("sampling_ratio", sampling_ratio, 1)
    levels = roi_levels(boxes, strides) if levels is None else levels
    levels = ops.reshape(ops.broadcast_to(levels, ops.shape(boxes)[:2]), (-1,))  # (B * R,)

    sides = [ops.shape(each)[1:3] for each in features]
    areas = [height * width for height, width in sides]
    starts = [sum(areas[:level], 0) for level in range(len(areas))]
    heights, widths, starts = (ops.take(ops.stack(each), levels) for each in (*zip(*sides, strict=True), starts))
    start = _images(boxes) * sum(areas) + starts  # (B * R,), place of the level of each box in `flat`
    flat = ops.concatenate([_places_first(each) for each in features], axis=1)
    flat = ops.reshape(flat, (-1, features[0].shape[-1]))  # (B * all places, C)

    stride = ops.take(ops.convert_to_tensor(list(strides), "float32"), levels)[:, None]
    left, top, right, bottom = ops.unstack(ops.reshape(boxes, (-1, 4)) / stride - (0.5 if aligned else 0.0), 4, axis=-1)
    width, height = right - left, bottom - top
    if not aligned:
        width, height = ops.maximum(width, 1.0), ops.maximum(height, 1.0)
    total = 0.0
    for y, y_weight in _neighbours(top, height / rows, rows, samples, heights):
        for x, x_weight in _neighbours(left, width / columns, columns, samples, widths):
            at = start[:, None, None] + y[:, :, None] * widths[:, None, None] + x[:, None]
            weight = (y_weight[:, :, None] * x_weight[:, None])[..., None]
            total = total + ops.take(flat, at, axis=0) * ops.cast(weight, flat.dtype)
    bins = ops.average_pool(total, (samples, samples), data_format="channels_last")  # (B * R, rows, columns, C)
    return ops.reshape(bins, (*ops.shape(boxes)[:2], rows, columns, flat.shape[-1]))


def roi_levels(boxes: Any, strides: Sequence[float], *, side: float = 224.0, side_stride: float = 16.0) -> Any:
    """Returns the level of a pyramid from which the features of each box come: large boxes from coarse levels.

    Source: https://arxiv.org/abs/1612.03144, section 4.2, equation 1: floor(4 + log2(sqrt(w * h) / 224)), here by
    comparison of areas. As in torchvision, a box that is a millionth too small for a level still belongs to it.

    Args:
        boxes: (..., 4) `xyxy` boxes in pixels.
        strides: pixels between two places of each level, each twice the one before.
        side: side in pixels of the box that belongs to the level of stride `side_stride`.
        side_stride: stride of that level in pixels.

    Returns:
        (...) int32, from 0 for the finest level.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> roi_levels([[0, 0, 50, 50], [0, 0, 224, 224], [0, 0, 900, 900]], (4, 8, 16, 32)).numpy()
        array([0, 2, 3], dtype=int32)
    """
    _check_strides(strides, len(strides))
    if not side > 0 or not side_stride > 0:
        checks.refuse("side and side_stride must be positive", (side, side_stride))
    areas = box_areas(boxes)[..., None]
    least = [(side * stride / side_stride) ** 2 * 2**-2e-6 for stride in strides[1:]]
    return ops.sum(ops.cast(areas >= ops.convert_to_tensor(np.array(least, "float32")), "int32"), axis=-1)


def roi_pool(features: Any, boxes: Any, size: tuple[int, int], *, stride: float = 1.0) -> Any:
    """Returns the features of boxes by RoIPool: the maximum over the places of each bin, whole places alone.

    Each bin is covered by four windows whose sides are powers of 2, from tables of the maxima of all such windows, so
    that a box costs as much as its bins, not as its places. The tables hold the map once for each pair of powers.

    Source: Fast R-CNN, https://arxiv.org/abs/1504.08083, section 2.1; corners are rounded and belong to the box, bins
    may share a row, a bin outside the map is 0, as in the paper's code.

    Args:
        features: (B, H, W, C) floats, H and W known.
        boxes: (B, R, 4) `xyxy` boxes in pixels; they get no gradient.
        size: rows and columns of bins.
        stride: pixels between two places of the map.

    Returns:
        (B, R, rows, columns, C) of the features' dtype.

    Raises:
        ArgumentError: an argument breaks its rule, or a side of the map is unknown.

    Example:
        >>> ramp = np.broadcast_to(np.arange(8, dtype="float32")[None, None, :, None], (1, 8, 8, 1))
        >>> roi_pool(ramp, [[[2.0, 2.0, 6.0, 6.0]]], (1, 2)).numpy().ravel()
        array([4., 6.], dtype=float32)
    """
    features, boxes = ops.convert_to_tensor(features), _checked_boxes(boxes)
    _check_strides([stride], 1)
    rows, columns = checks.counts("size", size)
    _, height, width, channels = features.shape
    if height is None or width is None:
        checks.refuse("features of roi_pool must have known sides", tuple(features.shape), "Take roi_align.")
    flat, starts, widths = _maxima_of_windows(features)

    corners = ops.reshape(boxes, (-1, 4)) / stride
    corners = ops.sign(corners) * ops.floor(ops.abs(corners) + 0.5)  # halves away from zero, as C rounds
    corners = ops.cast(ops.clip(corners, -FARTHEST, FARTHEST), "int32")
    left, top, right, bottom = ops.unstack(corners, 4, axis=-1)
    y_power, y_ends, has_rows = _bins(top, bottom, rows, height)
    x_power, x_ends, has_columns = _bins(left, right, columns, width)
    table = y_power[:, :, None] * len(widths) + x_power[:, None]  # (B * R, rows, columns)
    start = (_images(boxes) * (flat.shape[1]))[:, None, None] + ops.take(starts, table)
    flat = ops.reshape(flat, (-1, channels))
    row_width, best = ops.take(widths, x_power)[:, None], None
    for y in y_ends:
        for x in x_ends:
            found = ops.take(flat, start + y[:, :, None] * row_width + x[:, None], axis=0)
            best = found if best is None else ops.maximum(best, found)
    has_places = ops.logical_and(has_rows[:, :, None], has_columns[:, None])[..., None]
    best = ops.where(has_places, best, ops.zeros_like(best))  # (B * R, rows, columns, C)
    return ops.reshape(best, (*ops.shape(boxes)[:2], rows, columns, channels))


def _checked_boxes(boxes: Any) -> Any:
    boxes = ops.stop_gradient(ops.cast(boxes, "float32"))
    if len(boxes.shape) != 3 or boxes.shape[-1] != 4:
        checks.refuse("boxes must be (B, R, 4)", tuple(boxes.shape))
    return boxes


def _check_strides(strides: Sequence[float], count: int) -> None:
    if len(strides) != count:
        checks.refuse(f"strides must have one entry for each of the {count} levels", tuple(strides))
    if not all(stride > 0 for stride in strides) or any(2 * a != b for a, b in itertools.pairwise(strides)):
        checks.refuse("strides must be positive, each twice the one before", tuple(strides))


def _images(boxes: Any) -> Any:
    """Returns the number of the image of each box: (B * R,) int32."""
    batch, rois = ops.shape(boxes)[:2]
    return ops.reshape(ops.broadcast_to(ops.arange(batch, dtype="int32")[:, None], (batch, rois)), (-1,))


def _places_first(features: Any) -> Any:
    """Returns (B, H * W, C)."""
    batch, height, width, _ = ops.shape(features)
    return ops.reshape(features, (batch, height * width, features.shape[-1]))


def _neighbours(start: Any, step: Any, bins: int, samples: int, side: Any) -> list[tuple]:
    """Returns the places before and after each sample along one side, and the weight of each: (B * R, bins * samples).

    A sample at most one place outside the map is moved to its border; one farther has the weights 0.
    """
    offsets = (np.arange(bins * samples, dtype="float32") + 0.5) / samples
    at = start[:, None] + step[:, None] * offsets
    last = side[:, None] - 1
    counts = ops.cast(ops.logical_and(at >= -1.0, at <= ops.cast(side, "float32")[:, None]), "float32")
    at = ops.clip(at, 0.0, ops.cast(last, "float32"))
    before = ops.maximum(ops.minimum(ops.cast(ops.floor(at), "int32"), last), 0)  # also of a place that is no number
    share = at - ops.cast(before, "float32")
    return [(before, (1.0 - share) * counts), (ops.minimum(before + 1, last), share * counts)]


def _maxima_of_windows(features: Any) -> tuple:
    """Returns the maxima of all windows of 2^i x 2^j places, in a row, with the start and the width of each table.

    (B, all places, C), and two arrays, (tables,) and (powers of columns,); tables are ordered by i, then j.
    """
    _, height, width, _ = features.shape
    tables, rows = [], features
    for i in range(int(math.log2(height)) + 1):
        if i:
            rows = ops.maximum(rows[:, : -(2 ** (i - 1))], rows[:, 2 ** (i - 1) :])
        table = rows
        for j in range(int(math.log2(width)) + 1):
            if j:
                table = ops.maximum(table[:, :, : -(2 ** (j - 1))], table[:, :, 2 ** (j - 1) :])
            tables.append(table)
    widths = [width - 2**j + 1 for j in range(int(math.log2(width)) + 1)]
    sizes = [table.shape[1] * table.shape[2] for table in tables]
    starts = np.cumsum([0, *sizes[:-1]])
    flat = ops.concatenate([_places_first(table) for table in tables], axis=1)
    return flat, starts.astype("int32"), np.array(widths, "int32")


def _bins(first: Any, last: Any, bins: int, side: int) -> tuple:
    """Returns, for the bins of each box along one side, the power of 2 of a window, where two of them begin, and
    whether the bin holds a place: three of (B * R, bins), the second one twice."""
    length = ops.maximum(last - first + 1, 1)[:, None]
    numbers = np.arange(bins, dtype="int32")
    low = first[:, None] + length * numbers // bins
    high = first[:, None] + (length * (numbers + 1) + bins - 1) // bins  # of no negative number, which ONNX truncates
    low, high = (ops.minimum(ops.maximum(each, 0), side) for each in (low, high))
    count = high - low
    powers = 2 ** np.arange(1, int(math.log2(side)) + 1, dtype="int32")
    power = ops.sum(ops.cast(count[..., None] >= powers, "int32"), axis=-1)
    window = ops.take(ops.convert_to_tensor(np.concatenate([[1], powers]).astype("int32")), power)
    ends = [ops.minimum(low, side - window), ops.maximum(high - window, 0)]
    return power, ends, count > 0
