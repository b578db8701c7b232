"""Drawn series: trend, season and noise; random walks like prices of stocks."""

import numpy as np

from kerasdl.core import checks

from .records import TimeSeries

LICENCE = "drawn by kerasdl, free of rights"


def seasonal_series(
    steps: int = 600,
    *,
    count: int = 1,
    period: int = 12,
    trend: float = 0.01,
    amplitude: float = 1.0,
    noise: float = 0.2,
    seed: int = 0,
) -> list[TimeSeries]:
    """Draws series of a trend, a season of two harmonics and normal noise; each has its own phases.

    Args:
        steps: length of each series.
        count: number of series.
        period: steps of a season.
        trend: rise a step.
        amplitude: of the first harmonic; the second has half of it.
        noise: standard deviation.
        seed: the seed.

    Returns:
        Series of the target `value`, whose times are whole numbers.

    Raises:
        ArgumentError: a number breaks its rule.

    Example:
        >>> seasonal_series(100, count=3)[2].name
        'seasonal2'
    """
    checks.at_least("steps", steps, 2)
    checks.at_least("count", count, 1)
    checks.at_least("period", period, 2)
    checks.within("noise", noise, 0.0, 1e9)
    rng, t, found = np.random.default_rng(seed), np.arange(steps), []
    for number in range(count):
        phases = rng.uniform(0, 2 * np.pi, 2)
        angle = 2 * np.pi * t / period
        season = amplitude * (np.sin(angle + phases[0]) + 0.5 * np.sin(2 * angle + phases[1]))
        values = trend * t + season + noise * rng.normal(size=steps)
        found.append(TimeSeries(t, {"value": values}, ("value",), name=f"seasonal{number}", licence=LICENCE))
    return found


def random_walks(
    steps: int = 1000, *, count: int = 1, drift: float = 0.0, volatility: float = 0.01, seed: int = 0
) -> list[TimeSeries]:
    """Draws prices whose logarithm is a random walk: the best forecast of each later price is near the last one.

    Args:
        steps: length of each series in days.
        count: number of series.
        drift: mean of the daily return.
        volatility: standard deviation of the daily return.
        seed: the seed.

    Returns:
        Series of the target `price`, which begin at 100.

    Raises:
        ArgumentError: a number breaks its rule.

    Example:
        >>> float(random_walks(50)[0].columns["price"][0])
        100.0
    """
    checks.at_least("steps", steps, 2)
    checks.at_least("count", count, 1)
    checks.within("volatility", volatility, 0.0, 1.0)
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        returns = rng.normal(drift, volatility, steps)
        returns[0] = 0.0
        prices = 100.0 * np.exp(np.cumsum(returns))
        found.append(TimeSeries(np.arange(steps), {"price": prices}, ("price",), name=f"walk{number}", licence=LICENCE))
    return found
