"""Linear steps: the form of every sampler with one evaluation a step, and its compiled loop.

A step is x' = of_x * x + sum_j of_data[j] * data[-j] + of_noise * noise, where data[-j] is the clean data that the
network predicted j steps ago. All coefficients follow from the plan and are computed in float64 before the loop.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from .plans import SamplingPlan


@dataclasses.dataclass(frozen=True, eq=False)
class LinearSteps:
    """Coefficients of the steps of a sampler.

    Example:
        >>> plan = SamplingPlan(np.array([500.0]), np.array([0.6, 1.0]), np.array([0.8, 0.0]))
        >>> DDIM().linear_steps(plan).of_data
        array([[1.]])
    """

    of_x: np.ndarray
    """(K,) coefficients of the state."""
    of_data: np.ndarray
    """(K, J) coefficients of predicted data, the newest first."""
    of_noise: np.ndarray
    """(K,) coefficients of new noise."""
    corrected_of_x: np.ndarray | None = None
    """(K,) coefficients of the state one step ago, in the corrector before each step; None corrects nothing."""
    corrected_of_data: np.ndarray | None = None
    """(K, J + 1) coefficients of predicted data in the corrector, the newest first."""
    log_bounds: np.ndarray | None = None
    """(K, 2) logarithms of the smallest and largest variance, where the network gives a place between them."""


Denoise = Callable[[Any, Any, Any, Any], tuple[Any, Any]]
"""Function from (x, time, alpha, sigma) to the predicted data, and the place of the variance or None."""


def noise_of_step(x: tf.Tensor, seed: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Returns standard normal noise in the shape of `x`, by seed and step alone."""
    return tf.random.stateless_normal(tf.shape(x), tf.stack([seed, step]), dtype=x.dtype)


def run_linear_steps(
    steps: LinearSteps, plan: SamplingPlan, denoise: Denoise, x: tf.Tensor, seed: tf.Tensor, trajectory: bool
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Returns the data at the end of a plan, and all states where asked; one loop in a compiled function.

    Args:
        steps: coefficients of the steps.
        plan: the noise levels.
        denoise: prediction of the network.
        x: (B, ...) state at the first level.
        seed: () int32, seed of the noise.
        trajectory: whether all states are returned, (K + 1, B, ...).
    """
    kept = steps.of_data.shape[1] + (steps.corrected_of_x is not None)
    dtype = x.dtype
    tables = {
        key: tf.constant(value, dtype)
        for key, value in {**dataclasses.asdict(steps), **dataclasses.asdict(plan)}.items()
        if value is not None
    }
    states = tf.TensorArray(dtype, size=plan.steps + 1 if trajectory else 0, element_shape=x.shape)
    if trajectory:
        states = states.write(0, x)

    def body(step, x, before, data, states):
        alpha, sigma = tables["alphas"][step], tables["sigmas"][step]
        newest, place = denoise(x, tables["times"][step], alpha, sigma)
        data = tf.concat([newest[None], data[:-1]], 0)  # (J, B, ...)
        if steps.corrected_of_x is not None:
            corrected = tables["corrected_of_x"][step] * before
            corrected += tf.tensordot(tables["corrected_of_data"][step], data, 1)
            x = tf.where(step > 0, corrected, x)
        count = steps.of_data.shape[1]
        following = tables["of_x"][step] * x + tf.tensordot(tables["of_data"][step], data[:count], 1)
        if steps.log_bounds is not None:
            low, high = tables["log_bounds"][step][0], tables["log_bounds"][step][1]
            share = (place + 1) / 2
            deviation = tf.exp(0.5 * (share * high + (1 - share) * low))
            following += tables["of_noise"][step] * deviation * noise_of_step(x, seed, step)
        elif np.any(steps.of_noise):
            following += tables["of_noise"][step] * noise_of_step(x, seed, step)
        following = tf.ensure_shape(following, x.shape)
        if trajectory:
            states = states.write(step + 1, following)
        return step + 1, following, x, data, states

    data = tf.zeros(tf.concat([[kept], tf.shape(x)], 0), dtype)
    data = tf.ensure_shape(data, (kept, *x.shape))
    found = tf.while_loop(
        lambda step, *_: step < plan.steps, body, (tf.constant(0), x, x, data, states), parallel_iterations=1
    )
    return found[1], found[-1].stack() if trajectory else None
