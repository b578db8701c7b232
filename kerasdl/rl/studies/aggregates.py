"""Aggregates of the scores of several runs: interquartile mean, optimality gap, chance of improvement, bootstrap.

Source: https://arxiv.org/abs/2108.13264 (Deep RL at the edge of the statistical precipice), sections 4.1 to 4.3.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from kerasdl.core import checks

TRIMMED = 0.25
"""Share of the scores that is left out at each end."""


def interquartile_mean(scores: Any) -> Any:
    """Returns the mean of the middle half of scores: a quarter of them, rounded down, is left out at each end.

    One run in four may fail, or be lucky, without moving it; the median moves with the middle run alone.

    Source: https://arxiv.org/abs/2108.13264, section 4.3.

    Args:
        scores: (R,) scores of R runs, (R, M) of runs in M environments, or (R, M, T) of these at T times.

    Returns:
        The mean over runs and environments, a float; of (R, M, T) an array (T,).

    Raises:
        ArgumentError: scores are empty, not finite, or of another shape.

    Example:
        >>> interquartile_mean([0.0, 2.0, 3.0, 100.0])
        2.5
    """
    scores = _scores(scores)
    ordered = np.sort(scores.reshape(scores.shape[0] * scores.shape[1], -1), 0)
    cut = int(TRIMMED * len(ordered))
    return _plain(ordered[cut : len(ordered) - cut].mean(0), scores.ndim)


def optimality_gap(scores: Any, target: float = 1.0) -> Any:
    """Returns the mean amount by which scores miss a target; what exceeds it counts nothing.

    Source: https://arxiv.org/abs/2108.13264, section 4.3.

    Args:
        scores: (R,), (R, M) or (R, M, T), as of `interquartile_mean`.
        target: score from which on a run is good.

    Returns:
        The gap, 0 if all scores reach the target; a float, or of (R, M, T) an array (T,).

    Raises:
        ArgumentError: scores are empty, not finite, or of another shape.

    Example:
        >>> optimality_gap([500.0, 475.0, 400.0], target=475.0)
        25.0
    """
    scores = _scores(scores)
    checks.within("target", target, -1e30, 1e30)
    return _plain(np.maximum(target - scores, 0.0).mean((0, 1)).reshape(-1), scores.ndim)


def probability_of_improvement(scores: Any, others: Any) -> float:
    """Returns the probability that a run of one method scores above a run of another; equal scores count half.

    It is the Mann-Whitney statistic divided by the number of pairs, averaged over environments.

    Source: https://arxiv.org/abs/2108.13264, section 4.3.

    Args:
        scores: (R,) scores of one method, or (R, M) in M environments.
        others: (S,) or (S, M) of the other, in the same environments.

    Returns:
        A probability.

    Raises:
        ArgumentError: scores are empty, not finite, or of other shapes.

    Example:
        >>> probability_of_improvement([3.0, 1.0], [2.0, 1.0])
        0.625
    """
    one, other = _scores(scores), _scores(others)
    if one.ndim != 2 or one.shape[1:] != other.shape[1:]:
        checks.refuse(
            "scores and others must be (runs, environments) of the same environments", (one.shape, other.shape)
        )
    above = (one[:, None] > other[None]).mean() + 0.5 * (one[:, None] == other[None]).mean()
    return float(above)


def bootstrap_interval(
    scores: Any,
    statistic: Callable[[np.ndarray], Any] = interquartile_mean,
    *,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[Any, Any]:
    """Returns the percentile interval of a statistic by the stratified bootstrap.

    Runs are drawn with replacement in each environment by itself, so that every environment counts as often as before.
    With few runs the interval is too narrow: of five normal scores, 90 % of such intervals of 95 % hold the mean.

    Source: https://arxiv.org/abs/2108.13264, section 4.1; Efron 1979, https://doi.org/10.1214/aos/1176344552.

    Args:
        scores: (R,), (R, M) or (R, M, T), as of `interquartile_mean`; of two runs or more.
        statistic: function of such an array.
        confidence: share of such intervals that hold the statistic of all runs, between 0 and 1.
        draws: number of draws of all runs.
        seed: seed of the draws.

    Returns:
        Lower and upper end, of what the statistic returns.

    Raises:
        ArgumentError: scores are of a single run, not finite, or an argument breaks its range.

    Example:
        >>> bootstrap_interval([1.0, 2.0, 3.0, 4.0], np.mean)
        (1.5, 3.5)
    """
    whole, is_flat = _scores(scores), np.ndim(scores) == 1
    if len(whole) < 2:
        checks.refuse("scores of an interval must be of two runs or more", len(whole))
    if not 0 < checks.within("confidence", confidence, 0.0, 1.0) < 1:
        checks.refuse("confidence must lie between 0 and 1", confidence, "0.95 is usual.")
    checks.at_least("draws", draws, 1)
    rng = np.random.default_rng(checks.at_least("seed", seed, 0))
    environments = np.arange(whole.shape[1])
    drawn = rng.integers(0, len(whole), (draws, len(whole), len(environments)))
    samples = (whole[index, environments] for index in drawn)
    found = [statistic(each[:, 0] if is_flat else each) for each in samples]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.asarray(found, np.float64), (tail, 1 - tail), axis=0)
    return (float(low), float(high)) if np.ndim(low) == 0 else (low, high)


def _scores(scores: Any) -> np.ndarray:
    """Returns scores as (R, M, ...) in float64."""
    rule = "scores must be finite numbers (runs,), (runs, environments) or (runs, environments, times)"
    try:
        values = np.asarray(scores, np.float64)
    except (TypeError, ValueError):  # texts, rows of unlike length
        checks.refuse(rule, scores)
    if not 1 <= values.ndim <= 3 or not values.size:
        checks.refuse(rule, f"shape {values.shape}")
    if not np.isfinite(values).all():
        checks.refuse(rule, f"{np.count_nonzero(~np.isfinite(values))} that are not finite")
    return values[:, None] if values.ndim == 1 else values


def _plain(values: np.ndarray, rank: int) -> Any:
    """Returns (1,) as a float, and values at several times (T,) as they are."""
    return values if rank == 3 else float(values[0])
