"""Variational bound of DDPM: the loss of a learned variance, and bits per dimension of images."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.ops import (
    bits_per_dimension,
    diffuse,
    learned_log_variance,
    level_log_likelihood,
    normal_divergence,
    per_example,
    posterior,
)

from .denoising import Denoiser
from .schedules import DiscreteSchedule

BOUND_WEIGHT = 1e-3  # lambda of the hybrid loss, for T = 1000


def step_tables(schedule: DiscreteSchedule) -> dict[str, np.ndarray]:
    """Returns rates before each step, and the log variances of its way back, `small` and `large`; (T,) float64.

    The first step has no way back with noise: its smallest variance is that of the second, as in the authors' code.

    Args:
        schedule: of 2 steps or more.

    Raises:
        ArgumentError: it has a single step.
    """
    checks.at_least("steps", schedule.steps, 2)
    rate, before = schedule.signal, np.append(1.0, schedule.signal[:-1])
    large = 1 - rate / before
    small = large * (1 - before) / (1 - rate)
    small[0] = large[0] = small[1]
    variances = {"small": np.log(small), "large": np.log(large)}
    return {"alpha": np.sqrt(before), "sigma": np.sqrt(1 - before), **variances}


def bound_terms(
    schedule: DiscreteSchedule, x0: Any, x: Any, time: Any, data: Any, place: Any = None, levels: int = 256
) -> Any:
    """Returns the term of the variational bound of each example at its step, in nats for each number.

    Source: https://arxiv.org/abs/2006.11239, equations 5, 6 and 13.

    Args:
        schedule: its schedule.
        x0: (B, ...) data, levels from -1 to 1.
        x: (B, ...) noisy data.
        time: (B,) steps, from 0.
        data: (B, ...) predicted data.
        place: (B, ...) place of the variance; None takes the smallest.
        levels: as in `ops.level_log_likelihood`.
    """
    step = ops.cast(time, "int32")
    tables = {key: ops.cast(ops.take(value, step), x.dtype) for key, value in step_tables(schedule).items()}
    alpha, sigma = (ops.cast(each, x.dtype) for each in schedule.rates(time))
    before = tables["alpha"], tables["sigma"]
    mean, _ = posterior(data, x, alpha, sigma, *before)
    true_mean, _ = posterior(x0, x, alpha, sigma, *before)
    small = per_example(tables["small"], x)
    log_variance = (
        small if place is None else learned_log_variance(place, ops.exp(tables["small"]), ops.exp(tables["large"]))
    )
    divergence = normal_divergence(true_mean, small, mean, log_variance)
    likelihood = level_log_likelihood(x0, mean, 0.5 * (log_variance + ops.zeros_like(x)), levels)
    terms = ops.where(per_example(ops.cast(time, x.dtype), x) < 0.5, -likelihood, divergence)
    return ops.mean(terms, axis=list(range(1, len(x.shape))))


def hybrid_bound(schedule: DiscreteSchedule, drawn: Mapping[str, Any], data: Any, place: Any) -> Any:
    """Returns the part (B,) of the loss that teaches the variance: 0.001 T times the term of the bound.

    Source: https://arxiv.org/abs/2102.09672, equation 16.

    Args:
        schedule: its schedule.
        drawn: noisy data of the trainer, with `x0`, `x` and `time`.
        data: (B, ...) predicted data, through which no gradient passes.
        place: (B, ...) place of the variance.
    """
    terms = bound_terms(schedule, drawn["x0"], drawn["x"], drawn["time"], data, place)
    return BOUND_WEIGHT * schedule.steps * ops.maximum(terms, 0.0)


def image_bits(denoiser: Denoiser, images: Any, labels: Any = None, *, levels: int = 256, seed: int = 0) -> np.ndarray:
    """Returns the variational bound of images in bits per dimension: the sum over all steps, and the prior.

    Source: https://arxiv.org/abs/2006.11239, equation 5.

    Args:
        denoiser: network with its mathematics, of a `DiscreteSchedule`.
        images: (B, ...) levels from -1 to 1 in equal steps.
        labels: (B,) classes, or None.
        levels: number of levels.
        seed: seed of the noise.

    Returns:
        (B,) bits.

    Raises:
        ArgumentError: the schedule has no steps, images are not of its levels, or labels are no classes.

    Example:
        >>> network = kerasdl.build("diffusion_mlp", width=8, depth=1, waves=4)
        >>> denoiser = Denoiser(network, DiscreteSchedule(steps=4, first=0.1, last=0.5), "eps", None, 0.5)
        >>> image_bits(denoiser, np.zeros((3, 2)), levels=3).shape
        (3,)
    """
    schedule = denoiser.schedule
    if not isinstance(schedule, DiscreteSchedule):
        checks.refuse("the variational bound needs a DiscreteSchedule", type(schedule).__name__)
    x0 = tf.convert_to_tensor(np.asarray(images, "float32"))
    numbers = (np.asarray(images, "float64") + 1.0) / 2.0 * (checks.at_least("levels", levels, 2) - 1)
    is_level = (np.abs(numbers - np.round(numbers)) < 0.01) & (numbers > -0.01) & (numbers < levels - 0.99)
    if tuple(x0.shape[1:]) != denoiser.shape or not is_level.all():
        found = f"{tuple(x0.shape)}, values from {np.min(images):.4g} to {np.max(images):.4g}"
        shape = ", ".join(map(str, denoiser.shape))
        checks.refuse(f"images must be (B, {shape}) of {levels} levels from -1 to 1", found)
    label = None if denoiser.conditioning is None else _checked_labels(denoiser.conditioning, labels, len(x0))
    if labels is not None and denoiser.conditioning is None:
        checks.refuse("labels are for a network with classes", np.shape(labels))

    @tf.function
    def total():
        sum_ = tf.zeros(tf.shape(x0)[:1])
        for step in tf.range(schedule.steps):
            time = tf.fill(tf.shape(x0)[:1], tf.cast(step, tf.float32))
            noise = tf.random.stateless_normal(tf.shape(x0), tf.stack([seed, step]))
            alpha, sigma = schedule.rates(time)
            x = diffuse(x0, noise, alpha, sigma)
            data, place = denoiser.data(x, schedule.number_of(time), alpha, sigma, label)
            sum_ += bound_terms(schedule, x0, x, time, data, place, levels)
        return sum_

    last = float(schedule.signal[-1])
    prior = normal_divergence(x0 * last**0.5, float(np.log(1 - last)), 0.0, 0.0)
    nats = total() + tf.reduce_mean(prior, list(range(1, len(x0.shape))))
    return np.asarray(bits_per_dimension(nats, 1))


def _checked_labels(conditioning: Any, labels: Any, count: int) -> tf.Tensor:
    """Returns labels (B,), classes or the one for no class."""
    found = np.asarray(conditioning.no_class if labels is None else labels)
    if found.shape not in ((), (count,)) or found.dtype.kind not in "iu":
        checks.refuse(f"labels must be {count} whole numbers", found.shape)
    highest = conditioning.no_class if conditioning.drop_rate else conditioning.no_class - 1
    if found.min() < 0 or found.max() > highest:
        checks.refuse(f"labels must be from 0 to {highest}", found)
    return tf.constant(np.broadcast_to(found, (count,)).astype("int32"))
