"""Samplers of one step: ancestral sampling of DDPM, DDIM, Euler's steps of a flow."""

import dataclasses

import numpy as np

from kerasdl.core import checks

from .linear_steps import LinearSteps
from .plans import SamplingPlan

VARIANCES = ("small", "large", "learned")


def backward_variances(plan: SamplingPlan) -> tuple[np.ndarray, np.ndarray]:
    """Returns the variance that each step of a plan adds on its way forward, and that of its way back."""
    alpha, sigma = plan.alphas[:-1], plan.sigmas[:-1]
    ratio = alpha / plan.alphas[1:]
    added = sigma**2 - (ratio * plan.sigmas[1:]) ** 2
    return added, added * (plan.sigmas[1:] / sigma) ** 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class DDIM:
    """DDIM sampler: a deterministic step along the predicted noise, or with part of it drawn anew.

    Source: https://arxiv.org/abs/2010.02502, equations 12 and 16.

    Raises:
        ArgumentError: `eta` is outside its range.

    Example:
        >>> DDIM(eta=1.0).eta
        1.0
    """

    eta: float = 0.0
    """Share of new noise, from 0, deterministic, to 1, that of ancestral sampling."""

    def __post_init__(self):
        checks.within("eta", self.eta, 0.0, 1.0)

    def linear_steps(self, plan: SamplingPlan) -> LinearSteps:
        """Returns the coefficients of the steps of a plan."""
        deviation = self.eta * np.sqrt(backward_variances(plan)[1])
        of_x = np.sqrt(np.maximum(plan.sigmas[1:] ** 2 - deviation**2, 0)) / plan.sigmas[:-1]
        return LinearSteps(of_x, (plan.alphas[1:] - plan.alphas[:-1] * of_x)[:, None], deviation)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Euler(DDIM):
    """Euler's method for the ordinary differential equation of a flow, one evaluation a step.

    On the straight paths of a flow the step is x + (t' - t) * velocity; it is the step of DDIM for whichever rates.

    Source: https://arxiv.org/abs/2209.03003, section 2.2.

    Raises:
        ArgumentError: `eta` is not 0.

    Example:
        >>> Euler().eta
        0.0
    """

    def __post_init__(self):
        if self.eta != 0:
            checks.refuse("eta of Euler's method must be 0", self.eta, "Use DDIM(eta=...).")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ancestral:
    """Ancestral sampler of DDPM: a draw from the posterior of each step, by the predicted data.

    Source: https://arxiv.org/abs/2006.11239, algorithm 2 and section 3.2; `learned`:
    https://arxiv.org/abs/2102.09672, equation 15.

    Raises:
        ArgumentError: an unknown variance.

    Example:
        >>> Ancestral(variance="large").variance
        'large'
    """

    variance: str = "small"
    """Variance of a step: `small`, of the posterior; `large`, that the step forward adds; `learned`, between them, as
    the network says, whose output has as many channels again."""

    def __post_init__(self):
        checks.one_of("variance", self.variance, VARIANCES)

    def linear_steps(self, plan: SamplingPlan) -> LinearSteps:
        """Returns the coefficients of the steps of a plan."""
        ratio = plan.alphas[:-1] / plan.alphas[1:]
        added, small = backward_variances(plan)
        of_x = ratio * (plan.sigmas[1:] / plan.sigmas[:-1]) ** 2
        of_data = plan.alphas[1:] * added / plan.sigmas[:-1] ** 2
        noisy = np.arange(plan.steps) < plan.steps - 1  # the last step is the mean
        if self.variance == "learned":
            bounds = np.log(np.stack([np.where(noisy, small, 1.0), added], 1))
            return LinearSteps(of_x, of_data[:, None], noisy * 1.0, log_bounds=bounds)
        return LinearSteps(of_x, of_data[:, None], np.sqrt(small if self.variance == "small" else added) * noisy)
