"""Masks of annotated objects: polygons and run lengths as files hold them, drawn when they are read."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasdl.core.errors import ArgumentError
from kerasdl.ops.polygons import encode_polygons
from kerasdl.ops.run_lengths import RunLengths, read_run_lengths

Segment = RunLengths | list[np.ndarray]
"""Run lengths, or the polygons (P, 2) of one object."""
IGNORED = 255
BACKGROUND = "background"
FARTHEST = 1e6
"""Pixels from the corner beyond which a point is refused."""


def read_segment(entry: Any, size: tuple[int, int]) -> Segment | str:
    """Returns the mask of a COCO annotation, or its fault.

    Args:
        entry: a list of polygons [x1, y1, x2, y2, ...], or run lengths {size, counts}.
        size: height and width of the image.
    """
    if isinstance(entry, dict):
        try:
            runs = read_run_lengths(entry)
        except (ArgumentError, TypeError, ValueError, OverflowError) as error:
            return f"its run lengths are faulty: {error}"
        if (runs.height, runs.width) != size:
            return f"its run lengths are of {runs.width}x{runs.height} pixels, the image has {size[1]}x{size[0]}"
        return runs if runs.area else "its mask is empty"
    if not isinstance(entry, list) or not entry:
        return "it has no segmentation"
    rings = []
    for ring in entry:
        try:
            points = np.asarray(ring, np.float64)
        except (TypeError, ValueError, OverflowError):
            points = np.zeros(0)
        if points.ndim != 1 or points.size < 6 or points.size % 2 or not (np.abs(points) <= FARTHEST).all():
            return f"its polygon {ring!r:.60} is not three points or more, x1, y1, x2, y2, ..."
        rings.append(points.reshape(-1, 2))
    return rings


def mask_of(segment: Segment, size: tuple[int, int]) -> np.ndarray:
    """Returns the mask of an object, (H, W) booleans, by the rule of pycocotools."""
    return segment.mask() if isinstance(segment, RunLengths) else encode_polygons(segment, *size).mask()


def masks_of(segments: Sequence[Segment], size: tuple[int, int]) -> np.ndarray:
    """Returns the masks of an image, (N, H, W) uint8."""
    masks = [mask_of(each, size) for each in segments]
    return np.stack(masks).astype(np.uint8) if masks else np.zeros((0, *size), np.uint8)


def semantic_of(
    segments: Sequence[Segment], labels: Sequence[int], crowd: Sequence[bool], size: tuple[int, int], by_area: bool
) -> np.ndarray:
    """Returns the map of classes of an image, (H, W) uint8.

    Args:
        segments: masks of the objects.
        labels: value of each object in the map; 0 is where there is none.
        crowd: whether each is a region of many objects, which becomes 255 where no object lies.
        size: height and width of the image.
        by_area: whether smaller objects are drawn over larger ones, or else later ones over earlier ones.
    """
    result = np.zeros(size, np.uint8)
    masks = [mask_of(each, size) for each in segments]
    order = sorted(range(len(masks)), key=lambda at: (not crowd[at], -np.count_nonzero(masks[at]) if by_area else at))
    for at in order:
        result[masks[at]] = IGNORED if crowd[at] else labels[at]
    return result


def semantic_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Returns the classes of a map: the background, then the classes of objects, but one named background.

    Example:
        >>> semantic_names(["cat", "background", "dog"])
        ('background', 'cat', 'dog')
    """
    return (BACKGROUND, *(name for name in class_names if name != BACKGROUND))


def circle(middle: tuple[float, float], radius: float, size: tuple[int, int]) -> np.ndarray:
    """Returns the pixels of a circle, (H, W) booleans: those whose middle lies inside."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    return np.hypot(columns + 0.5 - middle[0], rows + 0.5 - middle[1]) <= radius
