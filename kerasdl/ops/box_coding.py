"""Box coding: boxes as offsets from anchors or distances from points, and back.

Sources: offsets, R-CNN https://arxiv.org/abs/1311.2524, appendix C; distances, FCOS https://arxiv.org/abs/1904.01355,
equation 1; distributions, https://arxiv.org/abs/2006.04388, equation 5.
"""

import math
from collections.abc import Sequence
from typing import Any

from keras import ops

from kerasdl.core import checks

from .boxes import columns_of

LARGEST = math.log(1000 / 16)  # of a logarithm of sides, as in Faster R-CNN's code
SMALLEST = 1e-6  # side in pixels whose logarithm is taken


def encode_offsets(boxes: Any, anchors: Any, variances: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Any:
    """Returns boxes as offsets of centre and logarithms of sides, relative to anchors.

    Args:
        boxes: (..., 4) `xyxy` boxes.
        anchors: the same shape, or one that broadcasts; each of some area.
        variances: what the four numbers are divided by; SSD has (0.1, 0.1, 0.2, 0.2).

    Returns:
        (..., 4) floats.

    Raises:
        ArgumentError: the last axis is not 4, or a variance is not positive.

    Example:
        >>> encode_offsets([[2, 0, 6, 4]], [[0, 0, 4, 4]]).numpy()
        array([[0.5, 0. , 0. , 0. ]], dtype=float32)
    """
    _check_variances(variances)
    x, y, width, height = _centred(boxes)
    of_x, of_y, of_width, of_height = _centred(anchors)
    coded = (
        (x - of_x) / of_width,
        (y - of_y) / of_height,
        ops.log(ops.maximum(width, SMALLEST) / of_width),
        ops.log(ops.maximum(height, SMALLEST) / of_height),
    )
    return ops.concatenate([each / variance for each, variance in zip(coded, variances, strict=True)], axis=-1)


def decode_offsets(offsets: Any, anchors: Any, variances: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Any:
    """Returns the `xyxy` boxes that `encode_offsets` coded; a side grows by a factor of 62.5 at most.

    Args:
        offsets: (..., 4) floats.
        anchors: the same shape, or one that broadcasts.
        variances: as in `encode_offsets`.

    Returns:
        (..., 4) floats, not clipped to the image.

    Raises:
        ArgumentError: the last axis is not 4, or a variance is not positive.

    Example:
        >>> decode_offsets([[0.5, 0.0, 0.0, 0.0]], [[0, 0, 4, 4]]).numpy()
        array([[2., 0., 6., 4.]], dtype=float32)
    """
    _check_variances(variances)
    x, y, width, height = (each * variance for each, variance in zip(columns_of(offsets), variances, strict=True))
    of_x, of_y, of_width, of_height = _centred(anchors)
    x, y = of_x + x * of_width, of_y + y * of_height
    width, height = (
        of * ops.exp(ops.minimum(each, LARGEST)) / 2 for of, each in ((of_width, width), (of_height, height))
    )
    return ops.concatenate([x - width, y - height, x + width, y + height], axis=-1)


def encode_distances(boxes: Any, points: Any) -> Any:
    """Returns the distances of points to the left, top, right and bottom edge of boxes; negative outside.

    Args:
        boxes: (..., 4) `xyxy` boxes.
        points: (..., 2) of x and y, of a shape that broadcasts.

    Returns:
        (..., 4) floats, in the units of the boxes.

    Raises:
        ArgumentError: the last axis of the boxes is not 4.

    Example:
        >>> encode_distances([[0, 0, 4, 6]], [[1, 2]]).numpy()
        array([[1., 2., 3., 4.]], dtype=float32)
    """
    left, top, right, bottom = columns_of(boxes)
    x, y = ops.split(ops.cast(ops.convert_to_tensor(points), left.dtype), 2, axis=-1)
    return ops.concatenate([x - left, y - top, right - x, bottom - y], axis=-1)


def decode_distances(distances: Any, points: Any) -> Any:
    """Returns the `xyxy` boxes whose edges have these distances from points.

    Args:
        distances: (..., 4) to the left, top, right and bottom edge.
        points: (..., 2) of x and y, of a shape that broadcasts.

    Returns:
        (..., 4) floats.

    Raises:
        ArgumentError: the last axis of the distances is not 4.

    Example:
        >>> decode_distances([[1, 2, 3, 4]], [[1, 2]]).numpy()
        array([[0., 0., 4., 6.]], dtype=float32)
    """
    left, top, right, bottom = columns_of(distances)
    x, y = ops.split(ops.cast(ops.convert_to_tensor(points), left.dtype), 2, axis=-1)
    return ops.concatenate([x - left, y - top, x + right, y + bottom], axis=-1)


def expected_distances(logits: Any) -> Any:
    """Returns the means of the distributions over 0, 1, ..., R - 1 that logits describe.

    Args:
        logits: (..., 4 * R) floats, R numbers for each of the four distances.

    Returns:
        (..., 4) floats from 0 to R - 1, in strides.

    Raises:
        ArgumentError: the last axis is not a multiple of 4.

    Example:
        >>> expected_distances(np.zeros((1, 8), "float32")).numpy()
        array([[0.5, 0.5, 0.5, 0.5]], dtype=float32)
    """
    logits = ops.convert_to_tensor(logits)
    if logits.shape[-1] % 4:
        checks.refuse("the last axis of logits must be a multiple of 4", tuple(logits.shape))
    bins = logits.shape[-1] // 4
    shares = ops.softmax(ops.reshape(logits, (*ops.shape(logits)[:-1], 4, bins)), axis=-1)
    return ops.sum(shares * ops.arange(bins, dtype=shares.dtype), axis=-1)


def _centred(boxes: Any) -> tuple:
    left, top, right, bottom = columns_of(boxes)
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def _check_variances(variances: Sequence[float]) -> None:
    if len(variances) != 4 or min(variances) <= 0:
        checks.refuse("variances must be four positive numbers", tuple(variances))
