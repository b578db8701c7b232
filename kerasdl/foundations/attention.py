"""Attention by hand: scaled dot products, several heads, positions, and a whole encoder block, forward and backward.

Each place asks all others: weights = softmax(q k^T / sqrt(d)), answer = weights v. The root keeps the variance of the
scores at one, where the softmax still has slopes (https://arxiv.org/abs/1706.03762, section 3.2.1). Nothing in this
knows the order of places, so that positions are added to the inputs.

Deviations: norms stand behind the sums, as in the paper; dropout is left out.
"""

import numpy as np

from .activations import softmax, softmax_backward
from .initializers import initializer
from .layers import Dense, Layer, check_width
from .regularization import LayerNorm


class MultiHeadAttention(Layer):
    """Self-attention of several heads, each with keys of its own.

    Args:
        width: D, of inputs and outputs.
        heads: N.
        size: of the keys of each head; None takes width / heads.
        seed: of the weights.

    Raises:
        ValueError: heads do not divide the width, and no size is given.

    Example:
        >>> MultiHeadAttention(8, 2).forward(np.ones((1, 5, 8))).shape
        (1, 5, 8)
    """

    def __init__(self, width: int, heads: int, *, size: int | None = None, seed: int = 0):
        if size is None and width % heads:
            raise ValueError(f"heads must divide the width {width}; got {heads}. Pass size= for keys of another size.")
        size = size or width // heads
        rng, make = np.random.default_rng(seed), initializer("xavier_uniform")
        shapes = {"query": (width, heads * size), "key": (width, heads * size), "value": (width, heads * size)}
        weights = {name: make(shape, rng) for name, shape in shapes.items()}
        super().__init__(**weights, output=make((heads * size, width), rng))
        biases = {f"{name}_bias": np.zeros(heads * size) for name in shapes}
        self.weights |= biases | {"output_bias": np.zeros(width)}
        self.heads, self.size = heads, size

    def forward(self, x, *, training=False, causal: bool = False):
        """Returns (B, T, D) of inputs (B, T, D); causal places see themselves and those before alone.

        `attention` keeps the weights (B, N, T, T).
        """
        self.x, w = np.asarray(x, float), self.weights
        self.q, self.k, self.v = (
            self._split(self.x @ w[name] + w[f"{name}_bias"]) for name in ("query", "key", "value")
        )  # (B, N, T, size)
        scores = self.q @ self.k.swapaxes(-1, -2) / np.sqrt(self.size)  # (B, N, T, T)
        if causal:
            scores = np.where(np.tri(scores.shape[-1], dtype=bool), scores, -np.inf)
        self.attention = softmax(scores)
        self.answers = self._joined(self.attention @ self.v)  # (B, T, N size)
        return self.answers @ w["output"] + w["output_bias"]

    def backward(self, gradient):
        """Returns the gradient (B, T, D) of the inputs."""
        w, g = self.weights, self._split(gradient @ self.weights["output"].T)
        scores = softmax_backward(self.attention, g @ self.v.swapaxes(-1, -2)) / np.sqrt(self.size)
        parts = {
            "query": scores @ self.k,
            "key": scores.swapaxes(-1, -2) @ self.q,
            "value": self.attention.swapaxes(-1, -2) @ g,
        }
        self.gradients = {"output": _product(self.answers, gradient), "output_bias": gradient.sum(axis=(0, 1))}
        inward = np.zeros_like(self.x)
        for name, part in parts.items():
            joined = self._joined(part)
            self.gradients |= {name: _product(self.x, joined), f"{name}_bias": joined.sum(axis=(0, 1))}
            inward += joined @ w[name].T
        return inward

    def _split(self, x: np.ndarray) -> np.ndarray:
        """Returns (B, N, T, size) of (B, T, N size)."""
        return x.reshape(*x.shape[:2], self.heads, self.size).swapaxes(1, 2)

    def _joined(self, x: np.ndarray) -> np.ndarray:
        """Returns (B, T, N size) of (B, N, T, size)."""
        return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)


def _product(x: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Returns the gradient of a kernel: the sum over batch and time of x^T g."""
    return np.einsum("btd,bte->de", x, gradient)


class PositionalEncoding(Layer):
    """Adds sines and cosines of the place, of wavelengths from 2 pi to 10,000 times 2 pi (section 3.5).

    A shift of all places by k turns each pair of sine and cosine by a fixed angle: a linear map.

    Args:
        width: D, even.

    Raises:
        ValueError: the width is odd.

    Example:
        >>> PositionalEncoding(4).forward(np.zeros((1, 2, 4)))[0, 0]
        array([0., 1., 0., 1.])
    """

    def __init__(self, width: int):
        if width % 2:
            raise ValueError(f"width must be even, for pairs of sine and cosine; got {width}.")
        super().__init__()
        self.rates = 10_000.0 ** (-np.arange(0, width, 2) / width)

    def forward(self, x, *, training=False):
        """Returns (B, T, D) with the positions added."""
        check_width(x, 2 * len(self.rates))
        if np.ndim(x) != 3:
            raise ValueError(f"inputs must be (B, T, D); got {np.shape(x)}.")
        angles = np.arange(x.shape[1])[:, np.newaxis] * self.rates
        return x + np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(x.shape[1], -1)

    def backward(self, gradient):
        """Returns the gradient as it is."""
        return gradient


class EncoderBlock(Layer):
    """Encoder block: attention, then two dense layers at each place, each added to its input and normalised.

    Source: https://arxiv.org/abs/1706.03762, section 3.1 and figure 1, left.

    Args:
        width: D.
        heads: of the attention.
        hidden: units of the first dense layer.
        seed: of the weights.

    Raises:
        ValueError: heads do not divide the width.

    Example:
        >>> EncoderBlock(8, 2, 16).forward(np.ones((1, 5, 8))).shape
        (1, 5, 8)
    """

    def __init__(self, width: int, heads: int, hidden: int, *, seed: int = 0):
        super().__init__()
        self.parts = {
            "attention": MultiHeadAttention(width, heads, seed=seed),
            "attention_norm": LayerNorm(width),
            "first": Dense(width, hidden, activation="relu", seed=seed + 1),
            "second": Dense(hidden, width, seed=seed + 2),
            "norm": LayerNorm(width),
        }

    def forward(self, x, *, training=False):
        """Returns (B, T, D) of inputs (B, T, D)."""
        attention, attention_norm, first, second, norm = self.parts.values()
        x = attention_norm.forward(x + attention.forward(x))
        return norm.forward(x + second.forward(first.forward(x)))

    def backward(self, gradient):
        """Returns the gradient (B, T, D) of the inputs; each sum hands its gradient to both of its terms."""
        attention, attention_norm, first, second, norm = self.parts.values()
        g = norm.backward(gradient)
        g = g + first.backward(second.backward(g))
        g = attention_norm.backward(g)
        g = g + attention.backward(g)
        self.gradients = {f"{name}.{key}": v for name, part in self.parts.items() for key, v in part.gradients.items()}
        return g
