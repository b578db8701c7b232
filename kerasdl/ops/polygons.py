"""Polygons of COCO's files as masks, by the rule of pycocotools, so that areas and overlaps are its own to the pixel.

Every edge is drawn as a line of points on a grid of five times the size. Where it passes from one column of the image
to the next, it gives a point of the border there, and the pixels between two such points of a column are inside.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasdl.core import checks

from .run_lengths import RunLengths, encode_mask

SCALE = 5.0


def encode_polygons(rings: Sequence[Any], height: int, width: int) -> RunLengths:
    """Returns the run lengths of an object of one or several polygons, of the pixels inside of any of them.

    Source: `rleFrPoly` of pycocotools, https://github.com/cocodataset/cocoapi, to the pixel.

    Args:
        rings: polygons, each (P, 2) points x, y or (2 P,) x1, y1, x2, y2, ... in pixels, three points at least.
        height: pixels of the image.
        width: pixels of the image.

    Returns:
        The run lengths; what lies outside of the image is cut.

    Raises:
        ArgumentError: there is no ring, a ring is no list of three finite points or more, or a size is below 1.

    Example:
        >>> encode_polygons([[1, 1, 4, 1, 4, 3, 1, 3]], 4, 5).mask().astype(int)
        array([[0, 0, 0, 0, 0],
               [0, 1, 1, 1, 0],
               [0, 1, 1, 1, 0],
               [0, 0, 0, 0, 0]])
    """
    checks.at_least("height", height, 1)
    checks.at_least("width", width, 1)
    if not len(rings):
        checks.refuse("rings must hold at least one polygon", rings)
    whole = np.zeros((height, width), bool)
    for ring in rings:
        whole |= _filled(_points(ring), height, width)
    return encode_mask(whole)


def _points(ring: Any) -> np.ndarray:
    points = np.asarray(ring, np.float64)
    points = points.reshape(-1, 2) if points.ndim == 1 and points.size % 2 == 0 else points
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3 or not np.isfinite(points).all():
        checks.refuse("a ring must be three points or more, x1, y1, x2, y2, ... of finite numbers", np.shape(ring))
    if np.abs(points).max() > 1e6:
        checks.refuse("points of a ring must lie within a million pixels", float(np.abs(points).max()))
    return points


def _filled(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns (height, width) booleans of one ring."""
    grid = np.trunc(SCALE * points + 0.5).astype(np.int64)
    starts, ends = grid, np.roll(grid, -1, axis=0)
    lines = [_line(*start, *end) for start, end in zip(starts, ends, strict=True)]
    x, y = (np.concatenate(part) for part in zip(*lines, strict=True))
    step = np.flatnonzero(x[1:] != x[:-1]) + 1
    column = np.where(x[step] < x[step - 1], x[step], x[step] - 1)
    place = (column + 0.5) / SCALE - 0.5
    is_column = (np.floor(place) == place) & (place >= 0) & (place <= width - 1)
    row = np.minimum(y[step], y[step - 1])[is_column]
    row = np.ceil(np.clip((row + 0.5) / SCALE - 0.5, 0, height)).astype(np.int64)
    pixels = place[is_column].astype(np.int64) * height + row
    crossings = np.bincount(pixels, minlength=height * width + 1)[: height * width]
    return (np.cumsum(crossings) % 2 == 1).reshape(width, height).T


def _line(x0: int, y0: int, x1: int, y1: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the points of a line, one for each step of its longer side."""
    across, down = abs(x1 - x0), abs(y1 - y0)
    is_flat = across >= down
    is_flipped = (is_flat and x0 > x1) or (not is_flat and y0 > y1)
    if is_flipped:
        x0, x1, y0, y1 = x1, x0, y1, y0
    slope = (y1 - y0) / across if is_flat and across else (x1 - x0) / down if down else 0.0
    steps = np.arange((across if is_flat else down) + 1)
    steps = steps[::-1] if is_flipped else steps
    if is_flat:
        return x0 + steps, np.trunc(y0 + slope * steps + 0.5).astype(np.int64)
    return np.trunc(x0 + slope * steps + 0.5).astype(np.int64), y0 + steps
