"""Convolution of tensors by windows, cut as a view and added up again: each is the pullback of the other."""

from .tensors import Tensor
from .windows import add_windows, cut_windows


def windows(x: Tensor, size: int, stride: int = 1) -> Tensor:
    """Returns all windows (B, h, w, size, size, C) of images (B, H, W, C), a view of the same numbers."""
    return Tensor(cut_windows(x.value, size, stride), (x,), lambda g: (joined(g, x.shape, stride),), "windows")


def joined(x: Tensor, shape: tuple[int, ...], stride: int = 1) -> Tensor:
    """Returns images of a shape in which windows are added at their places, the pullback of `windows`."""
    value = add_windows(x.value, shape, stride)
    return Tensor(value, (x,), lambda g: (windows(g, x.shape[3], stride),), "join")


def convolve(x: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    """Returns the convolution of images (B, H, W, C) with a kernel (k, k, C, F), without padding.

    Args:
        x: (B, H, W, C).
        kernel: (k, k, C, F).
        stride: pixels from one window to the next.

    Example:
        >>> convolve(Tensor([[[[1.0], [2.0]], [[3.0], [4.0]]]]), Tensor([[[[1.0]], [[1.0]]], [[[1.0]], [[1.0]]]])).shape
        (1, 1, 1, 1)
    """
    size, _, channels, filters = kernel.shape
    cut = windows(x, size, stride)
    rows = cut.reshape(*cut.shape[:3], size * size * channels)
    return rows @ kernel.reshape(size * size * channels, filters)
