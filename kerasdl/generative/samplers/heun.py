"""Heun's sampler of EDM, of second order with two evaluations a step (https://arxiv.org/abs/2206.00364, algorithm 2).

Deviations: the step is written in alpha and sigma, so that it serves every schedule; for alpha = 1 it is the paper's.
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from kerasdl.core import checks

from .linear_steps import Denoise, noise_of_step
from .plans import SamplingPlan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heun:
    """Heun's method for the probability-flow equation, with noise added before each step if asked.

    Source: https://arxiv.org/abs/2206.00364, algorithms 1 and 2.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> Heun(churn=40.0, churn_high=50.0).churn
        40.0
    """

    churn: float = 0.0
    """Noise that is added over all steps, S_churn; 0 is deterministic."""
    churn_low: float = 0.0
    """Lowest ratio sigma / alpha at which noise is added, S_min."""
    churn_high: float = 1e6
    """Highest ratio at which noise is added, S_max."""
    churn_scale: float = 1.0
    """Factor of the added noise, S_noise."""

    def __post_init__(self):
        checks.within("churn", self.churn, 0.0, 1e4)
        checks.within("churn_low", self.churn_low, 0.0, 1e12)
        checks.within("churn_high", self.churn_high, self.churn_low, 1e12)
        checks.within("churn_scale", self.churn_scale, 0.0, 10.0)

    def raised_ratios(self, plan: SamplingPlan) -> np.ndarray:
        """Returns the ratio sigma / alpha from which each step goes, noise added."""
        ratios = plan.sigmas[:-1] / plan.alphas[:-1]
        share = min(self.churn / plan.steps, math.sqrt(2.0) - 1)
        within = (ratios >= self.churn_low) & (ratios <= self.churn_high)
        return ratios * (1 + np.where(within, share, 0.0))


def run_heun(
    sampler: Heun,
    plan: SamplingPlan,
    raised: tuple[np.ndarray, np.ndarray, np.ndarray],
    denoise: Denoise,
    x: tf.Tensor,
    seed: tf.Tensor,
    trajectory: bool,
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Returns the data at the end of a plan, and all states where asked; one loop in a compiled function.

    Args:
        sampler: its settings.
        plan: the noise levels.
        raised: times, alphas and sigmas (K,) from which the steps go, noise added; those of the plan without churn.
        denoise: prediction of the network, as in `run_linear_steps`, like the following.
        x: as there.
        seed: as there.
        trajectory: as there.
    """
    dtype = x.dtype
    times, alphas, sigmas = (tf.constant(each, dtype) for each in (plan.times, plan.alphas, plan.sigmas))
    from_times, from_alphas, from_sigmas = (tf.constant(each, dtype) for each in raised)
    same = raised[2] == plan.sigmas[:-1]
    kept = np.where(same, 1.0, raised[1] / np.where(same, 1.0, plan.alphas[:-1]))
    added = np.sqrt(np.maximum(raised[2] ** 2 - (kept * plan.sigmas[:-1]) ** 2, 0))
    added_table, kept_table = tf.constant(sampler.churn_scale * added, dtype), tf.constant(kept, dtype)
    states = tf.TensorArray(dtype, size=plan.steps + 1 if trajectory else 0, element_shape=x.shape)
    if trajectory:
        states = states.write(0, x)

    def half(x, time, alpha, sigma):
        data = denoise(x, time, alpha, sigma)[0]
        return data, (x - alpha * data) / sigma

    def body(step, x, states):
        if np.any(added > 0):
            x = kept_table[step] * x + added_table[step] * noise_of_step(x, seed, step)
        alpha, sigma = from_alphas[step], from_sigmas[step]
        data, noise = half(x, from_times[step], alpha, sigma)
        following = alphas[step + 1] * data + sigmas[step + 1] * noise
        last = tf.equal(step, plan.steps - 1)

        def second():
            other, other_noise = half(following, times[step + 1], alphas[step + 1], sigmas[step + 1])
            slope = (alphas[step + 1] - alpha) * (data + other) + (sigmas[step + 1] - sigma) * (noise + other_noise)
            return x + 0.5 * slope

        following = tf.ensure_shape(tf.cond(last, lambda: following, second), x.shape)
        if trajectory:
            states = states.write(step + 1, following)
        return step + 1, following, states

    found = tf.while_loop(lambda step, *_: step < plan.steps, body, (tf.constant(0), x, states), parallel_iterations=1)
    return found[1], found[-1].stack() if trajectory else None
