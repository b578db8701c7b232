"""Sampling programs: one compiled function for a sampler, a plan and a guidance."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks

from ..samplers import Ancestral, Heun, SamplingPlan
from ..samplers.heun import run_heun
from ..samplers.linear_steps import run_linear_steps
from ..samplers.settings import Sampler
from .denoising import Denoiser
from .settings import Guidance


@dataclasses.dataclass(frozen=True)
class Program:
    """Settings of a compiled sampling, equal where the function may serve again."""

    sampler: Sampler
    """Sampler."""
    steps: int
    """Steps of the whole plan."""
    first: int
    """Steps of it that are left out."""
    guidance: Guidance
    """Guidance."""
    clip: float | None
    """Bound of the predicted data."""
    told: bool
    """True if there are labels."""
    held: bool
    """True if a part of the data is held."""
    trajectory: bool
    """True if all states are returned."""

    def compiled(self, denoiser: Denoiser) -> Callable:
        """Returns the function from `(x, label, seed, held data, mask)` to the data and the states.

        Args:
            denoiser: the network with its mathematics.

        Raises:
            ArgumentError: sampler, schedule and network do not fit.
        """
        plan = denoiser.schedule.plan(self.steps).after(self.first)
        self._check(denoiser)
        raised = self._raised(plan, denoiser)

        @tf.function(autograph=False)
        def program(x: Any, label: Any, seed: Any, held: Any, mask: Any) -> tuple:
            def denoise(x, number, alpha, sigma):
                numbers = tf.fill(tf.shape(x)[:1], number)
                data, place = denoiser.guided_data(self.guidance, x, numbers, alpha, sigma, label)
                if self.clip is not None:
                    data = tf.clip_by_value(data, -self.clip, self.clip)
                return (mask * held + (1 - mask) * data if self.held else data), place

            if isinstance(self.sampler, Heun):
                return run_heun(self.sampler, plan, raised, denoise, x, seed, self.trajectory)
            steps = self.sampler.linear_steps(plan)
            return run_linear_steps(steps, plan, denoise, x, seed, self.trajectory)

        state = tf.TensorSpec((None, *denoiser.shape), tf.float32)
        part = state if self.held else tf.TensorSpec((), tf.float32)
        whole = tf.TensorSpec((), tf.int32)
        # traced at once, for any number of examples: TensorFlow warns where functions of one line trace often
        return program.get_concrete_function(state, tf.TensorSpec((None,), tf.int32), whole, part, part)

    def _raised(self, plan: SamplingPlan, denoiser: Denoiser) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns times, alphas and sigmas from which the steps of `Heun` go, noise added."""
        if not isinstance(self.sampler, Heun) or not self.sampler.churn:
            return plan.times, plan.alphas[:-1], plan.sigmas[:-1]
        if plan.alphas[0] == 0:
            checks.refuse("churn needs a schedule that keeps some signal to its end", type(denoiser.schedule).__name__)
        times = denoiser.schedule.time_of_ratio(self.sampler.raised_ratios(plan))
        alphas, sigmas = (np.asarray(each, "float64") for each in denoiser.schedule.rates(times))
        numbers = np.asarray(denoiser.schedule.number_of(times), "float64")
        same = self.sampler.raised_ratios(plan) == plan.sigmas[:-1] / plan.alphas[:-1]
        own = (plan.times, plan.alphas[:-1], plan.sigmas[:-1])
        return tuple(np.where(same, old, new) for old, new in zip(own, (numbers, alphas, sigmas), strict=True))

    def _check(self, denoiser: Denoiser) -> None:
        learned = isinstance(self.sampler, Ancestral) and self.sampler.variance == "learned"
        if learned and not denoiser.learns_variance:
            checks.refuse("the learned variance needs a network with as many channels again", self.sampler)
        told, guidance = denoiser.conditioning is not None, self.guidance
        if guidance.doubles and not (told and denoiser.conditioning.drop_rate):
            hint = "Train with conditioning=ClassConditioning(classes=K, drop_rate=0.1)."
            checks.refuse(
                "guidance needs a network that learned some examples without their class", guidance.scale, hint
            )
        if (told or guidance.classifier is not None) != self.told:
            rule = "labels must be given to a network with classes or to a classifier, and to no other"
            checks.refuse(rule, "labels" if self.told else "none")
