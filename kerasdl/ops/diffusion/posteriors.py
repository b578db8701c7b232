"""Posteriors of diffusion: the less noisy data by the noisier and the clean, and learned variances of a step back."""

from typing import Any

from keras import ops

from .prediction_targets import per_example


def posterior_coefficients(alpha: Any, sigma: Any, next_alpha: Any, next_sigma: Any) -> tuple[Any, Any, Any]:
    """Returns the coefficients of q(x_s | x_t, x0), a step of any length from time t back to time s.

    The mean is `of_x * x_t + of_data * x0`. For neighbours of DDPM's steps these are its equations 6 and 7; for
    alphas of 1 those of variance-exploding diffusion.

    Source: https://arxiv.org/abs/2107.00630, appendix A.4, equations 30 to 32.

    Args:
        alpha: rates of the data at time t, numbers or arrays of one shape.
        sigma: rates of the noise at time t, above 0.
        next_alpha: rates of the data at time s, above 0.
        next_sigma: rates of the noise at time s.

    Returns:
        `(of_x, of_data, variance)`, in the dtype of `alpha`.

    Example:
        >>> [round(float(each), 6) for each in posterior_coefficients(0.6, 0.8, 0.8, 0.6)]
        [0.421875, 0.546875, 0.246094]
    """
    alpha = ops.convert_to_tensor(alpha)
    sigma, next_alpha, next_sigma = (
        ops.convert_to_tensor(each, alpha.dtype) for each in (sigma, next_alpha, next_sigma)
    )
    ratio = alpha / next_alpha
    added = ops.square(sigma) - ops.square(ratio * next_sigma)  # variance that the step from s to t adds
    share = ops.square(next_sigma) / ops.square(sigma)
    return ratio * share, next_alpha * added / ops.square(sigma), added * share


def posterior(x0: Any, x: Any, alpha: Any, sigma: Any, next_alpha: Any, next_sigma: Any) -> tuple[Any, Any]:
    """Returns mean and variance of the less noisy data x_s, where x_t and x0 are known.

    Source: https://arxiv.org/abs/2107.00630, appendix A.4.

    Args:
        x0: (B, ...) data.
        x: (B, ...) noisy data x_t.
        alpha: (B,) or () rates at time t, as in `posterior_coefficients`, like the following.
        sigma: as there.
        next_alpha: as there.
        next_sigma: as there.

    Returns:
        The mean (B, ...) and the variance (B, 1, ...) or ().

    Example:
        >>> mean, variance = posterior(np.ones((1, 2)), np.zeros((1, 2)), 0.6, 0.8, 0.8, 0.6)
        >>> mean.numpy()
        array([[0.546875, 0.546875]])
    """
    x0, x = ops.convert_to_tensor(x0), ops.convert_to_tensor(x)
    rates = [per_example(each, x) for each in (alpha, sigma, next_alpha, next_sigma)]
    of_x, of_data, variance = posterior_coefficients(*rates)
    return of_x * x + of_data * x0, variance


def learned_log_variance(fraction: Any, smallest: Any, largest: Any) -> Any:
    """Returns the log variance of a step back that a network gives as a place between two bounds.

    Source: https://arxiv.org/abs/2102.09672, equation 15; the output from -1 to 1 as in the code of the paper.

    Args:
        fraction: (B, ...) output of the network: -1 for the smallest variance, 1 for the largest; others extrapolate.
        smallest: (B,) or () variances of the posterior, above 0.
        largest: (B,) or () variances of the noise that the step forward adds, above 0.

    Returns:
        (B, ...) of the dtype of the fraction.

    Raises:
        ArgumentError: a bound has more than one axis, by `per_example`.

    Example:
        >>> round(float(ops.exp(learned_log_variance(0.0, 0.01, 0.04))), 6)
        0.02
    """
    fraction = ops.convert_to_tensor(fraction)
    share = (fraction + 1) / 2
    low, high = ops.log(per_example(smallest, fraction)), ops.log(per_example(largest, fraction))
    return share * high + (1 - share) * low
