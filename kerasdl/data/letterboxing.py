"""Letterbox: image resized with its aspect ratio kept, in the middle of a grey one, and the boxes that move with it."""

from typing import Any, NamedTuple

import numpy as np

GREY = 114
"""Level of the borders, as in Ultralytics' YOLO."""


class Inset(NamedTuple):
    """Rectangle of an input, in pixels, that shows an image; the rest is border."""

    height: float
    """Height of the resized image."""
    width: float
    """Width of the resized image."""
    top: float = 0
    """Rows above it."""
    left: float = 0
    """Columns to its left."""


class Letterboxed(NamedTuple):
    """Raw image, an array or a file, that is read in a letterbox."""

    image: Any
    """uint8 (H, W) or (H, W, C), or a path."""
    size: tuple[int, int]
    """Height and width of the letterbox."""


def inset(size: tuple[int, int], target: tuple[int, int]) -> Inset:
    """Returns the place of an image in a letterbox: as large as fits, sides rounded half up, in the middle.

    Args:
        size: height and width of the image.
        target: height and width of the letterbox.
    """
    (height, width), (rows, columns) = size, target
    if columns * height <= rows * width:  # the width decides
        inner = max((2 * height * columns + width) // (2 * width), 1), columns
    else:
        inner = rows, max((2 * width * rows + height) // (2 * height), 1)
    return Inset(*inner, (rows - inner[0]) // 2, (columns - inner[1]) // 2)


def movement(old: Any, new: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns factors and shifts, each (..., 4), by which boxes of one inset become boxes of another.

    Args:
        old: `Inset` of the images in whose pixels the boxes are, or many, (..., 4).
        new: `Inset` of the same images, or many.
    """
    old, new = (np.moveaxis(np.asarray(each, float), -1, 0) for each in (old, new))
    down, across = new[:2] / old[:2]
    shifts = new[3] - old[3] * across, new[2] - old[2] * down
    return np.stack([across, down] * 2, -1), np.stack([*shifts, *shifts], -1)


def place_in(size: tuple[int, int], target: tuple[int, int], letterbox: bool) -> Inset:
    """Returns the place of an image in an input: all of it where the image is stretched."""
    return inset(size, target) if letterbox else Inset(*target)
