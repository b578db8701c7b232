"""Sampling plan: the noise levels that a sampler visits, in float64."""

import dataclasses

import numpy as np

from kerasdl.core import checks


@dataclasses.dataclass(frozen=True, eq=False)
class SamplingPlan:
    """Noise levels of a sampling, from most noise to clean data: x = alpha * x0 + sigma * noise at each.

    Example:
        >>> SamplingPlan(np.array([500.0]), np.array([0.6, 1.0]), np.array([0.8, 0.0])).steps
        1
    """

    times: np.ndarray
    """(K,) numbers that the network is told at each level but the last."""
    alphas: np.ndarray
    """(K + 1,) rates of the data, rising; the last is 1, of clean data."""
    sigmas: np.ndarray
    """(K + 1,) rates of the noise; the last is 0."""

    def __post_init__(self):
        shapes = len(self.times) + 1 == len(self.alphas) == len(self.sigmas) and len(self.times) > 0
        if not shapes or not np.all(np.isfinite([*self.times, *self.alphas, *self.sigmas])):
            checks.refuse("a plan must hold one level or more, and the rates of clean data", self.alphas)
        if not np.all(np.diff(self.sigmas / np.maximum(self.alphas, 1e-300)) < 0) or self.sigmas[-1] != 0:
            checks.refuse("the noise of a plan must fall, to 0 at its end", self.sigmas)

    @property
    def steps(self) -> int:
        """K, number of steps."""
        return len(self.times)

    @property
    def log_ratios(self) -> np.ndarray:
        """(K + 1,) logarithms of alpha / sigma: -inf of pure noise, inf of clean data."""
        with np.errstate(divide="ignore"):
            return np.log(self.alphas) - np.log(self.sigmas)

    def after(self, first: int) -> "SamplingPlan":
        """Returns the plan without its first steps.

        Args:
            first: number of steps that are left out, at most all but one.

        Raises:
            ArgumentError: no step would be left.
        """
        checks.within("first", first, 0, self.steps - 1)
        return SamplingPlan(self.times[first:], self.alphas[first:], self.sigmas[first:])
