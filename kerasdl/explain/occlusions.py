"""Occlusion: how much a score falls when a window of the image is hidden (https://arxiv.org/abs/1311.2901)."""

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
    images = x.numpy()
    falls, counts = np.zeros(images.shape[:3], "float32"), np.zeros(images.shape[1:3], "float32")
    whole = scores_of(network(x, training=False), target).numpy()
    corners = [
        (top, left) for top in _starts(images.shape[1], size, stride) for left in _starts(images.shape[2], size, stride)
    ]
    for top, left in corners:
        hidden = images.copy()
        hidden[:, top : top + size, left : left + size] = fill
        scores = np.concatenate(
            [
                scores_of(network(part, training=False), _part(target, place * CHUNK)).numpy()
                for place, part in enumerate(tf.split(hidden, _sizes(len(hidden))))
            ]
        )
        falls[:, top : top + size, left : left + size] += (whole - scores)[:, None, None]
        counts[top : top + size, left : left + size] += 1
    return falls / counts


def _starts(side: int, size: int, stride: int) -> list[int]:
    """Returns the first pixels of squares along a side, the last square ending at the border."""
    return sorted({*range(0, side - size + 1, stride), side - size})


def _sizes(count: int) -> list[int]:
    return [min(CHUNK, count - start) for start in range(0, count, CHUNK)]


def _part(target: Target, start: int) -> Target:
    return target[start : start + CHUNK] if not callable(target) and np.ndim(target) == 1 else target
