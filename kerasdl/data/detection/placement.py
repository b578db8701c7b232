"""Placement of objects on a scene: where they go, which of them cover which, and how much stays visible."""

import numpy as np

TRIES = 60


class Placement:
    """Numbers of the objects that each pixel shows, object after object.

    Args:
        side: height and width of the scene in pixels.
        visible: share of an object's pixels that later ones must leave visible.
    """

    def __init__(self, side: int, visible: float):
        self.side, self.visible = side, visible
        self.numbers = np.zeros((side, side), np.uint8)
        self.counts: list[int] = []
        """Pixels of each object before any other covered it."""

    def free_place(self, rng: np.random.Generator, coverage: np.ndarray) -> tuple[slice, slice] | None:
        """Returns the rows and columns of a random place for a form; None if it does not fit or covers too much."""
        height, width = coverage.shape
        if max(height, width) > self.side:
            return None
        top, left = (int(rng.random() * (self.side - length + 1)) for length in (height, width))
        place = slice(top, top + height), slice(left, left + width)
        inside = coverage >= 128
        if not inside.any():
            return None
        covered = np.bincount(self.numbers[place][inside], minlength=len(self.counts) + 1)[1:]
        if covered.any():
            left_over = np.bincount(self.numbers.ravel(), minlength=len(self.counts) + 1)[1:] - covered
            if (left_over < self.visible * np.array(self.counts)).any():
                return None
        return place

    def put(self, place: tuple[slice, slice], coverage: np.ndarray) -> None:
        """Adds an object on top: the pixels of which it covers half or more."""
        inside = coverage >= 128
        self.counts.append(int(np.count_nonzero(inside)))
        self.numbers[place][inside] = len(self.counts)


def blend(image: np.ndarray, place: tuple[slice, slice], coverage: np.ndarray, colours: np.ndarray) -> None:
    """Paints colours, (3, 1, 1) or (3, h, w), over a float32 image (3, H, W), by a coverage of 0 to 255."""
    part = image[:, *place]
    part += (colours - part) * (coverage * np.float32(1 / 255))


def pixels_of(image: np.ndarray) -> np.ndarray:
    """Returns a float32 image (3, H, W) as uint8 (H, W, 3)."""
    levels = np.clip(image, 0, 255, out=image).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(1, 2, 0))
