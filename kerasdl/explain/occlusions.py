"""Occlusion: how much a score falls when a window of the image is hidden (https://arxiv.org/abs/1311.2901)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks

from .targets import Target, fixed_target, network_and_inputs, scores_of

CHUNK = 64


def occlusion(
    model: Any, images: Any, target: Target = None, *, size: int = 8, stride: int | None = None, fill: float = 0.0
) -> np.ndarray:
    """Returns how much the score of a class falls where a square is hidden: the mean over all squares over a pixel.

    It needs no gradients, and shows what the model does, at the price of a run for each square.

    Source: https://arxiv.org/abs/1311.2901, section 4.2.

    Args:
        model: a functional `keras.Model` of one image input, or a bundle of one.
        images: (B, H, W, C), prepared as the model takes them.
        target: as in `saliency`.
        size: side of the square in pixels.
        stride: pixels from one square to the next; None takes half the side. The last squares end at the border.
        fill: value of hidden pixels; 0 is grey where pixels run from -1 to 1.

    Returns:
        (B, H, W) float32; positive where hiding lowers the score.

    Raises:
        ArgumentError: the square is larger than the image, or arguments do not fit.

    Example:
        >>> occlusion(model, np.ones((1, 32, 32, 3)), size=16).shape
        (1, 32, 32)
    """
    network, x = network_and_inputs(model, images)
    if x.ndim != 4 or size > min(x.shape[1:3]):
        checks.refuse(f"images must be (B, H, W, C) with sides of {size} or more", tuple(x.shape))
    checks.at_least("size", size, 1)
    stride = checks.at_least("stride", max(1, size // 2) if stride is None else stride, 1)
    if stride > size:
        checks.refuse(f"stride must be at most the size {size}, so that every pixel is hidden once", stride)
    target = fixed_target(network, x, target)

    def score(hidden: np.ndarray) -> np.ndarray:
        parts = tf.split(hidden, [min(CHUNK, len(hidden) - start) for start in range(0, len(hidden), CHUNK)])
        targets = [_part(target, place * CHUNK) for place in range(len(parts))]
        scored = [scores_of(network(part, training=False), own) for part, own in zip(parts, targets, strict=True)]
        return tf.concat(scored, axis=0).numpy()

    return falls_of(score, x.numpy(), size, stride, fill)


def falls_of(score: Callable, images: np.ndarray, size: int, stride: int, fill: float) -> np.ndarray:
    """Returns how much scores fall where a square is hidden, (B, H, W): the mean over all squares over a pixel.

    Args:
        score: takes images (B, H, W, C) and returns their scores (B,); any runtime can stand behind it.
        images: (B, H, W, C).
        size: side of the square in pixels.
        stride: pixels from one square to the next.
        fill: value of hidden pixels.
    """
    falls, counts = np.zeros(images.shape[:3], "float32"), np.zeros(images.shape[1:3], "float32")
    whole = score(images)
    for top in _starts(images.shape[1], size, stride):
        for left in _starts(images.shape[2], size, stride):
            hidden = images.copy()
            hidden[:, top : top + size, left : left + size] = fill
            falls[:, top : top + size, left : left + size] += (whole - score(hidden))[:, None, None]
            counts[top : top + size, left : left + size] += 1
    return falls / counts


def _starts(side: int, size: int, stride: int) -> list[int]:
    """Returns the first pixels of squares along a side, the last square ending at the border."""
    return sorted({*range(0, side - size + 1, stride), side - size})


def _part(target: Target, start: int) -> Target:
    return target[start : start + CHUNK] if not callable(target) and np.ndim(target) == 1 else target
