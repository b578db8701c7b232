"""Grids of detectors: points, anchor boxes and default boxes of all feature levels, as NumPy constants.

Levels come from fine to coarse; within a level rows come first, then columns, then the boxes of one place.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from kerasdl.core import checks


def level_sizes(image_size: tuple[int, int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Returns the size of each feature level of an image, as convolutions with `same` padding make them.

    Args:
        image_size: (height, width) in pixels.
        strides: pixels between two places of each level.

    Returns:
        A pair (rows, columns) for each stride.

    Raises:
        ArgumentError: a size or stride is not a positive integer.

    Example:
        >>> level_sizes((100, 64), (8, 16))
        [(13, 8), (7, 4)]
    """
    height, width = checks.counts("image_size", tuple(image_size))
    return [(-(-height // stride), -(-width // stride)) for stride in checks.counts("strides", tuple(strides))]


def grid_points(
    sizes: Sequence[tuple[int, int]], strides: Sequence[int], *, offset: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the places of all levels in the image, and the stride of each.

    Args:
        sizes: (rows, columns) of each level.
        strides: pixels between two places of each level.
        offset: place inside a cell; 0.5 is its centre, as in FCOS and YOLO, 0 its corner.

    Returns:
        (A, 2) float32 of x and y in pixels, and (A,) float32.

    Raises:
        ArgumentError: sizes and strides differ in number.

    Example:
        >>> points, steps = grid_points([(1, 2), (1, 1)], (8, 16))
        >>> points.tolist(), steps.tolist()
        ([[4.0, 4.0], [12.0, 4.0], [8.0, 8.0]], [8.0, 8.0, 16.0])
    """
    _check_levels("sizes", sizes, strides)
    points, steps = [], []
    for (rows, columns), stride in zip(sizes, strides, strict=True):
        y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
        points.append((np.stack([x, y], axis=-1).reshape(-1, 2) + offset) * stride)
        steps.append(np.full(rows * columns, stride))
    return np.concatenate(points).astype("float32"), np.concatenate(steps).astype("float32")


def anchor_boxes(
    sizes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    sides: Sequence[Sequence[float]],
    ratios: Sequence[float] = (0.5, 1.0, 2.0),
    *,
    offset: float = 0.5,
    rounded: bool = False,
) -> np.ndarray:
    """Returns the anchor boxes of all levels: at each place one for each ratio and side, the ratio outermost.

    Source: Faster R-CNN, https://arxiv.org/abs/1506.01497, section 3.1.1; RetinaNet,
    https://arxiv.org/abs/1708.02002, section 4, has the sides `retina_sides`.

    Args:
        sizes: (rows, columns) of each level.
        strides: pixels between two places of each level.
        sides: for each level the sides of its square anchors in pixels.
        ratios: height / width; the area stays.
        offset: place of the centre inside a cell; torchvision has 0.
        rounded: whether edges relative to the centre are whole pixels, as in torchvision.

    Returns:
        (A, 4) float32 `xyxy` boxes, which may leave the image.

    Raises:
        ArgumentError: sizes, strides and sides differ in number.

    Example:
        >>> anchor_boxes([(1, 2)], [8], [[16]], [1.0]).tolist()
        [[-4.0, -4.0, 12.0, 12.0], [4.0, -4.0, 20.0, 12.0]]
    """
    _check_levels("sides", sides, strides)
    levels = []
    for size, stride, of_level in zip(sizes, strides, sides, strict=True):
        heights = np.array([side * math.sqrt(ratio) for ratio, side in itertools.product(ratios, of_level)])
        widths = np.array([side / math.sqrt(ratio) for ratio, side in itertools.product(ratios, of_level)])
        around = np.stack([-widths, -heights, widths, heights], axis=-1) / 2  # (boxes of a place, 4)
        around = around.round() if rounded else around
        centres, _ = grid_points([size], [stride], offset=offset)
        levels.append((np.tile(centres, 2)[:, None] + around).reshape(-1, 4))
    return np.concatenate(levels).astype("float32")


def retina_sides(strides: Sequence[int], *, scale: float = 4.0, octaves: int = 3) -> list[list[float]]:
    """Returns the sides of RetinaNet's anchors: several octave fractions of `scale` strides at each level.

    Source: https://arxiv.org/abs/1708.02002, section 4: 32 to 512 pixels for strides 8 to 128, in three octaves.

    Args:
        strides: pixels between two places of each level.
        scale: side of the smallest anchor in strides.
        octaves: sides at each level.

    Returns:
        A list of sides for each level.

    Raises:
        ArgumentError: `octaves` is not a positive integer.

    Example:
        >>> retina_sides([8], octaves=2)
        [[32.0, 45.254833995939045]]
    """
    checks.at_least("octaves", octaves, 1)
    return [[scale * stride * 2 ** (part / octaves) for part in range(octaves)] for stride in strides]


def default_boxes(
    sizes: Sequence[tuple[int, int]],
    strides: Sequence[float | tuple[float, float]],
    sides: Sequence[float],
    ratios: Sequence[Sequence[float]],
    *,
    image_size: tuple[int, int],
    clip: bool = True,
) -> np.ndarray:
    """Returns the default boxes of SSD: at each place two squares, and for each ratio r a wide and a high box.

    Source: https://arxiv.org/abs/1512.02325, section 2.2. The squares have the level's side and the geometric mean of
    it and the next level's; a ratio r gives width s * sqrt(r), height s / sqrt(r), and the same turned.

    Args:
        sizes: (rows, columns) of each level.
        strides: pixels between two places of each level, or (along x, along y).
        sides: side of each level in pixels, and one more after the last.
        ratios: for each level its ratios above 1, such as (2, 3).
        image_size: (height, width) in pixels.
        clip: whether sides are cut at the image's sides, as SSD300 does for its coarsest levels.

    Returns:
        (A, 4) float32 `xyxy` boxes around the centres of the cells.

    Raises:
        ArgumentError: the numbers of levels differ.

    Example:
        >>> default_boxes([(1, 1)], [8], [4, 9], [[]], image_size=(8, 8)).tolist()
        [[2.0, 2.0, 6.0, 6.0], [1.0, 1.0, 7.0, 7.0]]
    """
    _check_levels("sizes", sizes, strides)
    _check_levels("ratios", ratios, strides)
    if len(sides) != len(strides) + 1:
        checks.refuse("sides must have one entry more than strides", len(sides))
    height, width = image_size
    levels = []
    for size, stride, side, following, of_level in zip(sizes, strides, sides, sides[1:], ratios, strict=False):
        pairs = [(side, side), (math.sqrt(side * following),) * 2]
        for ratio in of_level:
            pairs += [
                (side * math.sqrt(ratio), side / math.sqrt(ratio)),
                (side / math.sqrt(ratio), side * math.sqrt(ratio)),
            ]
        half = np.array(pairs) / 2  # (boxes of a place, 2)
        half = np.minimum(half, (width / 2, height / 2)) if clip else half
        centres = grid_points([size], [1])[0] * stride
        levels.append((np.tile(centres, 2)[:, None] + np.concatenate([-half, half], axis=-1)).reshape(-1, 4))
    return np.concatenate(levels).astype("float32")


def _check_levels(name: str, value: Sequence, strides: Sequence) -> None:
    if len(value) != len(strides):
        checks.refuse(f"{name} must have one entry for each of the {len(strides)} strides", len(value))
