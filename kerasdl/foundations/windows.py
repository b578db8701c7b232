"""Windows of images by stride tricks, and their sum back into images: the two halves of convolution and pooling."""

import numpy as np


def cut_windows(images: np.ndarray, size: int, stride: int = 1, dilation: int = 1) -> np.ndarray:
    """Returns all windows of images as a view: no number is copied.

    Args:
        images: (B, H, W, C).
        size: side of a window.
        stride: pixels from one window to the next.
        dilation: pixels from one entry of a window to the next.

    Returns:
        (B, h, w, size, size, C), where h = (H - dilation (size - 1) - 1) // stride + 1.

    Raises:
        ValueError: a side of the images is smaller than a window.

    Example:
        >>> cut_windows(np.zeros((1, 5, 5, 2)), 3, 2).shape
        (1, 2, 2, 3, 3, 2)
    """
    reach = dilation * (size - 1) + 1
    if min(images.shape[1:3]) < reach:
        raise ValueError(f"sides of images must be {reach} or more, as a window reaches; got {images.shape[1:3]}.")
    cut = np.lib.stride_tricks.sliding_window_view(images, (reach, reach), (1, 2))
    return cut[:, ::stride, ::stride, :, ::dilation, ::dilation].transpose(0, 1, 2, 4, 5, 3)


def add_windows(
    windows: np.ndarray, shape: tuple[int, int, int, int], stride: int = 1, dilation: int = 1
) -> np.ndarray:
    """Returns images in which windows are added at their places; pixels in several windows gather all.

    Args:
        windows: (B, h, w, size, size, C).
        shape: of the images, (B, H, W, C).
        stride: as in `cut_windows`.
        dilation: as in `cut_windows`.

    Example:
        >>> add_windows(np.ones((1, 2, 1, 2, 2, 1)), (1, 3, 2, 1))[0, :, :, 0]
        array([[1., 1.],
               [2., 2.],
               [1., 1.]])
    """
    images = np.zeros(shape)
    high, wide, size = windows.shape[1:4]
    for row in range(size):
        for column in range(size):
            down, right = row * dilation, column * dilation
            rows = slice(down, down + stride * (high - 1) + 1, stride)
            columns = slice(right, right + stride * (wide - 1) + 1, stride)
            images[:, rows, columns] += windows[:, :, :, row, column]
    return images
