"""Handwritten digits: the 1797 real 8x8 images embedded in scikit-learn (Alpaydin and Kaynak, 1998)."""

import numpy as np
from sklearn import datasets

from ..dataset import Dataset
from ..sources import Examples
from ..splits import stratified_split

LICENCE = "CC BY 4.0 (UCI Machine Learning Repository, Optical Recognition of Handwritten Digits)"
IMAGE_SHAPE = (32, 32, 1)
CLASS_NAMES = tuple("0123456789")


def read_digits(split: str) -> Dataset:
    """Returns a fixed split, raw: white on black, the 17 levels of the source spread over 0..255, uint8 (8, 8, 1)."""
    digits = datasets.load_digits()
    pixels = np.round(digits.images[..., np.newaxis] * (255 / 16)).astype(np.uint8)
    indices = stratified_split(digits.target, split)
    return Dataset(
        name="digits",
        task="image_classification",
        class_names=CLASS_NAMES,
        input_shape=IMAGE_SHAPE,
        input_dtype="uint8",
        size=len(indices),
        licence=LICENCE,
        seekable=True,
        scale=None,
        source=Examples(pixels[indices], digits.target[indices].astype(np.int32)),
        images=True,
    )
