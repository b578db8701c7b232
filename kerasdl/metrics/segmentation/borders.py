"""Figures of the borders of masks: boundary F1 and the Hausdorff distance at 95 %."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from kerasdl.core import checks

from .collecting import ImageMetric, diagonal_of

NAN = float("nan")


class BoundaryF1(ImageMetric):
    """Boundary F1: the share of border pixels that lie near the border of the other mask, both ways.

    Border pixels of a class are those beside a pixel of another class, left, right, above or below; sides of the image
    and ignored pixels make no border. An image without a border of the class in both masks is not measured; with one in
    a single mask its figure is 0.

    Source: Csurka 2013, https://doi.org/10.5244/C.27.32, section 3.

    Args:
        classes: number of classes, or their names.
        tolerance: greatest distance: pixels from 1 on, below 1 a share of the image's diagonal.
        ignore_label: label of pixels that do not count; None for none.

    Raises:
        ArgumentError: the tolerance is not positive, or the classes break their rule.

    Example:
        >>> metric = BoundaryF1(2, tolerance=1)
        >>> metric.update_state([np.array([[0, 0, 1, 1, 1]])], [np.array([[0, 1, 1, 1, 1]])])
        >>> metric.result()
        {'boundary_F1': 1.0}
    """

    short = "boundary_F1"

    def __init__(self, classes: int | Sequence[str], tolerance: float = 0.0075, ignore_label: int | None = 255):
        super().__init__(classes, ignore_label)
        self.tolerance = checks.within("tolerance", tolerance, 0.0, 1e6)
        if not self.tolerance > 0:
            checks.refuse("tolerance must be positive", tolerance)

    def measure(self, true, predicted, valid):
        borders = [_inner_border(each, valid) for each in (true, predicted)]
        some = [border.any() for border in borders]
        if not all(some):
            return 0.0 if any(some) else NAN
        most = self.tolerance if self.tolerance >= 1 else self.tolerance * diagonal_of(true.shape)
        recall, precision = (
            float((ndimage.distance_transform_edt(~other)[border] <= most).mean())
            for border, other in (borders, borders[::-1])
        )
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


class HausdorffDistance(ImageMetric):
    """Hausdorff distance of masks at 95 %: of the distances from each border to the other, the larger 95th percentile.

    Border pixels are those of the mask beside a pixel outside of it, left, right, above or below, or at a side of the
    image. An image in which either mask is empty has no such distance, NaN, and counts in no mean; `result` tells how
    many of a class were missed or invented that way.

    Source: Huttenlocher 1993, https://doi.org/10.1109/34.232073; the percentile as in the figures of BraTS.

    Args:
        classes: number of classes, or their names.
        percentile: 100 is the greatest distance.
        ignore_label: label of pixels that do not count, outside of every mask; None for none.

    Raises:
        ArgumentError: the percentile is not from 0 to 100, or the classes break their rule.

    Example:
        >>> metric = HausdorffDistance(["background", "leaf"])
        >>> metric.update_state([np.array([[0, 1, 0, 0]])], [np.array([[0, 0, 0, 1]])])
        >>> metric.per_class()["leaf"]  # pixels
        2.0
    """

    short = "Hausdorff"

    def __init__(self, classes: int | Sequence[str], percentile: float = 95.0, ignore_label: int | None = 255):
        super().__init__(classes, ignore_label)
        self.percentile = checks.within("percentile", percentile, 0.0, 100.0)

    def reset_state(self) -> None:
        """Forgets all images."""
        super().reset_state()
        self._missed = 0

    def measure(self, true, predicted, valid):
        if not (true.any() and predicted.any()):
            self._missed += int(true.any() or predicted.any())
            return NAN
        borders = [each & ~ndimage.binary_erosion(each) for each in (true, predicted)]
        distances = (ndimage.distance_transform_edt(~other)[border] for border, other in (borders, borders[::-1]))
        return float(max(np.percentile(each, self.percentile) for each in distances))

    def result(self) -> dict[str, float]:
        """Returns `Hausdorff`, the mean over classes and images in pixels, and `missed`, masks without a partner.

        Raises:
            ArgumentError: no image was added.
        """
        return {**super().result(), "missed": self._missed}


def _inner_border(mask: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Returns the pixels of a mask beside a pixel that counts and is outside of it."""
    outside = np.pad(valid & ~mask, 1)
    beside = outside[:-2, 1:-1] | outside[2:, 1:-1] | outside[1:-1, :-2] | outside[1:-1, 2:]
    return mask & beside
