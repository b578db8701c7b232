"""Variational bounds of diffusion: divergence of normal distributions, likelihood of levels, bits per dimension."""

import math
from typing import Any

import keras
from keras import ops

from kerasdl.core import checks

SMALLEST = 1.2e-38  # the smallest normal number of float32


def normal_divergence(mean: Any, log_variance: Any, other_mean: Any, other_log_variance: Any) -> Any:
    """Returns the divergence KL(N || other N) of normal distributions, number by number.

    Source: https://arxiv.org/abs/2006.11239, equation 5.

    Args:
        mean: means of the first, of any shape.
        log_variance: logarithms of its variances.
        other_mean: means of the second.
        other_log_variance: logarithms of its variances.

    Returns:
        Nats, in the common shape.

    Example:
        >>> float(normal_divergence(1.0, 0.0, 0.0, 0.0))
        0.5
    """
    mean = ops.convert_to_tensor(mean)
    rest = (log_variance, other_mean, other_log_variance)
    log_variance, other_mean, other_log_variance = (ops.convert_to_tensor(each, mean.dtype) for each in rest)
    gap = log_variance - other_log_variance
    return 0.5 * (ops.exp(gap) - 1 - gap + ops.square(mean - other_mean) * ops.exp(-other_log_variance))


def level_log_likelihood(x: Any, mean: Any, log_deviation: Any, levels: int = 256) -> Any:
    """Returns the log-likelihood of grey levels under normal distributions: the mass of the interval of each level.

    The lowest level has all mass below it too, and the highest all above.

    Source: https://arxiv.org/abs/2006.11239, equation 13.

    Args:
        x: levels as numbers from -1 to 1 in equal steps, of any shape.
        mean: means.
        log_deviation: logarithms of the standard deviations.
        levels: number of levels, 2 or more.

    Returns:
        Nats, in the common shape, at least -87 in float32.

    Raises:
        ArgumentError: there are fewer than 2 levels.

    Example:
        >>> float(ops.exp(level_log_likelihood(1.0, 1.0, 10.0, levels=2)))
        0.5000...
    """
    checks.at_least("levels", levels, 2)
    x = ops.convert_to_tensor(x)
    half = 1 / (levels - 1)
    mean, scale = ops.convert_to_tensor(mean, x.dtype), ops.exp(-ops.convert_to_tensor(log_deviation, x.dtype))
    above, below = scale * (x - mean + half), scale * (x - mean - half)
    # both tails are computed as lower tails, which keep small numbers
    mirrored = above + below > 0
    above, below = ops.where(mirrored, -below, above), ops.where(mirrored, -above, below)
    lowest, highest = x < -1 + half, x > 1 - half
    upper = ops.where(ops.where(mirrored, lowest, highest), ops.ones_like(above), normal_mass(above))
    lower = ops.where(ops.where(mirrored, highest, lowest), ops.zeros_like(below), normal_mass(below))
    smallest = 1e-300 if keras.backend.standardize_dtype(upper.dtype) == "float64" else SMALLEST
    return ops.log(ops.maximum(upper - lower, smallest))


def normal_mass(x: Any) -> Any:
    """Returns the mass of the standard normal distribution below a number.

    Args:
        x: numbers of any shape.

    Returns:
        Numbers from 0 to 1 in its shape and dtype.

    Example:
        >>> float(normal_mass(0.0))
        0.5
    """
    return 0.5 * ops.erfc(-ops.convert_to_tensor(x) / math.sqrt(2.0))


def bits_per_dimension(nats: Any, dimensions: int, levels: int | None = None) -> Any:
    """Returns bits for each number of an example from its negative log-likelihood in nats.

    Source: https://arxiv.org/abs/1705.07057, appendix E.2, for densities.

    Args:
        nats: negative log-likelihood of each example, of any shape.
        dimensions: numbers in an example, such as 3072.
        levels: for a density of numbers from -1 to 1, the levels of the data, each 2 / levels wide by uniform noise;
            None for a likelihood of levels.

    Returns:
        Bits in the shape of the nats.

    Raises:
        ArgumentError: `dimensions` is not positive, or there are fewer than 2 levels.

    Example:
        >>> float(bits_per_dimension(np.log(2.0) * 12, 4))
        3.0
    """
    checks.at_least("dimensions", dimensions, 1)
    nats = ops.convert_to_tensor(nats)
    width = 0.0 if levels is None else math.log2(checks.at_least("levels", levels, 2) / 2)
    return nats / (dimensions * math.log(2.0)) + width
