"""Unrolled sampler: the steps of a deterministic sampling as one flat model from noise to data, for export."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from kerasdl.core import checks
from kerasdl.core.keras_graph import copied, replay
from kerasdl.layers import ChannelSlice, ConstantTime

from ..samplers import Heun
from ..samplers.settings import Sampler, as_sampler
from .denoising import Denoiser
from .trainer import Diffusion


def unrolled_sampler(trainer: Diffusion, steps: int = 10, *, sampler: str | Sampler = "ddim") -> keras.Model:
    """Returns a model that samples: the network's layers, shared by all steps, and scaled sums between them.

    It equals `trainer.sample(noise=...)` without guidance. Exported, one file holds the weights once and the whole
    sampling as built-in operations; noise is its input, so that an app chooses it.

    Args:
        trainer: a trained `Diffusion`, of points, images or codes.
        steps: evaluations of the network.
        sampler: a deterministic sampler of one evaluation a step: `ddim`, `euler`, `dpm_solver`, `unipc`.

    Returns:
        A flat model from `{"noise": (B, ...)}`, with classes also `"label": (B,)`, to (B, ...) float32.

    Raises:
        ArgumentError: the sampler draws noise or has two evaluations a step, or there are too many steps.
        UnknownNameError: there is no sampler of that name.

    Example:
        >>> trainer = Diffusion(kerasdl.build("diffusion_mlp", width=16, depth=1), "cosine", "v")
        >>> unrolled_sampler(trainer, 4).output_shape
        (None, 2)
    """
    sampler, denoiser = as_sampler(sampler), trainer.denoiser
    plan = denoiser.schedule.plan(steps)
    linear = None if isinstance(sampler, Heun) else sampler.linear_steps(plan)
    if linear is None or np.any(linear.of_noise):
        rule = "a sampler must be deterministic, of one evaluation a step, to be unrolled"
        checks.refuse(rule, sampler, "Take ddim, euler, dpm_solver or unipc.")
    network = copied(trainer.main)
    inputs = {"noise": keras.Input(denoiser.shape, name="noise")}
    if denoiser.conditioning is not None:
        inputs["label"] = keras.Input((), dtype="int32", name="label")
    begin = 1.0 if denoiser.schedule.preserves_variance else plan.sigmas[0]
    x = before = weighted_sum([inputs["noise"]], [begin], name="begin")
    data: list[Any] = []
    for step in range(plan.steps):
        rates = plan.times[step], plan.alphas[step], plan.sigmas[step]
        name = f"step{step + 1}"
        data = [_predicted(denoiser, network, x, inputs.get("label"), *rates, name=name), *data]
        if step and linear.corrected_of_x is not None:
            factors = [linear.corrected_of_x[step], *linear.corrected_of_data[step]]
            x = weighted_sum([before, *data], factors, name=f"{name}_corrected")
        before = x
        x = weighted_sum([x, *data], [linear.of_x[step], *linear.of_data[step]], name=f"{name}_sum")
    return keras.Model(inputs, layers.Activation("linear", dtype="float32", name="data")(x), name="unrolled_sampler")


def weighted_sum(tensors: Sequence, factors: Sequence[float], *, name: str):
    """Returns the sum of tensors times numbers, in layers; what has the factor 0 is left out.

    Args:
        tensors: (B, ...) each.
        factors: a number for each; further ones are ignored.
        name: prefix of the layer names.

    Returns:
        (B, ...).

    Raises:
        ArgumentError: all factors are 0.

    Example:
        >>> weighted_sum([keras.Input((2,)), keras.Input((2,))], [0.5, -1.0], name="sum").shape
        (None, 2)
    """
    pairs = [(tensor, float(factor)) for tensor, factor in zip(tensors, factors, strict=False) if factor]
    if not pairs:
        checks.refuse("one factor must not be 0", list(factors))
    scaled = [
        layers.Rescaling(factor, dtype="float32", name=f"{name}_factor{place}")(tensor)
        for place, (tensor, factor) in enumerate(pairs, start=1)
    ]
    return layers.Add(dtype="float32", name=name)(scaled) if len(scaled) > 1 else scaled[0]


def _predicted(denoiser: Denoiser, network: keras.Model, x, label, number: float, alpha: float, sigma: float, *, name):
    """Returns the data that the network predicts at one level; each target is linear in noisy data and prediction."""
    one, zero = np.ones((1, 1)), np.zeros((1, 1))
    scale = float(np.ravel(denoiser.input_scale(one, alpha, sigma))[0])
    given = x if scale == 1 else weighted_sum([x], [scale], name=f"{name}_input")
    parts = {"x": given, "time": ConstantTime(float(number), name=f"{name}_time")(x), "label": label}
    found = replay(network, [parts[each.name] for each in network.inputs], lambda operation: operation)
    if denoiser.learns_variance:
        found = ChannelSlice(0, 2, name=f"{name}_prediction")(found)
    of_output = float(np.ravel(denoiser.data_of(one, zero, alpha, sigma))[0])
    of_x = float(np.ravel(denoiser.data_of(zero, one, alpha, sigma))[0])
    return weighted_sum([found, x], [of_output, of_x], name=f"{name}_data")
