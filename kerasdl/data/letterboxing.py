"""Letterbox: image resized with its aspect ratio kept, in the middle of a grey one; boxes and masks move along."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .trees import LazyMaps, LazyMasks, Ragged, RaggedMaps

GREY = 114
"""Level of the borders, as in Ultralytics' YOLO."""
BORDERS = {"masks": 0, "panoptic": -1, "semantic": 255, "pixel_weights": 0}
"""Values of the borders in maps of pixels, by the name of the label: no object, and pixels that do not count."""


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


class MapInBox(NamedTuple):
    """Item of lazy maps, and its place in a letterbox."""

    item: Any
    """Item of the maps without a letterbox."""
    place: Inset
    """Place of its image."""
    size: tuple[int, int]
    """Height and width of the letterbox."""


@dataclass(frozen=True)
class BoxedReader:
    """Reader of lazy maps in a letterbox."""

    read: Callable
    """Reader without a letterbox."""
    border: int
    """Value of the borders."""

    def __call__(self, boxed: MapInBox) -> np.ndarray:
        maps = self.read(boxed.item)
        return boxed_map(maps, Inset(*maps.shape[-2:]), boxed.place, boxed.size, self.border)


def boxed_map(maps: np.ndarray, old: Inset, new: Inset, size: tuple[int, int], border: int) -> np.ndarray:
    """Returns maps of an image (..., h, w) in a letterbox, (..., H, W): each pixel takes the nearest, without blending.

    Args:
        maps: maps of one image.
        old: place of the image in them.
        new: place of the image in the letterbox, in whole pixels.
        size: H and W.
        border: value around the image.
    """
    result = np.full((*maps.shape[:-2], *size), border, maps.dtype)
    lines = zip(old[2:], old[:2], new[:2], maps.shape[-2:], strict=True)
    rows, columns = (
        np.clip((start + (2 * np.arange(many) + 1) * few / (2 * many)).astype(int), 0, side - 1)
        for start, few, many, side in lines
    )
    height, width, top, left = new
    result[..., top : top + height, left : left + width] = maps[..., rows[:, np.newaxis], columns]
    return result


def boxed_maps(maps: Any, old: Sequence[Inset], new: Sequence[Inset], size: tuple[int, int], border: int) -> Any:
    """Returns the maps of the pixels of many images, or the masks of their objects, in a letterbox.

    Args:
        maps: as `kerasdl.data.trees.resized_maps` takes them. Lazy ones begin from their raw maps.
        old: place of each image in its maps.
        new: place of each image in the letterbox, in whole pixels.
        size: height and width of the letterbox.
        border: value around the images.
    """
    if isinstance(maps, LazyMaps):
        is_boxed = isinstance(maps.read, BoxedReader)
        items = [each.item for each in maps.items] if is_boxed else maps.items
        boxed = [MapInBox(item, place, size) for item, place in zip(items, new, strict=True)]
        reader = BoxedReader(maps.read.read if is_boxed else maps.read, border)
        lengths = (maps.lengths,) if isinstance(maps, LazyMasks) else ()
        return type(maps)(boxed, reader, [size] * len(boxed), *lengths)
    moved = [boxed_map(maps[at], *places, size, border) for at, places in enumerate(zip(old, new, strict=True))]
    return Ragged.of(moved) if isinstance(maps, Ragged) and not isinstance(maps, RaggedMaps) else np.stack(moved)
