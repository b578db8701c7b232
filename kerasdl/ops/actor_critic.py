"""Actor-critic formulas: density of squashed normal actions, target smoothing, Polyak averages, soft values.

Actions are between -1 and 1 in every entry; agents scale them to the bounds of their environment.
"""

import math
from typing import Any

from keras import ops

from kerasdl.core import checks


def tanh_normal_log_density(unsquashed: Any, mean: Any, log_deviation: Any) -> Any:
    """Returns the log-density of tanh(u) where the entries of u are independent normal numbers.

    log N(u; mean, deviation) - sum of log(1 - tanh(u)^2), the latter as 2 (log 2 - u - softplus(-2 u)): exact also
    where tanh(u) rounds to 1.

    Source: https://arxiv.org/abs/1801.01290, appendix C, equation 21.

    Args:
        unsquashed: (..., D) u, before tanh.
        mean: (..., D) means.
        log_deviation: (..., D) logarithms of the standard deviations.

    Returns:
        (...) floats.

    Example:
        >>> round(float(tanh_normal_log_density([0.0], [0.0], [0.0])), 4)
        -0.9189
    """
    unsquashed, mean, log_deviation = map(ops.convert_to_tensor, (unsquashed, mean, log_deviation))
    scaled = (unsquashed - mean) * ops.exp(-log_deviation)
    normal = -0.5 * ops.square(scaled) - log_deviation - 0.5 * math.log(2 * math.pi)
    slope = 2.0 * (math.log(2.0) - unsquashed - ops.softplus(-2.0 * unsquashed))  # log(1 - tanh(u)^2)
    return ops.sum(normal - slope, axis=-1)


def smooth_actions(actions: Any, noise: Any, *, deviation: float, largest: float) -> Any:
    """Returns target actions with clipped normal noise, so that a value is learnt of a region and not of a peak.

    Source: https://arxiv.org/abs/1802.09477, section 5.3 and algorithm 1.

    Args:
        actions: (..., D) from -1 to 1.
        noise: (..., D) standard normal numbers.
        deviation: standard deviation of the noise; 0 leaves the actions as they are.
        largest: bound of the noise.

    Returns:
        (..., D) floats from -1 to 1.

    Raises:
        ArgumentError: deviation or largest is negative or not finite.

    Example:
        >>> smooth_actions([0.0, 0.9], [3.0, 1.0], deviation=0.2, largest=0.5).numpy().tolist()
        [0.5, 1.0]
    """
    checks.within("deviation", deviation, 0.0, 1e9)
    checks.within("largest", largest, 0.0, 1e9)
    actions, noise = ops.convert_to_tensor(actions), ops.convert_to_tensor(noise)
    return ops.clip(actions + ops.clip(deviation * noise, -largest, largest), -1.0, 1.0)


def polyak_average(targets: Any, weights: Any, rate: float) -> Any:
    """Returns (1 - rate) * targets + rate * weights, by which a target network follows another one.

    After n averages with weights that stand still, the share (1 - rate)^n of the first targets is left.

    Source: https://arxiv.org/abs/1509.02971, algorithm 1.

    Args:
        targets: weights of the target network.
        weights: weights of the network that learns, of the same shape.
        rate: tau, from 0 (targets stand still) to 1 (targets are the weights).

    Returns:
        The new targets.

    Raises:
        ArgumentError: the rate lies outside 0 to 1.

    Example:
        >>> polyak_average([0.0, 4.0], [1.0, 0.0], 0.25).numpy().tolist()
        [0.25, 3.0]
    """
    checks.within("rate", rate, 0.0, 1.0)
    targets, weights = ops.convert_to_tensor(targets), ops.convert_to_tensor(weights)
    return (1.0 - rate) * targets + rate * weights


def soft_values(values: Any, log_probabilities: Any, temperature: Any) -> Any:
    """Returns soft values of states with whole-number actions: the mean value plus temperature times entropy.

    Largest, at temperature * log sum exp(values / temperature), where probabilities are softmax(values / temperature).

    Source: https://arxiv.org/abs/1910.07207, equation 10.

    Args:
        values: (..., A) values of the actions.
        log_probabilities: (..., A) logarithms of their probabilities.
        temperature: alpha, the value of one nat of entropy.

    Returns:
        (...) floats.

    Example:
        >>> float(soft_values([1.0, 3.0], [-0.6931472, -0.6931472], 0.0))
        2.0
    """
    values, log_probabilities = ops.convert_to_tensor(values), ops.convert_to_tensor(log_probabilities)
    return ops.sum(ops.exp(log_probabilities) * (values - temperature * log_probabilities), axis=-1)


def temperature_loss(log_temperature: Any, entropies: Any, target: Any) -> Any:
    """Returns the loss whose descent raises the temperature below the target entropy, and lowers it above.

    log temperature * mean of (entropy - target). An entropy may be an estimate: minus the log-density of one action.

    Source: https://arxiv.org/abs/1812.05905, equation 18; the logarithm stands for the temperature, as in its code.

    Args:
        log_temperature: () logarithm of alpha.
        entropies: (B,) in nats.
        target: entropy to hold, in nats.

    Returns:
        () float.

    Example:
        >>> float(temperature_loss(2.0, [1.0, 0.0], -1.0))
        3.0
    """
    return ops.convert_to_tensor(log_temperature) * ops.mean(ops.convert_to_tensor(entropies) - target)
