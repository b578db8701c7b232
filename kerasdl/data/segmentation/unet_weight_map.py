"""Weights of pixels that make a net keep touching objects apart."""

from typing import Any

import numpy as np
from scipy import ndimage

from kerasdl.core import checks

REACH = 5
"""Multiples of sigma beyond which the weight of a border counts as 0: it is below 4e-6 of the greatest there."""


def border_weights(
    numbers: Any, border: float = 10.0, sigma: float = 5.0, class_weights: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """Returns the weight of each pixel in the loss: large where the background between two objects is narrow.

    w(x) = w_c(x) + border * exp(-(d1(x) + d2(x))^2 / (2 sigma^2)), d1 and d2 the distances to the nearest object and to
    the second nearest.

    Source: U-Net, https://arxiv.org/abs/1505.04597, section 3, equation 2.

    Deviations: the second term stands on the background alone, which is what has to be kept free; and it is 0 where d1
    or d2 is above 5 sigma.

    Args:
        numbers: (H, W) whole numbers: that of the object a pixel shows, 0 for the background.
        border: the paper's w_0, 0 or more.
        sigma: pixels, above 0.
        class_weights: the paper's w_c, of the background and of objects.

    Returns:
        (H, W) float32.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> border_weights([[1, 1, 0, 2, 2, 0, 0, 0]]).astype(int).tolist()
        [[1, 1, 10, 1, 1, 7, 4, 2]]
    """
    numbers = np.asarray(numbers)
    if numbers.ndim != 2 or numbers.dtype.kind not in "iu" or numbers.min(initial=0) < 0:
        checks.refuse("numbers must be (H, W) whole numbers of 0 or more", f"{numbers.dtype} {numbers.shape}")
    checks.within("border", border, 0, 1e6)
    checks.within("sigma", sigma, 1e-3, 1e4)
    ground, objects = (checks.within("a weight of class_weights", each, 0, 1e6) for each in class_weights)
    height, width = numbers.shape
    reach = int(np.ceil(REACH * sigma))
    nearest, second = np.full((2, height, width), np.inf, np.float32)
    present = np.unique(numbers[numbers > 0])
    places = np.where(numbers > 0, np.searchsorted(present, numbers) + 1, 0)
    for number, span in enumerate(ndimage.find_objects(places), 1):
        window = tuple(slice(max(0, part.start - reach), part.stop + reach) for part in span)
        away = ndimage.distance_transform_edt(places[window] != number).astype(np.float32)
        second[window] = np.minimum(second[window], np.maximum(nearest[window], away))
        nearest[window] = np.minimum(nearest[window], away)
    term = border * np.exp(-np.square(nearest + second, dtype=np.float64) / (2 * sigma**2))
    return np.where(numbers > 0, objects, ground + term).astype(np.float32)
