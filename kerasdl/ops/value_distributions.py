"""Value distributions: projection onto fixed values (C51), and the quantile Huber loss (QR-DQN)."""

from typing import Any

from keras import ops

from kerasdl.core import checks


def categorical_projection(probabilities: Any, atoms: Any, rewards: Any, discounts: Any) -> Any:
    """Returns the distribution of reward + discount * value on the same values: each mass goes to its two neighbours.

    Source: https://arxiv.org/abs/1707.06887, equation 7.

    Args:
        probabilities: (B, K) probabilities of the values.
        atoms: (K,) values in equal steps upwards; what falls outside goes to the first or the last.
        rewards: (B,) floats.
        discounts: (B,) floats, 0 where nothing follows.

    Returns:
        (B, K) probabilities.

    Raises:
        ArgumentError: there are fewer than 2 values.

    Example:
        >>> categorical_projection([[0.0, 0.0, 1.0]], [0.0, 1.0, 2.0], [0.25], [0.5]).numpy().tolist()
        [[0.0, 0.75, 0.25]]
    """
    probabilities, atoms = ops.convert_to_tensor(probabilities), ops.convert_to_tensor(atoms)
    rewards, discounts = ops.convert_to_tensor(rewards), ops.convert_to_tensor(discounts)
    checks.at_least("the number of values", atoms.shape[0], 2)
    moved = ops.clip(rewards[:, None] + discounts[:, None] * atoms[None], atoms[0], atoms[-1])  # (B, K)
    distance = ops.abs(moved[:, None, :] - atoms[None, :, None]) / (atoms[1] - atoms[0])  # (B, K, K), new by old
    return ops.sum(ops.maximum(1.0 - distance, 0.0) * probabilities[:, None, :], -1)


def quantile_huber_loss(quantiles: Any, targets: Any, threshold: float = 1.0) -> Any:
    """Returns the quantile Huber loss of each example: |tau - (target < quantile)| * Huber / threshold.

    Summed over the K quantiles, and averaged over the M targets. Quantile k stands for the share (k + 1/2) / K.

    Source: https://arxiv.org/abs/1710.10044, equations 9 and 10, algorithm 1.

    Args:
        quantiles: (B, K) predictions.
        targets: (B, M) samples of the distribution to learn.
        threshold: kappa, error above which the loss is linear; above 0.

    Returns:
        (B,) floats.

    Raises:
        ArgumentError: the threshold is not positive.

    Example:
        >>> quantile_huber_loss([[0.0]], [[3.0]]).numpy().tolist()
        [1.25]
    """
    checks.within("threshold", threshold, 1e-9, 1e9)
    quantiles, targets = ops.convert_to_tensor(quantiles), ops.convert_to_tensor(targets)
    count = quantiles.shape[-1]
    shares = (ops.arange(count, dtype=quantiles.dtype) + 0.5) / count
    errors = targets[:, None, :] - quantiles[:, :, None]  # (B, K, M)
    size = ops.abs(errors)
    huber = ops.where(size <= threshold, 0.5 * ops.square(errors), threshold * (size - 0.5 * threshold))
    weight = ops.abs(shares[None, :, None] - ops.cast(errors < 0, quantiles.dtype))
    return ops.sum(ops.mean(weight * huber / threshold, -1), -1)
