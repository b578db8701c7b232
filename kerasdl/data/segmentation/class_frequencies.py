"""Weights of classes from how often they occur in maps of classes, for the losses of segmentation."""

import warnings
from collections.abc import Mapping

import numpy as np

from kerasdl.core import checks

from ..dataset import Dataset
from ..folders.reader import DataWarning
from .mask_classes import IGNORED


def class_weights(data: Dataset, by: str = "median") -> np.ndarray:
    """Returns a weight for each class that makes rare ones count as much as frequent ones.

    `median` divides the median of the classes' frequencies by that of each class, counted over the images that show it;
    `inverse` divides the pixels of all images by those of the class and by the number of classes, so that the weights
    have the mean 1 over all pixels. Pixels left out (255) count nowhere. A class without pixels has the weight 0, and a
    `DataWarning` names it.

    Source: median frequency balancing, Eigen and Fergus 2015, https://arxiv.org/abs/1411.4734, section 6.3.2.

    Args:
        data: the data to train on, with "semantic" labels; each map is read once.
        by: `median` or `inverse`.

    Returns:
        (K,) float64, which `PixelCrossEntropy` and the other losses of maps take as `class_weights`.

    Raises:
        ArgumentError: the data have no semantic maps of named classes, cannot be read in any order, or have a value
            beyond the classes, or `by` is unknown.

    Example:
        >>> class_weights(draw_cells(20, side=64), by="inverse").round(1)
        array([0.7, 1.7])
    """
    checks.one_of("by", by, ("median", "inverse"))
    labels = data.source.labels if data.any_order else None
    if not isinstance(labels, Mapping) or "semantic" not in labels or not data.class_names:
        checks.refuse("class_weights needs data with semantic maps of named classes", data.name)
    pixels, shown = np.zeros((2, len(data.class_names)), np.int64)
    for place in range(data.size):
        counts = np.bincount(np.ravel(labels["semantic"][place]), minlength=IGNORED + 1)
        counts[IGNORED] = 0
        if counts[len(pixels) :].any():
            highest = int(np.flatnonzero(counts)[-1])
            checks.refuse(f"maps of {data.name} must hold the classes 0 to {len(pixels) - 1}, or 255", highest)
        pixels += counts[: len(pixels)]
        shown += np.where(counts[: len(pixels)] > 0, counts.sum(), 0)
    absent = [name for name, count in zip(data.class_names, pixels.tolist(), strict=True) if not count]
    if absent:
        text = f"{data.name} has no pixel of {', '.join(absent[:8])}"
        warnings.warn(
            f"{text}: the weight is 0, and what a net says of such a class counts nothing.", DataWarning, stacklevel=2
        )
    is_there = pixels > 0
    weights = np.zeros(len(pixels))
    if by == "inverse":
        weights[is_there] = pixels.sum() / (np.count_nonzero(is_there) * pixels[is_there])
    elif is_there.any():
        frequencies = pixels[is_there] / shown[is_there]
        weights[is_there] = np.median(frequencies) / frequencies
    return weights
