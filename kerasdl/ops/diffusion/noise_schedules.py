"""Noise schedules of diffusion models: tables of betas, signal rates and sigmas, in float64.

Step t of a table counts from 0; the papers count from 1. Step -1, clean data, is in no table.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from kerasdl.core import checks

HIGHEST_BETA = 0.999
RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012)}
)
"""Default first and last beta: of DDPM, and of latent diffusion."""
SHAPES = (*RANGES, "cosine", "sigmoid")


def beta_schedule(
    shape: str, steps: int = 1000, *, first: float | None = None, last: float | None = None
) -> np.ndarray:
    """Returns the variance of the noise that each step of a diffusion adds.

    `linear` goes evenly from the first beta to the last, `scaled_linear` evenly in their roots. `cosine` and `sigmoid`
    are curves of the signal rate: cos^2((t + 0.008) / 1.008 * pi / 2), and a logistic curve from -3 to 3.

    Source: `linear`, https://arxiv.org/abs/2006.11239, section 4; `scaled_linear`, the code of
    https://arxiv.org/abs/2112.10752; `cosine`, https://arxiv.org/abs/2102.09672, equation 17; `sigmoid`,
    https://arxiv.org/abs/2301.10972, section 2.1.

    Args:
        shape: `linear`, `scaled_linear`, `cosine` or `sigmoid`.
        steps: T, number of steps.
        first: first beta of `linear` and `scaled_linear`, above 0 and below 1; None takes that of the paper.
        last: last beta of these, at least the first and below 1.

    Returns:
        (T,) float64, each above 0 and at most 0.999.

    Raises:
        ArgumentError: an argument breaks its rule, or a curve is given betas.

    Example:
        >>> beta_schedule("linear", 3)
        array([0.0001 , 0.01005, 0.02   ])
    """
    checks.one_of("shape", shape, SHAPES)
    checks.at_least("steps", steps, 1)
    if shape in RANGES:
        low, high = RANGES[shape]
        low = checks.within("first", low if first is None else first, 1e-12, HIGHEST_BETA)
        high = checks.within("last", high if last is None else last, low, HIGHEST_BETA)
        power = 2 if shape == "scaled_linear" else 1
        return np.linspace(low ** (1 / power), high ** (1 / power), steps) ** power
    if (first, last) != (None, None):
        checks.refuse(
            f"first and last belong to the shapes {tuple(RANGES)}", (first, last), f"Leave them out of {shape!r}."
        )
    time = np.linspace(0.0, 1.0, steps + 1)
    if shape == "cosine":
        rates = np.cos((time + 0.008) / 1.008 * np.pi / 2) ** 2
    else:
        curve = 1 / (1 + np.exp(6 * time - 3))
        rates = (curve - curve[-1]) / (curve[0] - curve[-1])
    return np.minimum(1 - rates[1:] / rates[:-1], HIGHEST_BETA)


def signal_rates(betas: np.ndarray) -> np.ndarray:
    """Returns the signal rate of each step, alpha-bar: the share of variance that is left of the data.

    Source: https://arxiv.org/abs/2006.11239, equation 4.

    Args:
        betas: (T,) variances of the steps' noise, above 0 and at most 1.

    Returns:
        (T,) float64, falling.

    Raises:
        ArgumentError: there is none, or one is outside its range or not a number.

    Example:
        >>> float(signal_rates(beta_schedule("linear"))[-1].round(9))
        4.0358e-05
    """
    betas = np.asarray(betas, "float64")
    if betas.ndim != 1 or not len(betas) or not np.all((betas > 0) & (betas <= 1)):
        checks.refuse("betas must be a row of numbers above 0 and at most 1", betas)
    return np.cumprod(1 - betas)


def zero_terminal_snr(rates: np.ndarray) -> np.ndarray:
    """Returns signal rates whose last is 0, so that sampling may begin with pure noise; the first stays.

    Their roots are shifted and scaled. A network that predicts the noise learns nothing at the last step: train it on
    `v` or `x0`.

    Source: https://arxiv.org/abs/2305.08891, algorithm 1.

    Args:
        rates: (T,) falling signal rates, T of 2 or more, above 0 or with a last one of 0.

    Returns:
        (T,) float64.

    Raises:
        ArgumentError: the rates do not fall from at most 1 to at least 0.

    Example:
        >>> zero_terminal_snr([0.81, 0.25, 0.01])
        array([0.81  , 0.2025, 0.    ])
    """
    rates = np.asarray(rates, "float64")
    if rates.ndim != 1 or len(rates) < 2 or not np.all(np.diff(rates) < 0) or not 0 <= rates[-1] < rates[0] <= 1:
        checks.refuse("rates must be two or more numbers that fall from at most 1 to at least 0", rates)
    roots = np.sqrt(rates)
    return ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2


def karras_sigmas(steps: int, *, low: float = 0.002, high: float = 80.0, rho: float = 7.0) -> np.ndarray:
    """Returns falling noise levels that are even in sigma^(1 / rho), so that most steps are spent on low noise.

    Source: https://arxiv.org/abs/2206.00364, equation 5.

    Args:
        steps: N, number of levels, 2 or more.
        low: the last level, above 0.
        high: the first level, at least the last.
        rho: 1 for even levels, from 1 to 100.

    Returns:
        (N,) float64; the 0 after them is left out.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> karras_sigmas(3, low=1.0, high=9.0, rho=2.0)
        array([9., 4., 1.])
    """
    checks.at_least("steps", steps, 2)
    checks.within("low", low, 1e-12, 1e12)
    checks.within("high", high, low, 1e12)
    checks.within("rho", rho, 1.0, 100.0)
    return np.linspace(high ** (1 / rho), low ** (1 / rho), steps) ** rho
