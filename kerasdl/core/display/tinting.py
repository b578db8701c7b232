"""Tinted areas of pictures: colours over the pixels of classes or masks, with lines at their borders."""

from typing import Any

import numpy as np


def tint(picture: np.ndarray, inside: np.ndarray, borders: np.ndarray, colour: Any, opacity: float = 0.5) -> None:
    """Tints pixels of a picture in place.

    Args:
        picture: (H, W, 3) floats.
        inside: (H, W) booleans.
        borders: (H, W) booleans, the pixels inside that have the colour alone.
        colour: three numbers from 0 to 255.
        opacity: of the colour, from 0 to 1.
    """
    picture[inside] = (1 - opacity) * picture[inside] + opacity * np.array(colour)
    picture[inside & borders] = colour


def borders_of(classes: np.ndarray, width: int) -> np.ndarray:
    """Returns where a pixel has one of another class within so many pixels, across or down."""
    found, (height, wide) = np.zeros(classes.shape, bool), classes.shape
    padded = np.pad(classes, width, mode="edge")
    for step in (*range(width), *range(width + 1, 2 * width + 1)):
        found |= padded[step : step + height, width : width + wide] != classes
        found |= padded[width : width + height, step : step + wide] != classes
    return found
