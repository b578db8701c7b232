"""Variational inference: densities, divergences and bounds of latent Gaussian variables."""

import math
from typing import Any

import numpy as np
from keras import ops

from kerasdl.core import checks

LOG_TWO_PI = math.log(2 * math.pi)


def gaussian_log_density(x: Any, mean: Any, log_variance: Any) -> Any:
    """Returns log N(x; mean, variance) of each number by itself.

    Source: Kingma 2013, https://arxiv.org/abs/1312.6114, appendix C.2.

    Args:
        x: (...) floats.
        mean: (...) floats, or one for all.
        log_variance: (...) logarithms of variances, or one for all.

    Returns:
        (...) floats in nats.

    Example:
        >>> round(float(gaussian_log_density(0.0, 0.0, 0.0)), 4)
        -0.9189
    """
    x = ops.convert_to_tensor(x)
    mean, log_variance = (ops.convert_to_tensor(each, x.dtype) for each in (mean, log_variance))
    return -0.5 * (LOG_TWO_PI + log_variance + ops.square(x - mean) * ops.exp(-log_variance))


def gaussian_divergence(mean: Any, log_variance: Any, prior_mean: Any = 0.0, prior_log_variance: Any = 0.0) -> Any:
    """Returns KL(N(mean, variance) || N(prior mean, prior variance)) of each number by itself.

    Source: Kingma 2013, https://arxiv.org/abs/1312.6114, appendix B; with a prior of its own Sonderby 2016,
    https://arxiv.org/abs/1602.02282.

    Args:
        mean: (...) floats.
        log_variance: (...) logarithms of variances.
        prior_mean: (...) floats, or one for all.
        prior_log_variance: (...) logarithms of variances, or one for all.

    Returns:
        (...) floats in nats, 0 where both are the same.

    Example:
        >>> gaussian_divergence([0.0, 2.0], [0.0, 0.0]).numpy().tolist()
        [0.0, 2.0]
    """
    mean = ops.convert_to_tensor(mean)
    others = (log_variance, prior_mean, prior_log_variance)
    log_variance, prior_mean, prior_log_variance = (ops.convert_to_tensor(each, mean.dtype) for each in others)
    apart = log_variance - prior_log_variance
    return 0.5 * (ops.exp(apart) - 1.0 - apart + ops.square(mean - prior_mean) * ops.exp(-prior_log_variance))


def bernoulli_log_density(x: Any, logits: Any) -> Any:
    """Returns x log p + (1 - x) log(1 - p), p the sigmoid of logits, of each number by itself.

    Of numbers between 0 and 1 it is a cross-entropy and no density: the integral over them is not 1.

    Source: Kingma 2013, https://arxiv.org/abs/1312.6114, appendix C.1.

    Args:
        x: (...) floats from 0 to 1.
        logits: (...) floats.

    Returns:
        (...) floats in nats, finite for all finite logits.

    Example:
        >>> round(float(bernoulli_log_density(1.0, 0.0)), 4)
        -0.6931
    """
    logits = ops.convert_to_tensor(logits)
    x = ops.convert_to_tensor(x, logits.dtype)
    return x * logits - ops.softplus(logits)


def importance_bound(log_weights: Any, axis: int = 0) -> Any:
    """Returns the logarithm of the mean of importance weights: a bound of log p(x) that rises with their number.

    With one weight, log p(x, z) - log q(z | x), it is the evidence lower bound (ELBO).

    Source: Burda 2015, https://arxiv.org/abs/1509.00519, equation 8.

    Args:
        log_weights: (..., K, ...) floats in nats, K samples along the axis.
        axis: axis of the samples.

    Returns:
        (...) floats without that axis.

    Example:
        >>> round(float(importance_bound([0.0, float(np.log(3.0))])), 4)
        0.6931
    """
    log_weights = ops.convert_to_tensor(log_weights)
    return ops.logsumexp(log_weights, axis=axis) - math.log(log_weights.shape[axis])


def free_bits(divergences: Any, floor: float, axis: int = 0) -> Any:
    """Returns the sum over units of the mean divergence of a batch, of each unit at least a floor.

    A unit below the floor gets no gradient, so that it is not driven to the prior.

    Source: Kingma 2016, https://arxiv.org/abs/1606.04934, appendix C.8, equation 15.

    Args:
        divergences: (B, D) floats in nats.
        floor: lambda, nats a unit may have for nothing; 0 gives the plain sum.
        axis: axis of the batch.

    Returns:
        A scalar in nats.

    Raises:
        ArgumentError: the floor is out of range.

    Example:
        >>> free_bits([[0.1, 2.0], [0.3, 4.0]], floor=0.5).numpy().item()
        3.5
    """
    floor = checks.within("floor", floor, 0.0, 1e6)
    return ops.sum(ops.maximum(ops.mean(ops.convert_to_tensor(divergences), axis=axis), floor))


def active_units(means: Any, threshold: float = 0.01) -> np.ndarray:
    """Returns which units of a code depend on the data: those whose posterior mean varies over them.

    Source: Burda 2015, https://arxiv.org/abs/1509.00519, section 5.1.

    Args:
        means: (N, D) posterior means of N examples, 2 or more.
        threshold: variance above which a unit is active.

    Returns:
        (D,) bool, on the host.

    Raises:
        ArgumentError: means are not (N, D) finite numbers of two examples or more.

    Example:
        >>> active_units([[0.0, 1.0], [0.001, -1.0]]).tolist()
        [False, True]
    """
    means = np.asarray(means, np.float64)
    if means.ndim != 2 or len(means) < 2 or not np.isfinite(means).all():
        checks.refuse("means must be (N, D) finite numbers, N of 2 or more", f"shape {means.shape}")
    return means.var(axis=0) > checks.within("threshold", threshold, 0.0, 1e6)
