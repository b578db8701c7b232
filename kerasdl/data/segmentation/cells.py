"""Synthetic pictures of touching cells, with maps of classes, weights of pixels and the number of each cell.

Picture i of a split is a function of (seed, split, colour, i) alone, so a larger set begins with the smaller one. It is
designed at 128 x 128 pixels, with up to 30 cells of 14 to 24 pixels that meet in clusters; other sides scale all of it.
The border between two cells, a pixel wide, is background, and fades here and there.
"""

import numpy as np

from kerasdl.core import checks

from ..dataset import Dataset
from ..detection.scenes import DIVISOR, SEMANTIC, SIDE, check_side
from ..sources import Examples
from ..splits import SPLITS
from .cell_drawing import draw_picture
from .unet_weight_map import border_weights

CLASSES = ("background", "cell")
LICENCE = "images: free of terms"
SIZES = {"train": 400, "validation": 100, "test": 100}


def draw_cells(
    size: int | None = None,
    *,
    split: str = "train",
    seed: int = 0,
    side: int = SIDE,
    colour: bool = False,
    weights: bool = True,
    panoptic: bool = False,
) -> Dataset:
    """Returns drawn pictures of touching cells, with exact maps of classes.

    Args:
        size: number of pictures, any; None draws 400 for training and 100 else.
        split: `train`, `validation` or `test`; no picture is in two of them.
        seed: 0 or more.
        side: height and width in pixels, 32 to 2048.
        colour: cells in violet stain over light rose, instead of bright cells over dark ground.
        weights: adds the labels "pixel_weights", (H, W) float32: `border_weights` of the cells, with 10 and 5 pixels.
        panoptic: adds the labels "panoptic", (H, W) int32: 0 for the background, else 1000 plus the number of the cell
            from 1, by which cells are judged one by one.

    Returns:
        A `Dataset` of raw images, uint8 (side, side, 1), or 3 channels in colour. Its labels are "semantic", (H, W)
        uint8, 1 for a cell and 0 for the background, and those asked for.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> cells = draw_cells(10, seed=1, side=96)
        >>> image, labels = cells[0]
        >>> image.shape, sorted(labels), round(float(labels["pixel_weights"].max()))
        ((96, 96, 1), ['pixel_weights', 'semantic'], 10)
    """
    checks.one_of("split", split, SPLITS)
    checks.at_least("seed", seed, 0)
    check_side(side)
    size = SIZES[split] if size is None else checks.at_least("size", size, 1)
    key = seed, SPLITS.index(split), int(colour)
    drawn = [draw_picture((*key, number), side, colour) for number in range(size)]
    images = np.stack([each.image for each in drawn])
    labels = {"semantic": np.stack([(each.numbers > 0).astype(np.uint8) for each in drawn])}
    if weights:
        labels["pixel_weights"] = np.stack([border_weights(each.numbers) for each in drawn])
    if panoptic:
        codes = np.where(np.arange(256) > 0, DIVISOR + np.arange(256), 0).astype(np.int32)
        labels["panoptic"] = np.stack([codes[each.numbers] for each in drawn])
    return Dataset(
        name="cells:colour" if colour else "cells",
        task=SEMANTIC,
        class_names=CLASSES,
        input_shape=images.shape[1:],
        input_dtype="uint8",
        size=size,
        licence=LICENCE,
        seekable=True,
        scale=None,
        source=Examples(images, labels),
        images=True,
    )
