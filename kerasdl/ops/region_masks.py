"""Masks of objects inside their boxes: cut out of images for training, and pasted into images after prediction."""

from typing import Any

import numpy as np
from keras import ops

from kerasdl.core import checks

from .regions import roi_align


def crop_masks(masks: Any, boxes: Any, matches: Any, size: tuple[int, int], *, sampling_ratio: int = 2) -> Any:
    """Returns the part of one mask inside each box, at a fixed size, by RoIAlign.

    Source: Mask R-CNN, https://arxiv.org/abs/1703.06870, section 3.1; pixel centres are at half pixels.

    Args:
        masks: (B, M, H, W) numbers, 1 for pixels of the object and 0 for others.
        boxes: (B, R, 4) `xyxy` boxes in pixels.
        matches: (B, R) integers from 0 to M - 1, the mask of each box.
        size: rows and columns of the result.
        sampling_ratio: samples of a result's cell along each side.

    Returns:
        (B, R, rows, columns) float32, from 0 to 1: the share of each cell that is of the object, as its samples say.

    Raises:
        ArgumentError: an argument breaks its rule, or the masks have another form.

    Example:
        >>> masks = np.zeros((1, 1, 4, 4), "float32")
        >>> masks[0, 0, :, 2:] = 1
        >>> crop_masks(masks, [[[0.0, 0.0, 4.0, 4.0]]], [[0]], (1, 2)).numpy().ravel()
        array([0., 1.], dtype=float32)
    """
    masks, boxes, matches = ops.convert_to_tensor(masks), ops.cast(boxes, "float32"), ops.cast(matches, "int32")
    if len(masks.shape) != 4:
        checks.refuse("masks must be (B, M, H, W)", tuple(masks.shape))
    _, count, height, width = ops.shape(masks)
    # All masks of an image stand below one another, each between copies of its first and last row, so that no sample
    # mixes two of them.
    column = ops.pad(ops.cast(masks, "float32"), ((0, 0), (0, 0), (1, 1), (0, 0)), mode="symmetric")
    column = ops.reshape(column, (-1, count * (height + 2), width, 1))
    tops = ops.cast(matches * (height + 2) + 1, "float32")[..., None]  # (B, R, 1)
    lowered = boxes + tops * ops.convert_to_tensor([0.0, 1.0, 0.0, 1.0])
    return roi_align(column, lowered, size, sampling_ratio=sampling_ratio, aligned=True)[..., 0]


def paste_mask(scores: Any, box: Any, size: tuple[int, int], *, threshold: float = 0.5) -> np.ndarray:
    """Returns the mask of an object in its image, from the probabilities inside its box; NumPy on the host.

    Probabilities are read between the centres of their cells bilinearly, and are 0 outside of the box.

    Args:
        scores: (rows, columns) from 0 to 1, as Mask R-CNN gives them.
        box: left, top, right and bottom edge in pixels of the image.
        size: height and width of the image in pixels.
        threshold: probability from which on a pixel is of the object.

    Returns:
        (height, width) booleans.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> paste_mask([[0.9, 0.9], [0.1, 0.9]], (1, 0, 3, 2), (2, 4)).astype(int)
        array([[0, 1, 1, 0],
               [0, 0, 1, 0]])
    """
    scores, box = np.asarray(scores, "float32"), np.asarray(box, "float64")
    if scores.ndim != 2 or not scores.size or box.shape != (4,) or not np.isfinite(box).all():
        rule = "scores must be (rows, columns), with a box of four finite numbers"
        checks.refuse(rule, (scores.shape, box.tolist()))
    checks.within("threshold", threshold, 0.0, 1.0)
    height, width = checks.counts("size", tuple(size))
    mask = np.zeros((height, width), bool)
    rows, down = _readings(box[1], box[3], height, scores.shape[0])
    columns, across = _readings(box[0], box[2], width, scores.shape[1])
    mask[rows, columns] = down @ scores @ across.T >= threshold
    return mask


def _readings(low: float, high: float, side: int, cells: int) -> tuple[slice, np.ndarray]:
    """Returns the pixels that touch a box along one side, and the weight (pixels, cells) of each cell in them."""
    first = min(max(int(np.floor(low)), 0), side)
    last = max(first, min(int(np.ceil(high)), side)) if high > low else first
    places = (np.arange(first, last) + 0.5 - low) / max(high - low, 1e-9) * cells - 0.5
    return slice(first, last), np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(cells))).astype("float32")
