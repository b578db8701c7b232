"""Derivative-free search: the cross-entropy method, for plans of actions and other vectors without a gradient."""

from collections.abc import Callable
from typing import Any

from keras import ops

from kerasdl.core import checks


def cross_entropy_method(
    score: Callable[[Any], Any],
    mean: Any,
    deviation: Any,
    noise: Any,
    *,
    elites: int,
    low: Any = None,
    high: Any = None,
    momentum: float = 0.0,
) -> tuple[Any, Any]:
    """Returns the normal distribution of the best candidates, after rounds of drawing and choosing.

    Each round draws K candidates, mean + deviation * noise, cut to the bounds; mean and deviation of the elites, those
    of the highest scores, are the next ones. Several problems are solved at once.

    Source: Rubinstein 1999, https://doi.org/10.1023/A:1010091220143; for plans of actions,
    https://arxiv.org/abs/1805.12114, section 5.

    Args:
        score: function from candidates (B, K, ...) to scores (B, K), the higher the better. A candidate whose score is
            not a number is taken last.
        mean: (B, ...) floats at the start.
        deviation: (B, ...) floats at the start, 0 or more.
        noise: (R, B or 1, K, ...) standard normal numbers, one entry a round; the same noise gives the same result.
        elites: candidates that make the next distribution, 1 to K.
        low: lowest values, of a shape that broadcasts to the candidates; None for none.
        high: highest values likewise.
        momentum: share of the old mean and deviation in the new ones, 0 up to but not including 1.

    Returns:
        Mean and deviation, (B, ...) of the type of `mean`.

    Raises:
        ArgumentError: shapes do not fit, there is no round, or a number is out of range.

    Example:
        >>> noise = [[[[-1.0], [0.0], [1.0], [2.0]]]]
        >>> mean, deviation = cross_entropy_method(lambda x: x[..., 0], [[5.0]], [[1.0]], noise, elites=2)
        >>> mean.numpy().tolist(), deviation.numpy().tolist()
        ([[6.5]], [[0.5]])
    """
    mean = ops.convert_to_tensor(mean)
    deviation, noise = ops.convert_to_tensor(deviation, mean.dtype), ops.convert_to_tensor(noise, mean.dtype)
    fits = len(noise.shape) == len(mean.shape) + 2 and tuple(noise.shape[3:]) == tuple(mean.shape[1:])
    if not fits or noise.shape[1] not in (1, mean.shape[0]) or tuple(deviation.shape) != tuple(mean.shape):
        shapes = {"mean": mean.shape, "deviation": deviation.shape, "noise": noise.shape}
        checks.refuse("mean and deviation must be (B, ...), and noise (R, B or 1, K, ...)", shapes)
    checks.at_least("rounds of noise", noise.shape[0], 1)
    checks.at_least("elites", elites, 1)
    if elites > noise.shape[2]:
        checks.refuse(f"elites must be at most the number of candidates, {noise.shape[2]}", elites)
    if not 0.0 <= momentum < 1.0:
        checks.refuse("momentum must be from 0 up to but not including 1", momentum)
    for index in range(noise.shape[0]):
        candidates = mean[:, None] + deviation[:, None] * noise[index]  # (B, K, ...)
        candidates = candidates if low is None else ops.maximum(candidates, ops.cast(low, mean.dtype))
        candidates = candidates if high is None else ops.minimum(candidates, ops.cast(high, mean.dtype))
        chosen = _highest(score(candidates), candidates, elites)
        mean = momentum * mean + (1 - momentum) * ops.mean(chosen, axis=1)
        deviation = momentum * deviation + (1 - momentum) * ops.std(chosen, axis=1)
    return mean, deviation


def _highest(scores: Any, candidates: Any, count: int) -> Any:
    """Returns the candidates (B, count, ...) of the highest scores (B, K)."""
    scores = ops.convert_to_tensor(scores)
    if tuple(scores.shape) != tuple(candidates.shape[:2]):
        checks.refuse(f"score must return one number a candidate, {tuple(candidates.shape[:2])}", tuple(scores.shape))
    lowest = ops.full_like(scores, -float("inf"))
    _, index = ops.top_k(ops.where(ops.isnan(scores), lowest, scores), count)
    index = ops.reshape(index, (*index.shape, *(1 for _ in candidates.shape[2:])))
    return ops.take_along_axis(candidates, index, axis=1)
