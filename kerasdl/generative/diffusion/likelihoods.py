"""Log-likelihoods of continuous diffusion and flow models by the probability-flow equation."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks

from .denoising import Denoiser
from .schedules import DiscreteSchedule, Schedule


def flow_log_likelihood(
    denoiser: Denoiser,
    x: Any,
    labels: Any = None,
    *,
    steps: int = 200,
    lowest: float | None = None,
    highest: float | None = None,
    mean: float = 0.0,
) -> np.ndarray:
    """Returns the log density of points: the change of volume along the probability-flow equation, by Heun's method.

    The divergence is exact, a Jacobian of D^2 numbers a point, which suits points and not images. Levels go from
    sigma / alpha = `lowest` to `highest` in equal factors; the density is that of data with noise of `lowest`.

    Source: https://arxiv.org/abs/2011.13456, section 4.3 and equation 39.

    Args:
        denoiser: network with its mathematics, of a continuous schedule.
        x: (B, ...) data.
        labels: (B,) classes, or None.
        steps: of Heun's method, two evaluations each.
        lowest: sigma / alpha of the first level, far below the details of the data; None takes 0.01, or the lowest
            level of the training.
        highest: that of the last, far above the deviation of the data; None takes 200, or the highest of the training.
        mean: mean of the data, of the normal distribution at the last level.

    Returns:
        (B,) nats.

    Raises:
        ArgumentError: the schedule has steps, an argument breaks its range, or levels lie outside of the training's,
            where the network has learnt nothing.

    Example:
        >>> network = kerasdl.build("diffusion_mlp", width=8, depth=1, waves=4)
        >>> denoiser = Denoiser(network, FlowSchedule(), "flow", None, 0.5)
        >>> flow_log_likelihood(denoiser, np.zeros((3, 2)), steps=4).shape
        (3,)
    """
    schedule = denoiser.schedule
    if isinstance(schedule, DiscreteSchedule):
        checks.refuse("a likelihood needs a continuous schedule", type(schedule).__name__, "Take vp, ve or flow.")
    checks.at_least("steps", steps, 1)
    first, last = _learnt_levels(schedule)
    lowest, highest = max(0.01, first) if lowest is None else lowest, min(200.0, last) if highest is None else highest
    checks.within("lowest", lowest, 1e-6, 1e6)
    checks.within("highest", highest, lowest, 1e6)
    if lowest < first * 0.999 or highest > last * 1.001:
        rule = f"levels must lie within those of the training, from {first:.3g} to {last:.3g}"
        checks.refuse(rule, (lowest, highest), "Leave lowest and highest away for the widest range.")
    times = schedule.time_of_ratio(np.geomspace(lowest, highest, steps + 1))
    alphas, sigmas = (np.asarray(each, "float64") for each in schedule.rates(times))
    numbers = np.asarray(schedule.number_of(times), "float64")
    points = tf.convert_to_tensor(np.asarray(x, "float32"))
    label = None if labels is None else tf.constant(np.asarray(labels, "int32"))
    x_end, volume = _integrated(denoiser, points * alphas[0], label, numbers, alphas, sigmas)
    size = int(np.prod(denoiser.shape))
    variance = sigmas[-1] ** 2 + (alphas[-1] * denoiser.deviation) ** 2
    ends = np.reshape(x_end, (len(x_end), size)) - alphas[-1] * mean
    prior = -0.5 * np.sum(ends**2, -1) / variance - 0.5 * size * math.log(2 * math.pi * variance)
    return prior + np.asarray(volume) + size * math.log(alphas[0])


def _learnt_levels(schedule: Schedule) -> tuple[float, float]:
    """Returns the lowest and highest sigma / alpha of the times that training draws; infinite where alpha is 0."""
    alphas, sigmas = (
        np.asarray(each, "float64") for each in schedule.rates(schedule.training_times(np.array([0.0, 1])))
    )
    with np.errstate(divide="ignore"):
        first, last = np.sort(sigmas / alphas)
    return float(first), float(last)


def _integrated(denoiser: Denoiser, x: tf.Tensor, label: Any, numbers, alphas, sigmas) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns where points go from the first level to the last, and the integral of the divergence on their way."""
    tables = [tf.constant(each, tf.float32) for each in (numbers, alphas, sigmas)]
    size = int(np.prod(denoiser.shape))

    def half(x, level):
        number, alpha, sigma = (each[level] for each in tables)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            data = denoiser.data(x, tf.fill(tf.shape(x)[:1], number), alpha, sigma, label)[0]
        jacobian = tf.reshape(tape.batch_jacobian(data, x), (-1, size, size))
        trace = tf.linalg.trace(jacobian)
        return data, (x - alpha * data) / sigma, trace, (size - alpha * trace) / sigma

    @tf.function
    def run(x):
        volume = tf.zeros(tf.shape(x)[:1])
        for level in tf.range(len(numbers) - 1):
            alpha = tables[1][level + 1] - tables[1][level]
            sigma = tables[2][level + 1] - tables[2][level]
            data, noise, of_data, of_noise = half(x, level)
            far = half(x + alpha * data + sigma * noise, level + 1)
            x = tf.ensure_shape(x + 0.5 * (alpha * (data + far[0]) + sigma * (noise + far[1])), x.shape)
            volume += 0.5 * (alpha * (of_data + far[2]) + sigma * (of_noise + far[3]))
        return x, volume

    return run(x)
