"""Base class of metrics of segmentation that measure image by image in NumPy: class by class, the mean over images."""

import math
from collections.abc import Sequence

import numpy as np

from kerasdl.core import checks

from ..detection_records import class_names
from .figures import SegmentationFigures, mean_of


class ImageMetric:
    """Mean over images of `measure(true, predicted, valid)` of each class, masks (H, W) booleans."""

    short: str

    def __init__(self, classes: int | Sequence[str], ignore_label: int | None = 255):
        self.names = class_names(classes)
        self.ignore_label = ignore_label
        self.reset_state()

    def reset_state(self) -> None:
        """Forgets all images."""
        self._values: list[list[float]] = []

    def update_state(self, true: Sequence, predicted: Sequence) -> None:
        """Adds images, which may differ in size.

        Args:
            true: (H, W) class of each pixel, for each image.
            predicted: the same of the same images.

        Raises:
            ArgumentError: images do not belong together, or a pixel is of no class and not ignored.
        """
        if len(true) != len(predicted):
            checks.refuse(f"predicted must hold a mask for each of the {len(true)} images", len(predicted))
        for each, other in zip(true, predicted, strict=True):
            true_classes, found, valid = checked_maps(each, other, len(self.names), self.ignore_label)
            masks = ((true_classes == k, found == k) for k in range(len(self.names)))
            self._values.append([self.measure(own & valid, guess & valid, valid) for own, guess in masks])

    def measure(self, true: np.ndarray, predicted: np.ndarray, valid: np.ndarray) -> float:
        """Returns the figure of one class in one image, NaN where it cannot be measured."""
        raise NotImplementedError

    def result(self) -> dict[str, float]:
        """Returns the mean over the classes of the mean over the images where the class could be measured.

        Raises:
            ArgumentError: no image was added.
        """
        return {self.short: mean_of(self.per_class().values())}

    def per_class(self) -> dict[str, float]:
        """Returns the mean over the images by class; NaN for a class that no image could be measured for.

        Raises:
            ArgumentError: no image was added.
        """
        if not self._values:
            checks.refuse("a metric must have seen at least one image", 0, "Call update_state first.")
        return {name: mean_of(column) for name, column in zip(self.names, zip(*self._values, strict=True), strict=True)}

    def figures(self) -> SegmentationFigures:
        """Returns all figures as a result with `table()` and `to_json()`.

        Raises:
            ArgumentError: no image was added.
        """
        return SegmentationFigures(self.result(), {name: {self.short: v} for name, v in self.per_class().items()})


def checked_maps(true, predicted, classes: int, ignore_label: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns maps of classes (H, W) as int64, and booleans of the pixels that count.

    Raises:
        ArgumentError: the maps differ in size, are not whole numbers, or hold what is no class.
    """
    true, predicted = np.asarray(true), np.asarray(predicted)
    if true.ndim != 2 or true.shape != predicted.shape:
        checks.refuse("maps of classes must be (H, W), true and predicted of one size", (true.shape, predicted.shape))
    if not all(each.dtype.kind in "iub" for each in (true, predicted)):
        checks.refuse("maps of classes must be whole numbers", (str(true.dtype), str(predicted.dtype)))
    true, predicted = true.astype(np.int64), predicted.astype(np.int64)
    valid = np.ones(true.shape, bool) if ignore_label is None else true != ignore_label
    for name, each in (("true", true), ("predicted", predicted)):
        wrong = valid & ((each < 0) | (each >= classes))
        if wrong.any():
            checks.refuse(f"a {name} class must be below the number of classes {classes}", int(each[wrong][0]))
    return true, predicted, valid


def diagonal_of(shape: tuple[int, ...]) -> float:
    """Returns the diagonal of an image (H, W) in pixels."""
    return math.hypot(*shape)
