"""Scanning of images by a detector of one size: windows at a step, on a pyramid of smaller and smaller images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from kerasdl.core import checks


def sliding_windows(image_size: tuple[int, int], window: tuple[int, int], step: tuple[int, int]) -> np.ndarray:
    """Returns the windows that cover an image: row by row at a step, the last of each row and column at the border.

    Source: the scanning of Viola and Jones (https://doi.org/10.1109/CVPR.2001.990517, section 5) and of HOG detectors
    (https://doi.org/10.1109/CVPR.2005.177, section 4).

    Args:
        image_size: (height, width) in pixels.
        window: (height, width) of a window in pixels, no more than the image's.
        step: (down, right) between two windows in pixels.

    Returns:
        (N, 4) float32 `xyxy` boxes of whole pixels, all of one size.

    Raises:
        ArgumentError: a size is not two positive integers, or the window is larger than the image.

    Example:
        >>> sliding_windows((4, 9), (4, 4), (1, 3)).tolist()
        [[0.0, 0.0, 4.0, 4.0], [3.0, 0.0, 7.0, 4.0], [5.0, 0.0, 9.0, 4.0]]
    """
    sides, window, step = _pair("image_size", image_size), _pair("window", window), _pair("step", step)
    if any(part > whole for part, whole in zip(window, sides, strict=True)):
        checks.refuse(f"window must be no larger than the image, {sides}", window)
    starts = []
    for whole, part, stride in zip(sides, window, step, strict=True):
        regular = np.arange(0, whole - part + 1, stride)
        starts.append(regular if regular[-1] == whole - part else np.append(regular, whole - part))
    top, left = (each.ravel() for each in np.meshgrid(*starts, indexing="ij"))
    return np.stack([left, top, left + window[1], top + window[0]], axis=-1).astype("float32")


def pyramid_sizes(image_size: tuple[int, int], least: tuple[int, int], *, ratio: float = 0.75) -> list[tuple[int, int]]:
    """Returns the sizes of an image pyramid: the image's own, and each next one `ratio` times it, down to the least.

    Source: the scales of a detector of one size, https://doi.org/10.1109/CVPR.2005.177, section 4.

    Args:
        image_size: (height, width) in pixels.
        least: (height, width) of the smallest level at least, such as a detector's window.
        ratio: side of a level over the one before, above 0 and below 1.

    Returns:
        A list of (height, width), rounded, none twice; one at least.

    Raises:
        ArgumentError: an argument breaks its rule, or the least size is larger than the image.

    Example:
        >>> pyramid_sizes((100, 60), (30, 20), ratio=0.5)
        [(100, 60), (50, 30)]
    """
    sides, least = _pair("image_size", image_size), _pair("least", least)
    if not 0 < ratio < 1:
        checks.refuse("ratio must be above 0 and below 1", ratio)
    if any(small > whole for small, whole in zip(least, sides, strict=True)):
        checks.refuse(f"least must be no larger than the image, {sides}", least)
    sizes, size, level = [], sides, 0
    while all(side >= small for side, small in zip(size, least, strict=True)):
        if size not in sizes:
            sizes.append(size)
        level += 1
        size = tuple(round(side * ratio**level) for side in sides)
    return sizes


def image_pyramid(images: Any, least: tuple[int, int], *, ratio: float = 0.75) -> list[Any]:
    """Returns images at the sizes of `pyramid_sizes`, each resized from the first by the antialiased bilinear filter.

    A box of a level is one of the image times the ratio of their sides.

    Source: as `pyramid_sizes`.

    Args:
        images: (B, H, W, C) floats, H and W known.
        least: (height, width) of the smallest level at least.
        ratio: side of a level over the one before, above 0 and below 1.

    Returns:
        A list of (B, h, w, C), the images themselves first.

    Raises:
        ArgumentError: an argument breaks its rule, or the least size is larger than the images.

    Example:
        >>> [tuple(level.shape[1:3]) for level in image_pyramid(np.zeros((1, 8, 6, 3)), (3, 3), ratio=0.5)]
        [(8, 6), (4, 3)]
    """
    images = ops.convert_to_tensor(images)
    if len(images.shape) != 4 or None in images.shape[1:3]:
        checks.refuse("images must be (B, H, W, C) of known sides", tuple(images.shape))
    sizes = pyramid_sizes(tuple(images.shape[1:3]), least, ratio=ratio)
    resized = [ops.image.resize(images, size, interpolation="bilinear", antialias=True) for size in sizes[1:]]
    return [images, *resized]


def _pair(name: str, value: Sequence[int]) -> tuple[int, int]:
    pair = checks.counts(name, tuple(value))
    if len(pair) != 2:
        checks.refuse(f"{name} must be (height, width)", pair)
    return pair
