"""Normalisation and dropout by hand, in training and in evaluation: BatchNorm, LayerNorm, Dropout, DropConnect.

A norm takes mean and deviation out of its input and learns new ones: y = gamma (x - m) / sqrt(v + eps) + beta. Since m
and v depend on all the numbers they were taken from, so does the gradient: with n = (x - m) / sqrt(v + eps) and g' = g
gamma, dx = (g' - mean(g') - n mean(g' n)) / sqrt(v + eps), means over the same numbers. A gradient along the constant,
or along n itself, is taken out: neither changes y.

BatchNorm takes means over the batch in training and running ones in evaluation
(https://arxiv.org/abs/1502.03167, algorithms 1 and 2); LayerNorm over each example, always
(https://arxiv.org/abs/1607.06450). Dropout hides outputs (https://jmlr.org/papers/v15/srivastava14a.html), DropConnect
weights (https://proceedings.mlr.press/v28/wan13.html); what is left grows by 1 / (1 - rate), so that evaluation changes
nothing.

Deviations: DropConnect draws one mask a batch, and evaluates with all weights where the paper draws from a normal.
"""

import numpy as np

from .layers import Dense, Layer, check_width


def normalised(x: np.ndarray, axes: tuple[int, ...], epsilon: float):
    """Returns (x - mean) / sqrt(variance + epsilon) over axes, and the root."""
    root = np.sqrt(x.var(axis=axes, keepdims=True) + epsilon)
    return (x - x.mean(axis=axes, keepdims=True)) / root, root


def normalised_backward(gradient: np.ndarray, n: np.ndarray, root: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Returns the gradient of x from that of `normalised(x)`."""
    along = gradient - gradient.mean(axis=axes, keepdims=True)
    return (along - n * (gradient * n).mean(axis=axes, keepdims=True)) / root


class BatchNorm(Layer):
    """Batch normalisation over all axes but the last.

    Args:
        channels: size of the last axis.
        momentum: share of the running mean and variance that a batch leaves.
        epsilon: added to variances.

    Example:
        >>> norm = BatchNorm(2)
        >>> y = norm.forward(np.array([[0.0, 5.0], [2.0, 5.0]]), training=True)
        >>> y.round(2)
        array([[-1.,  0.],
               [ 1.,  0.]])
    """

    def __init__(self, channels: int, *, momentum: float = 0.99, epsilon: float = 1e-3):
        super().__init__(gamma=np.ones(channels), beta=np.zeros(channels))
        self.mean, self.variance = np.zeros(channels), np.ones(channels)
        self.momentum, self.epsilon = momentum, epsilon

    def forward(self, x, *, training=False):
        """Returns x normalised; in training by the batch, whose mean and variance go into the running ones."""
        x = np.asarray(x, float)
        check_width(x, len(self.mean))
        self.axes, self.by_batch = tuple(range(x.ndim - 1)), training
        if training:
            self.n, self.root = normalised(x, self.axes, self.epsilon)
            keep = self.momentum
            self.mean = keep * self.mean + (1.0 - keep) * x.mean(axis=self.axes)
            self.variance = keep * self.variance + (1.0 - keep) * x.var(axis=self.axes)
        else:
            self.root = np.sqrt(self.variance + self.epsilon)
            self.n = (x - self.mean) / self.root
        return self.weights["gamma"] * self.n + self.weights["beta"]

    def backward(self, gradient):
        """Returns the gradient of x; in evaluation mean and variance are constants."""
        self.gradients = {"gamma": (gradient * self.n).sum(axis=self.axes), "beta": gradient.sum(axis=self.axes)}
        inward = gradient * self.weights["gamma"]
        return normalised_backward(inward, self.n, self.root, self.axes) if self.by_batch else inward / self.root


class LayerNorm(Layer):
    """Layer normalisation over the last axis, the same in training and evaluation.

    Args:
        width: size of the last axis.
        epsilon: added to variances.

    Example:
        >>> LayerNorm(2).forward(np.array([[1.0, 3.0]])).round(2)
        array([[-1.,  1.]])
    """

    def __init__(self, width: int, *, epsilon: float = 1e-3):
        super().__init__(gamma=np.ones(width), beta=np.zeros(width))
        self.epsilon = epsilon

    def forward(self, x, *, training=False):
        """Returns each example normalised."""
        check_width(x, len(self.weights["gamma"]))
        self.n, self.root = normalised(np.asarray(x, float), (-1,), self.epsilon)
        return self.weights["gamma"] * self.n + self.weights["beta"]

    def backward(self, gradient):
        """Returns the gradient of x."""
        axes = tuple(range(gradient.ndim - 1))
        self.gradients = {"gamma": (gradient * self.n).sum(axis=axes), "beta": gradient.sum(axis=axes)}
        return normalised_backward(gradient * self.weights["gamma"], self.n, self.root, (-1,))


class Dropout(Layer):
    """Dropout: in training each number is 0 with a probability, and the others grow so that the mean stays.

    Args:
        rate: probability, from 0 and below 1.
        seed: of the numbers that are hidden.

    Raises:
        ValueError: the rate is outside.

    Example:
        >>> layer = Dropout(0.5)
        >>> sorted(set(layer.forward(np.ones(100), training=True))), layer.forward(np.ones(2))
        ([np.float64(0.0), np.float64(2.0)], array([1., 1.]))
    """

    def __init__(self, rate: float, *, seed: int = 0):
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"rate must be from 0 and below 1; got {rate}.")
        super().__init__()
        self.rate, self.rng = rate, np.random.default_rng(seed)

    def forward(self, x, *, training=False):
        """Returns x, in training with numbers hidden."""
        self.mask = dropout_mask(self.rng, np.shape(x), self.rate) if training else np.ones(np.shape(x))
        return x * self.mask

    def backward(self, gradient):
        """Returns the gradient of the numbers that were not hidden."""
        return gradient * self.mask


class DropConnect(Dense):
    """Dense layer whose weights are hidden in training, each with a probability; its arguments are those of `Dense`.

    Args:
        inputs: as in `Dense`, like `units` and the settings.
        units: neurons.
        rate: probability, from 0 and below 1.
        **settings: of `Dense`.

    Raises:
        ValueError: the rate is outside.

    Example:
        >>> DropConnect(3, 2, rate=0.5).forward(np.ones((1, 3)), training=True).shape
        (1, 2)
    """

    def __init__(self, inputs: int, units: int, *, rate: float, **settings):
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"rate must be from 0 and below 1; got {rate}.")
        super().__init__(inputs, units, **settings)
        self.rate, self.rng = rate, np.random.default_rng(settings.get("seed", 0))

    def forward(self, x, *, training=False):
        """Returns (..., units), in training by a part of the weights."""
        self.whole = self.weights["kernel"]
        self.mask = dropout_mask(self.rng, self.whole.shape, self.rate) if training else np.ones(self.whole.shape)
        self.weights["kernel"] = self.whole * self.mask
        try:
            return super().forward(x)
        finally:
            self.weights["kernel"] = self.whole

    def backward(self, gradient):
        """Returns the gradient of the inputs; hidden weights get none."""
        self.weights["kernel"] = self.whole * self.mask
        try:
            inward = super().backward(gradient)
        finally:
            self.weights["kernel"] = self.whole
        self.gradients["kernel"] = self.gradients["kernel"] * self.mask
        return inward


def dropout_mask(rng: np.random.Generator, shape: tuple[int, ...], rate: float) -> np.ndarray:
    """Returns 0 with the probability `rate` and 1 / (1 - rate) elsewhere."""
    return (rng.random(shape) >= rate) / (1.0 - rate)
