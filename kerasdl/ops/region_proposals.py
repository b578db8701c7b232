"""Selective search: boxes of regions that are merged from small ones, on the host (doi 10.1007/s11263-013-0620-5).

Deviations: the channels of the image are used as they are, in place of several colour spaces; texture is a histogram of
the orientations of gradients, in place of eight Gaussian derivatives; the order is that of the hierarchy, without the
paper's random factor, so that the same image always gives the same boxes.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from kerasdl.core import checks
from kerasdl.core.startup.packages import optional

COLOUR_BINS, TEXTURE_BINS = 25, 8


@dataclass(frozen=True)
class Region:
    """A part of an image: what two regions hold together is a sum of both."""

    size: int
    """Pixels."""
    box: np.ndarray
    """(4,), `xyxy` in pixels."""
    colour: np.ndarray
    """Histogram of each channel, of sum 1."""
    texture: np.ndarray
    """Histogram of gradient orientations of each channel, of sum 1, or 0 in a flat region."""

    def joined(self, other: "Region") -> "Region":
        """Returns the union of two regions."""
        size = self.size + other.size
        box = np.concatenate([np.minimum(self.box, other.box)[:2], np.maximum(self.box, other.box)[2:]])
        colour = (self.colour * self.size + other.colour * other.size) / size
        texture = (self.texture * self.size + other.texture * other.size) / size
        return Region(size, box, colour, texture)

    def similarity(self, other: "Region", pixels: int) -> float:
        """Returns the sum of the four measures of section 3.2, above 0 and below 4; `pixels` are the image's."""
        both = self.joined(other)
        width, height = both.box[2:] - both.box[:2]
        alike = np.minimum(self.colour, other.colour).sum() + np.minimum(self.texture, other.texture).sum()
        # Size is 1 - size / pixels, and fill 1 - (box - size) / pixels.
        return float(alike + 2.0 - width * height / pixels)


def selective_search(image, *, scale: float = 100.0, least_area: int = 64) -> np.ndarray:
    """Returns the boxes of selective search: those of small regions, and of all that they are merged into.

    Source: selective search, https://doi.org/10.1007/s11263-013-0620-5, section 3; its small regions are those of
    https://doi.org/10.1023/B:VISI.0000022288.19776.77 as scikit-image finds them. It runs in NumPy, not in a graph.

    Args:
        image: (H, W) or (H, W, C), any real numbers but all finite.
        scale: a larger one gives fewer and larger first regions.
        least_area: pixels of a box at least, and of a first region.

    Returns:
        (N, 4) float32 `xyxy` boxes in pixels, the last merged first, none twice.

    Raises:
        ArgumentError: an argument breaks its rule.
        MissingPackageError: scikit-image is not installed; the text gives the command that installs it.

    Example:
        >>> selective_search(np.zeros((64, 64)), scale=0)
        Traceback (most recent call last):
        kerasdl.core.errors.ArgumentError: scale must be positive; got 0.
    """
    image = np.asarray(image, "float64")
    if image.ndim not in (2, 3) or not image.size or not np.isfinite(image).all():
        checks.refuse("image must be (H, W) or (H, W, C) of finite numbers", image.shape)
    if not scale > 0:
        checks.refuse("scale must be positive", scale)
    checks.at_least("least_area", least_area, 1)
    segmentation = optional("skimage.segmentation", "proposals")
    image = image.reshape(*image.shape[:2], -1)
    low, high = image.min(), image.max()
    image = (image - low) / (high - low or 1.0)
    labels = segmentation.felzenszwalb(image, scale=scale, sigma=0.8, min_size=least_area, channel_axis=-1)
    boxes = merge_regions(image, labels)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return boxes[areas >= least_area]


