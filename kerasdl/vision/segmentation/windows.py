"""Windows that slide over an image, and the blend of what is found in them."""

from collections.abc import Callable

import numpy as np

from kerasdl.core import checks


def blended_windows(
    image: np.ndarray, answers: Callable[[np.ndarray], np.ndarray], window: tuple, answer: tuple, overlap: float
) -> np.ndarray:
    """Returns the answers of a network over an image of any size, blended where its windows overlap.

    The image is continued by its mirror image beyond its edges, as in U-Net (https://arxiv.org/abs/1505.04597, figure
    2). The weight of an answer falls towards the border of its window.

    Args:
        image: (H, W, C), prepared for the network.
        answers: function from windows (N, h, w, C) to answers (N, h', w', K).
        window: h and w.
        answer: h' and w', the middle of each window.
        overlap: share of a window's answer that the next one covers, from 0 to 0.9.

    Returns:
        (H, W, K) float32.

    Raises:
        ArgumentError: the overlap breaks its rule.
    """
    checks.within("overlap", overlap, 0.0, 0.9)
    height, width = image.shape[:2]
    sides = [max(side, least) for side, least in zip((height, width), answer, strict=True)]
    before = [(one - other) // 2 for one, other in zip(window, answer, strict=True)]
    needed = [side + one - other for side, one, other in zip(sides, window, answer, strict=True)]
    after = [whole - side - first for whole, side, first in zip(needed, (height, width), before, strict=True)]
    padded = np.pad(image, (*zip(before, after, strict=True), (0, 0)), mode="symmetric")
    starts = [_starts(side, of, overlap) for side, of in zip(sides, answer, strict=True)]
    weights = np.outer(_fading(answer[0]), _fading(answer[1]))[..., np.newaxis]
    total, weight = 0.0, np.zeros((*sides, 1), np.float32)
    for top in starts[0]:
        row = np.stack([padded[top : top + window[0], left : left + window[1]] for left in starts[1]])
        for left, found in zip(starts[1], answers(row), strict=True):
            if not np.ndim(total):
                total = np.zeros((*sides, found.shape[-1]), np.float32)
            total[top : top + answer[0], left : left + answer[1]] += found * weights
            weight[top : top + answer[0], left : left + answer[1]] += weights
    return (total / weight)[:height, :width]


def _starts(side: int, window: int, overlap: float) -> list[int]:
    """Returns the first pixels of windows that cover a side; the last window ends with it."""
    step = max(1, round(window * (1 - overlap)))
    return [*range(0, side - window, step), side - window]


def _fading(length: int) -> np.ndarray:
    """Returns the weights of the pixels of a window, 1 in the middle and small at both ends."""
    distances = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
    return np.sin(np.pi * distances / length).astype(np.float32)
