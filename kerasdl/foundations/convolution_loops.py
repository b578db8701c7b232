"""Convolution and pooling by loops, number by number as the formulas say: slow, and the measure of the quick forms.

Output [i, j] reads the pixels [i s + u d - p, j s + v d - p] for all entries u, v of a window, with stride s,
dilation d and p pixels of padding before; those outside of the image do not exist. Backward, every number
that was read gets the gradient of what it was multiplied into.
"""

from collections.abc import Iterator

import numpy as np

from .convolutions import output_side, padding_of

Read = tuple[tuple[int, int], tuple[int, int]]


def reads(
    sides: tuple[int, int], size: int, stride: int = 1, padding: str = "valid", dilation: int = 1
) -> Iterator[tuple[tuple[int, int], list[Read]]]:
    """Yields each place of the output, and the entries of its window with the pixels that they read.

    Example:
        >>> next(reads((3, 3), 2, padding="valid"))
        ((0, 0), [((0, 0), (0, 0)), ((0, 1), (0, 1)), ((1, 0), (1, 0)), ((1, 1), (1, 1))])
    """
    pads = [padding_of(side, size, stride, dilation) if padding == "same" else (0, 0) for side in sides]
    for spot in np.ndindex(
        *(
            output_side(side, size, stride, padding=sum(pad), dilation=dilation)
            for side, pad in zip(sides, pads, strict=True)
        )
    ):
        found = []
        for entry in np.ndindex(size, size):
            pixel = tuple(i * stride + u * dilation - pad[0] for i, u, pad in zip(spot, entry, pads, strict=True))
            if all(0 <= place < side for place, side in zip(pixel, sides, strict=True)):
                found.append((entry, pixel))
        yield spot, found


def convolution(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, *, groups: int = 1, **settings) -> np.ndarray:
    """Returns the convolution (B, h, w, F) of images (B, H, W, C) with a kernel (k, k, C / groups, F).

    Args:
        x: images.
        kernel: as in `Conv2D`.
        bias: (F,).
        groups: parts of channels and filters.
        **settings: stride, padding and dilation, as in `reads`.

    Example:
        >>> convolution(np.ones((1, 3, 3, 2)), np.ones((2, 2, 2, 1)), np.zeros(1))[0, :, :, 0]
        array([[8., 8.],
               [8., 8.]])
    """
    size, _, channels, filters = kernel.shape
    places = list(reads(x.shape[1:3], size, **settings))
    y = np.zeros((len(x), places[-1][0][0] + 1, places[-1][0][1] + 1, filters))
    for image, filter in np.ndindex(len(x), filters):
        first = filter // (filters // groups) * channels
        for spot, entries in places:
            y[(image, *spot, filter)] = bias[filter] + sum(
                x[(image, *pixel, first + channel)] * kernel[(*entry, channel, filter)]
                for entry, pixel in entries
                for channel in range(channels)
            )
    return y


def convolution_gradients(
    x: np.ndarray, kernel: np.ndarray, gradient: np.ndarray, *, groups: int = 1, **settings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the gradients of images, kernel and bias from that of the output (B, h, w, F).

    Args:
        x: (B, H, W, C).
        kernel: (k, k, C / groups, F).
        gradient: of the output.
        groups: as in `convolution`, like the settings.
        **settings: stride, padding and dilation.
    """
    size, _, channels, filters = kernel.shape
    of_x, of_kernel = np.zeros(x.shape), np.zeros(kernel.shape)
    places = list(reads(x.shape[1:3], size, **settings))
    for image, filter in np.ndindex(len(x), filters):
        first = filter // (filters // groups) * channels
        for spot, entries in places:
            g = gradient[(image, *spot, filter)]
            for entry, pixel in entries:
                for channel in range(channels):
                    of_x[(image, *pixel, first + channel)] += g * kernel[(*entry, channel, filter)]
                    of_kernel[(*entry, channel, filter)] += g * x[(image, *pixel, first + channel)]
    return of_x, of_kernel, gradient.sum(axis=(0, 1, 2))


def pooling(x: np.ndarray, size: int, *, kind: str = "max", gradient: np.ndarray | None = None, **settings):
    """Returns the largest or the mean number of each window (B, h, w, C); with a gradient that of the images.

    Args:
        x: (B, H, W, C).
        size: side of a window.
        kind: `max` or `average`.
        gradient: of the output; None goes forward.
        **settings: stride, here 1 by default, and padding.

    Example:
        >>> pooling(np.arange(4.0).reshape(1, 2, 2, 1), 2)
        array([[[[3.]]]])
    """
    places = list(reads(x.shape[1:3], size, **settings))
    y = np.zeros((len(x), places[-1][0][0] + 1, places[-1][0][1] + 1, x.shape[-1]))
    of_x = np.zeros(x.shape)
    for image, channel in np.ndindex(len(x), x.shape[-1]):
        for spot, entries in places:
            pixels = [(image, *pixel, channel) for _, pixel in entries]
            place, best = (image, *spot, channel), max(pixels, key=lambda pixel: x[pixel])
            y[place] = x[best] if kind == "max" else sum(x[pixel] for pixel in pixels) / len(pixels)
            if gradient is not None:
                for pixel in [best] if kind == "max" else pixels:
                    of_x[pixel] += gradient[place] / (1 if kind == "max" else len(pixels))
    return y if gradient is None else of_x
