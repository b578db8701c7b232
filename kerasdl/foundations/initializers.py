"""Initial weights that keep the size of signals: Xavier, He, LeCun and orthogonal; signals through fifty layers.

A sum of n inputs of variance v with weights of variance s has the variance n s v. Forward, variance stays with s = 1/n
of the inputs (LeCun); backward with s = 1/n of the outputs; Xavier takes the mean of both
(https://proceedings.mlr.press/v9/glorot10a.html, equation 16). ReLU loses half, so that He doubles s
(https://arxiv.org/abs/1502.01852, equation 10). An orthogonal matrix keeps the length of every vector
(https://arxiv.org/abs/1312.6120). A wrong factor is raised to the power of the depth.

Deviations: normal weights are not cut at two standard deviations, as Keras's are.
"""

from collections.abc import Callable

import numpy as np

from . import activations


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns the numbers that a unit reads and that read it; of a kernel (k, k, C, F) k k C and k k F.

    Example:
        >>> fans((3, 3, 16, 32))
        (144, 288)
    """
    field = int(np.prod(shape[:-2]))
    return field * shape[-2], field * shape[-1]


def xavier_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Uniform with variance 2 / (inputs + outputs), also called Glorot."""
    limit = np.sqrt(6.0 / sum(fans(shape)))
    return rng.uniform(-limit, limit, shape)


def xavier_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Normal with variance 2 / (inputs + outputs)."""
    return rng.normal(0.0, np.sqrt(2.0 / sum(fans(shape))), shape)


def he_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Normal with variance 2 / inputs, for ReLU."""
    return rng.normal(0.0, np.sqrt(2.0 / fans(shape)[0]), shape)


def lecun_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Normal with variance 1 / inputs, for SELU and for units without activation."""
    return rng.normal(0.0, np.sqrt(1.0 / fans(shape)[0]), shape)


def orthogonal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Matrix whose rows or columns, whichever are fewer, are orthogonal unit vectors."""
    tall = (int(np.prod(shape[:-1])), shape[-1])
    directions, triangle = np.linalg.qr(rng.normal(size=(max(tall), min(tall))))
    directions = directions * np.sign(np.diag(triangle))  # so that all of them are equally likely
    return (directions if tall[0] >= tall[1] else directions.T).reshape(shape)


def small_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Normal with deviation 0.01, whatever the layer: the signal fades with depth."""
    return rng.normal(0.0, 0.01, shape)


INITIALIZERS = {
    "xavier_uniform": xavier_uniform,
    "xavier_normal": xavier_normal,
    "he_normal": he_normal,
    "lecun_normal": lecun_normal,
    "orthogonal": orthogonal,
    "small_normal": small_normal,
}


def initializer(name: str) -> Callable[[tuple[int, ...], np.random.Generator], np.ndarray]:
    """Returns an initializer by name, one of `INITIALIZERS`.

    Raises:
        ValueError: there is no such initializer.

    Example:
        >>> initializer("orthogonal")((4, 2), np.random.default_rng(0)).shape
        (4, 2)
    """
    if name not in INITIALIZERS:
        raise ValueError(f"initializer must be one of {', '.join(INITIALIZERS)}; got {name!r}.")
    return INITIALIZERS[name]


def variance_by_depth(
    name: str, activation: str, *, depth: int = 50, width: int = 100, batch: int = 32, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean square of signals and of gradients in a deep stack of dense layers with fresh weights.

    Args:
        name: of the initializer.
        activation: of each layer.
        depth: layers.
        width: units of each.
        batch: examples, standard normal.
        seed: of examples and weights.

    Returns:
        (depth + 1,) of the signals, inputs first, and (depth + 1,) of the gradients of the signals, where that of the
        outputs is standard normal.

    Raises:
        ValueError: there is no such initializer or activation.

    Example:
        >>> forward, backward = variance_by_depth("he_normal", "relu", depth=20)
        >>> bool(0.2 < forward[-1] / forward[1] < 5)
        True
    """
    rng, make, function = np.random.default_rng(seed), initializer(name), activations.activation(activation)
    x = rng.normal(size=(batch, width))
    signals, kernels, slopes = [np.mean(x**2)], [], []
    for _ in range(depth):
        kernels.append(make((width, width), rng))
        sums = x @ kernels[-1]
        slopes.append(function.derivative(sums))
        x = function.value(sums)
        signals.append(np.mean(x**2))
    gradient = rng.normal(size=x.shape)
    backward = [np.mean(gradient**2)]
    for kernel, slope in zip(kernels[::-1], slopes[::-1], strict=True):
        gradient = (gradient * slope) @ kernel.T
        backward.append(np.mean(gradient**2))
    return np.array(signals), np.array(backward[::-1])


def draw_variance(path=None, *, depth: int = 50):
    """Draws `variance_by_depth` of every initializer under tanh and ReLU, signals above and gradients below.

    Args:
        path: of a PNG to write; None writes none.
        depth: layers.

    Returns:
        The figure of Matplotlib.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    for column, activation in enumerate(("tanh", "relu")):
        for name in INITIALIZERS:
            for row, values in enumerate(variance_by_depth(name, activation, depth=depth)):
                axes[row][column].semilogy(np.maximum(values, 1e-30), label=name)
        axes[0][column].set_title(activation)
        axes[1][column].set_xlabel("layer")
    axes[0][0].set_ylabel("mean square of signals")
    axes[1][0].set_ylabel("mean square of gradients")
    axes[0][0].set_ylim(1e-20, 1e5)
    axes[1][1].legend(fontsize="small")
    if path is not None:
        figure.savefig(path)
    return figure