def merge_regions(image, labels) -> np.ndarray:
    """Returns the boxes of regions and of all their unions, by merging the two most alike neighbours again and again.

    Source: https://doi.org/10.1007/s11263-013-0620-5, section 3.1, algorithm 1.

    Args:
        image: (H, W, C), from 0 to 1.
        labels: (H, W) integers, the first region of each pixel.

    Returns:
        (N, 4) float32 `xyxy` boxes in pixels, the last merged first, none twice.

    Raises:
        ArgumentError: the shapes do not fit.

    Example:
        >>> image = np.repeat(np.array([[0.0, 0.02, 1.0]]), 3, axis=1)[..., None]  # dark, dark and light
        >>> merge_regions(image, np.repeat([[0, 1, 2]], 3, axis=1)).tolist()
        [[0.0, 0.0, 9.0, 1.0], [0.0, 0.0, 6.0, 1.0], [6.0, 0.0, 9.0, 1.0], [3.0, 0.0, 6.0, 1.0], [0.0, 0.0, 3.0, 1.0]]
    """
    image, labels = np.asarray(image, "float64"), np.asarray(labels)
    if image.ndim != 3 or image.shape[:2] != labels.shape:
        checks.refuse("image must be (H, W, C) and labels (H, W) of the same sides", (image.shape, labels.shape))
    labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    regions = dict(enumerate(first_regions(image, labels)))
    neighbours = _neighbours_of(labels)
    pixels = labels.size
    alike = {(a, b): regions[a].similarity(regions[b], pixels) for a in neighbours for b in neighbours[a] if a < b}
    boxes = [region.box for region in regions.values()]
    while alike:
        a, b = max(alike, key=alike.get)
        new = len(boxes)
        regions[new] = regions[a].joined(regions[b])
        boxes.append(regions[new].box)
        around = (neighbours.pop(a) | neighbours.pop(b)) - {a, b}
        neighbours[new] = around
        for other in around:
            neighbours[other] = (neighbours[other] - {a, b}) | {new}
        alike = {pair: value for pair, value in alike.items() if a not in pair and b not in pair}
        alike |= {(other, new): regions[other].similarity(regions[new], pixels) for other in around}
    unique = dict.fromkeys(map(tuple, reversed(boxes)))
    return np.array([*unique], "float32").reshape(-1, 4)


def first_regions(image: np.ndarray, labels: np.ndarray) -> list[Region]:
    """Returns the region of each label, from 0 on, with its histograms: (H, W, C) and (H, W)."""
    count = labels.max() + 1
    sizes = np.bincount(labels.ravel(), minlength=count)
    down, across = (np.gradient(image, axis=axis) if image.shape[axis] > 1 else 0 * image for axis in (0, 1))
    angles = (np.arctan2(down, across) + np.pi) / (2 * np.pi)
    colour = _histograms(labels, image, np.ones_like(image), COLOUR_BINS)
    texture = _histograms(labels, angles, np.hypot(down, across), TEXTURE_BINS)
    rows, columns = np.indices(labels.shape)
    boxes = np.zeros((count, 4), int)
    boxes[:, :2] = max(labels.shape)
    for place, edge in ((0, columns), (1, rows)):
        np.minimum.at(boxes[:, place], labels, edge)
        np.maximum.at(boxes[:, place + 2], labels, edge + 1)
    return [Region(int(size), *each) for size, *each in zip(sizes, boxes, colour, texture, strict=True)]


def _histograms(labels: np.ndarray, values: np.ndarray, weights: np.ndarray, bins: int) -> np.ndarray:
    """Returns the histogram of values from 0 to 1 in each region and channel: (regions, C * bins), of sum 1 or 0."""
    count, channels = labels.max() + 1, values.shape[-1]
    places = np.minimum((values * bins).astype(int), bins - 1) + np.arange(channels) * bins
    flat = labels[..., None] * (channels * bins) + places
    sums = np.bincount(flat.ravel(), weights.ravel(), minlength=count * channels * bins).reshape(count, -1)
    totals = sums.sum(1, keepdims=True)
    return sums / np.where(totals > 0, totals, 1.0)


def _neighbours_of(labels: np.ndarray) -> dict[int, set[int]]:
    """Returns the regions that touch each region along a side."""
    pairs = [(labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])]
    neighbours = defaultdict(set)
    for one, other in pairs:
        for a, b in {*zip(one[one != other].tolist(), other[one != other].tolist(), strict=True)}:
            neighbours[a].add(b)
            neighbours[b].add(a)
    return neighbours
