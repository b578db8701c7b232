"""Convolution and pooling by hand, forward and backward, by windows, as programs do; `convolution_loops` by loops.

A convolution multiplies every window of the image with one kernel: y[i, j] = sum over u, v of x[i s + u d, j s + v d]
K[u, v], with stride s and dilation d. As windows, this is one matrix product (im2col). Backward, the kernel gathers
windows times gradients, and each gradient goes back to the pixels of its window; overlapping windows add.

Sides: (n + p - d (k - 1) - 1) // s + 1, with p pixels of padding in all. Padding `same` takes p so that the side is
n / s rounded up, and puts the odd pixel behind, as TensorFlow does.
"""

import numpy as np

from .initializers import initializer
from .layers import Layer, check_width
from .windows import add_windows, cut_windows


def padding_of(side: int, size: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """Returns the pixels before and behind a side that padding `same` adds.

    Example:
        >>> padding_of(5, 3, 2), padding_of(6, 3, 2)
        ((1, 1), (0, 1))
    """
    total = max(0, (-(-side // stride) - 1) * stride + dilation * (size - 1) + 1 - side)
    return total // 2, total - total // 2


def output_side(side: int, size: int, stride: int = 1, *, padding: int = 0, dilation: int = 1) -> int:
    """Returns the side of a convolution's output, from that of its input and the padding of both ends together.

    Example:
        >>> output_side(224, 7, 2, padding=5)
        112
    """
    return (side + padding - dilation * (size - 1) - 1) // stride + 1


def receptive_field(layers: list[tuple[int, int]]) -> int:
    """Returns the side of the part of the image that one output of a stack of layers sees.

    Each layer widens it by (size - 1) times the product of the strides before.

    Args:
        layers: (size, stride) of each, first to last.

    Example:
        >>> receptive_field([(3, 1), (3, 2), (3, 1)])
        9
    """
    field, jump = 1, 1
    for size, stride in layers:
        field += (size - 1) * jump
        jump *= stride
    return field


class Windowed(Layer):
    """Base of layers over windows: padding, and the way of windows back to images."""

    def __init__(self, size: int, stride: int, padding: str, dilation: int = 1, fill: float = 0.0, **weights):
        super().__init__(**weights)
        if padding not in ("valid", "same"):
            raise ValueError(f"padding must be 'valid' or 'same'; got {padding!r}.")
        self.size, self.stride, self.padding, self.dilation, self.fill = size, stride, padding, dilation, fill

    def cut(self, x: np.ndarray) -> np.ndarray:
        """Returns the windows (B, h, w, k, k, C) of images (B, H, W, C), padded first."""
        settings = (self.size, self.stride, self.dilation)
        pads = [padding_of(side, *settings) if self.padding == "same" else (0, 0) for side in x.shape[1:3]]
        self.pads, self.shape = pads, x.shape
        padded = np.pad(np.asarray(x, float), [(0, 0), *pads, (0, 0)], constant_values=self.fill)
        return cut_windows(padded, *settings)

    def put_back(self, windows: np.ndarray) -> np.ndarray:
        """Returns the sums of windows at their places, without the padding."""
        (top, below), (left, right) = self.pads
        batch, high, wide, channels = self.shape
        whole = (batch, high + top + below, wide + left + right, channels)
        return add_windows(windows, whole, self.stride, self.dilation)[:, top : top + high, left : left + wide]


class Conv2D(Windowed):
    """Convolution of images (B, H, W, C) to (B, h, w, filters), as one matrix product of windows and kernel.

    With groups, channels and filters are cut into as many parts, and each part of the filters sees one of the channels.

    Args:
        channels: C.
        filters: channels of the output.
        size: side of the kernel.
        stride: pixels from one window to the next.
        padding: `valid` or `same`.
        dilation: pixels from one entry of a window to the next.
        groups: parts, which divide both channels and filters.
        seed: of the kernel.

    Raises:
        ValueError: the padding is unknown, or groups do not divide channels and filters.

    Example:
        >>> Conv2D(3, 8, 3, stride=2, padding="same").forward(np.zeros((1, 9, 9, 3))).shape
        (1, 5, 5, 8)
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        size: int = 3,
        *,
        stride: int = 1,
        padding: str = "valid",
        dilation: int = 1,
        groups: int = 1,
        seed: int = 0,
    ):
        if channels % groups or filters % groups:
            raise ValueError(f"groups must divide channels ({channels}) and filters ({filters}); got {groups}.")
        shape = (size, size, channels // groups, filters)
        kernel = initializer("xavier_uniform")(shape, np.random.default_rng(seed))
        super().__init__(size, stride, padding, dilation, kernel=kernel, bias=np.zeros(filters))
        self.groups = groups

    def forward(self, x, *, training=False):
        """Returns (B, h, w, filters) of images (B, H, W, C)."""
        windows, kernel = self.cut(x), self.weights["kernel"]
        check_width(x, kernel.shape[2] * self.groups)
        batch, high, wide = windows.shape[:3]
        # (B h w, k k, G, C / G) and (k k, C / G, G, F / G): one matrix product for each group.
        self.rows = windows.reshape(batch * high * wide, self.size**2, self.groups, -1)
        parts = kernel.reshape(self.size**2, kernel.shape[2], self.groups, -1)
        y = np.einsum("npgc,pcgf->ngf", self.rows, parts, optimize=True)
        return y.reshape(batch, high, wide, -1) + self.weights["bias"]

    def backward(self, gradient):
        """Returns the gradient (B, H, W, C) of the images."""
        kernel = self.weights["kernel"]
        batch, high, wide, _ = gradient.shape
        parts = kernel.reshape(self.size**2, kernel.shape[2], self.groups, -1)
        g = gradient.reshape(len(self.rows), self.groups, -1)
        made = np.einsum("npgc,ngf->pcgf", self.rows, g, optimize=True).reshape(kernel.shape)
        self.gradients = {"kernel": made, "bias": gradient.sum(axis=(0, 1, 2))}
        windows = np.einsum("ngf,pcgf->npgc", g, parts, optimize=True)
        return self.put_back(windows.reshape(batch, high, wide, self.size, self.size, -1))


class DepthwiseConv2D(Conv2D):
    """Convolution of each channel with a kernel of its own: as many groups as channels.

    Example:
        >>> DepthwiseConv2D(4, 3).weights["kernel"].shape
        (3, 3, 1, 4)
    """

    def __init__(self, channels: int, size: int = 3, *, stride: int = 1, padding: str = "valid", seed: int = 0):
        super().__init__(channels, channels, size, stride=stride, padding=padding, groups=channels, seed=seed)


class MaxPool2D(Windowed):
    """Largest number of each window; its gradient goes to that pixel alone, the first of equal ones.

    Args:
        size: side of a window.
        stride: None takes the size.
        padding: `valid` or `same`; padding never is the largest.

    Raises:
        ValueError: the padding is unknown.

    Example:
        >>> MaxPool2D(2).forward(np.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0]
        array([[ 5.,  7.],
               [13., 15.]])
    """

    def __init__(self, size: int = 2, *, stride: int | None = None, padding: str = "valid"):
        super().__init__(size, stride or size, padding, fill=-np.inf)

    def forward(self, x, *, training=False):
        """Returns (B, h, w, C) of images (B, H, W, C)."""
        windows = self.cut(x)
        flat = windows.reshape(*windows.shape[:3], self.size**2, -1)
        self.chosen = flat.argmax(axis=3)
        return flat.max(axis=3)

    def backward(self, gradient):
        """Returns the gradient (B, H, W, C) of the images."""
        is_chosen = np.arange(self.size**2)[:, np.newaxis] == self.chosen[..., np.newaxis, :]
        flat = is_chosen * gradient[..., np.newaxis, :]
        return self.put_back(flat.reshape(*gradient.shape[:3], self.size, self.size, -1))


class AveragePool2D(Windowed):
    """Mean of each window, over the pixels of the image alone where padding is `same`.

    Args:
        size: side of a window.
        stride: None takes the size.
        padding: `valid` or `same`.

    Raises:
        ValueError: the padding is unknown.

    Example:
        >>> AveragePool2D(2).forward(np.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0]
        array([[ 2.5,  4.5],
               [10.5, 12.5]])
    """

    def __init__(self, size: int = 2, *, stride: int | None = None, padding: str = "valid"):
        super().__init__(size, stride or size, padding)

    def forward(self, x, *, training=False):
        """Returns (B, h, w, C) of images (B, H, W, C)."""
        total = self.cut(x).sum(axis=(3, 4))
        self.real = self.cut(np.ones((1, *x.shape[1:3], 1))).sum(axis=(3, 4))
        self.shape = x.shape
        return total / self.real

    def backward(self, gradient):
        """Returns the gradient (B, H, W, C) of the images."""
        shares = (gradient / self.real)[:, :, :, np.newaxis, np.newaxis]
        batch, high, wide, channels = gradient.shape
        return self.put_back(np.broadcast_to(shares, (batch, high, wide, self.size, self.size, channels)))
