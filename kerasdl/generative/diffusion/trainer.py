"""Trainer of diffusion, score and flow models: one loss for every schedule, target and conditioning.

Sources: DDPM, https://arxiv.org/abs/2006.11239; score models, https://arxiv.org/abs/2011.13456; rectified flow,
https://arxiv.org/abs/2209.03003; one form for all: https://arxiv.org/abs/2206.00364, section 5.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.data import DataWarning
from kerasdl.data.model_fit import first_inputs
from kerasdl.ops import diffuse, diffusion_weights, per_example
from kerasdl.train import Trainer
from kerasdl.train.trainer import own_losses, step_seed

from ..samplers.settings import Sampler, as_sampler
from .bounds import hybrid_bound
from .denoising import Denoiser
from .sampling import Program
from .schedules import DiscreteSchedule, Schedule, as_schedule
from .settings import ClassConditioning, Guidance, as_guidance

FAR = 4.0
"""Factor between the deviation of data and the stated one that is warned of."""


class Diffusion(Trainer):
    """Trainer of a network that predicts clean data from noisy data, and its sampler.

    It learns from arrays (B, ...) alone, or with labels (B,) under conditioning. Data should have a mean near 0 and
    a deviation near `deviation`, such as images from -1 to 1. Noise and times are new in each step, by `seed`; those
    of validation stay. `RunConfig(ema=0.999)` averages the weights, as all papers do.

    Source: https://arxiv.org/abs/2006.11239, algorithm 1.

    Args:
        network: model with inputs `x` (B, ...), `time` (B,) and, under conditioning, `label` (B,), such as
            `kerasdl.build("diffusion_unet")`; an output of twice the channels learns the variance too.
        schedule: a schedule, or a name: `linear`, `scaled_linear`, `cosine`, `sigmoid`, `vp`, `sub_vp`, `ve`, `flow`.
        target: kind of its output: `eps`, `x0`, `v`, `flow`, `score`, or `edm`, preconditioned data.
        conditioning: `ClassConditioning(classes=K)`, or None.
        weighting: as in `ops.diffusion_weights`.
        gamma: as there.
        deviation: standard deviation of the data.
        seed: seed of times and noise.

    Raises:
        ArgumentError: network, schedule, target and conditioning do not fit, or an argument breaks its range.
        UnknownNameError: there is no schedule of that name.

    Example:
        >>> trainer = Diffusion(kerasdl.build("diffusion_mlp", width=16, depth=1), "cosine", "v")
        >>> trainer.sample(4, steps=5).shape
        (4, 2)
    """

    def __init__(
        self,
        network: keras.Model | Mapping[str, keras.Model],
        schedule: str | Schedule = "linear",
        target: str = "eps",
        conditioning: ClassConditioning | None = None,
        *,
        weighting: str = "simple",
        gamma: float | None = None,
        deviation: float = 0.5,
        seed: int = 0,
    ):
        super().__init__(network if isinstance(network, Mapping) else {"model": network})
        if not isinstance(conditioning, (ClassConditioning, type(None))):
            checks.refuse("conditioning must be ClassConditioning(classes=K) or None", conditioning)
        self.denoiser = Denoiser(self.main, as_schedule(schedule), target, conditioning, deviation)
        self.weights_of = {"weighting": weighting, "gamma": gamma, "deviation": deviation}
        self._loss_weights(np.full(1, 0.6), np.full(1, 0.8))
        if self.denoiser.learns_variance and not isinstance(self.schedule, DiscreteSchedule):
            rule = "a network with as many channels again, for the variance of a step, needs a DiscreteSchedule"
            checks.refuse(rule, type(self.schedule).__name__)
        if conditioning is not None:
            self.supports_jit = False  # XLA would leave out the checks of labels
        self.seeds = keras.random.SeedGenerator(checks.at_least("seed", seed, 0))
        self.mean_error = keras.losses.MeanSquaredError()
        self.mean_bound = keras.losses.MeanAbsoluteError()
        object.__setattr__(self, "programs", {})  # not an ordinary attribute: Keras would track the functions in it

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of one example of the data."""
        return self.denoiser.shape

    @property
    def schedule(self) -> Schedule:
        """Its schedule."""
        return self.denoiser.schedule

    def check_data(self, data: Any) -> None:
        """Warns of data whose mean or deviation is far from what the trainer is told: noise would not fit them."""
        values = first_inputs(data)
        if data.images or values is None or tuple(values.shape[1:]) != self.data_shape:
            return
        values, told = self.as_learnt(values), self.weights_of["deviation"]
        mean, found = float(np.mean(values)), float(np.std(values))
        if abs(mean) > FAR * told or not told / FAR < found < FAR * told:
            rule = f"{data.name} has values of mean {mean:.3g} and deviation {found:.3g}, and the trainer is told"
            remedy = "Bring them to a mean near 0, or pass deviation= (of codes scale=)."
            checks.warn(f"{rule} deviation={told:g}: times and weights fit data of that size. {remedy}", DataWarning)

    def as_learnt(self, values: np.ndarray) -> np.ndarray:
        """Returns data (B, ...) as the network learns them: here as they are."""
        return values.astype("float32")

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Returns noisy data `x` with `x0`, `noise`, `time`, `alpha`, `sigma`, and numbers `drop` for each example.

        Args:
            inputs: (B, ...) data.
            training: whether times and noise are new.

        Raises:
            ArgumentError: data are of another shape.
        """
        x0 = ops.cast(inputs, "float32")
        shape = self.denoiser.shape
        if not hasattr(inputs, "shape") or tuple(inputs.shape[1:]) != shape:
            checks.refuse(f"data must be (B, {', '.join(map(str, shape))})", tuple(getattr(inputs, "shape", ())))
        seed = step_seed(self.seeds, training)
        time_seed, noise_seed, drop_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
        count = tf.shape(x0)[:1]
        time = self.schedule.training_times(tf.random.stateless_uniform(count, time_seed))
        noise = tf.ensure_shape(tf.random.stateless_normal(tf.shape(x0), noise_seed), x0.shape)
        alpha, sigma = self.schedule.rates(time)
        return {
            **{"x": diffuse(x0, noise, alpha, sigma), "x0": x0, "noise": noise, "time": time},
            **{"alpha": alpha, "sigma": sigma, "drop": tf.random.stateless_uniform(count, drop_seed)},
        }

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if sample_weight is not None and len(sample_weight.shape) > 1 and tuple(sample_weight.shape[1:]) != (1,):
            checks.refuse("weights of a diffusion must be one number of each example", tuple(sample_weight.shape))
        drawn, denoiser = y_pred, self.denoiser
        label = self._labels(y, drawn["drop"], training)
        number = self.schedule.number_of(drawn["time"])
        rates = drawn["alpha"], drawn["sigma"]
        prediction, place = denoiser.output(drawn["x"], number, *rates, label, training)
        expected, weighed = denoiser.target_of(drawn["x0"], drawn["noise"], *rates), prediction
        if denoiser.target == "score":  # errors of the score have no bounds where noise is small
            expected, weighed = drawn["noise"], -prediction * per_example(rates[1], prediction)
        weights = self._loss_weights(*rates)
        if sample_weight is not None:
            weights = weights * ops.reshape(ops.cast(sample_weight, weights.dtype), (-1,))
        flat = (-1, int(np.prod(denoiser.shape)))
        loss = self.mean_error(ops.reshape(expected, flat), ops.reshape(weighed, flat), weights)
        if place is not None:
            data = denoiser.data_of(prediction, drawn["x"], *rates)
            bound = hybrid_bound(self.schedule, drawn, tf.stop_gradient(data), place)
            own = None if sample_weight is None else ops.reshape(sample_weight, (-1,))
            loss = loss + self.mean_bound(ops.zeros_like(bound)[:, None], bound[:, None], own)
        return loss + own_losses(self)

    def _loss_weights(self, alpha: Any, sigma: Any) -> Any:
        """Returns the weights (B,) of the squared errors of the target."""
        target = self.denoiser.target
        if target != "edm":
            return diffusion_weights(alpha, sigma, target="eps" if target == "score" else target, **self.weights_of)
        if self.weights_of["weighting"] in ("simple", "edm"):
            return ops.ones_like(alpha)
        rule = "the target 'edm' must have the weighting simple or edm, which are one"
        return checks.refuse(rule, self.weights_of["weighting"])

    def _labels(self, y: Any, drop: Any, training: bool) -> Any:
        """Returns the labels (B,) that the network is told, some of them dropped in training; None without classes."""
        conditioning = self.denoiser.conditioning
        if (y is None) != (conditioning is None):
            rule = "data must have labels (B,) under conditioning, and none without it"
            checks.refuse(rule, "no labels" if y is None else f"labels {tuple(y.shape)}", "Pass conditioning=.")
        if y is None:
            return None
        if len(y.shape) != 1 and tuple(y.shape[1:]) != (1,):
            checks.refuse("labels must be one integer of each example", tuple(y.shape))
        given = ops.reshape(y, (-1,))
        y = ops.cast(given, "int32")
        message = f"labels must be from 0 to {conditioning.classes - 1}"
        bounds = [
            tf.debugging.assert_non_negative(y, message),
            tf.debugging.assert_less(y, conditioning.classes, message),
            tf.debugging.assert_equal(ops.cast(y, given.dtype), given, "labels must be whole numbers"),
        ]
        with tf.control_dependencies([each for each in bounds if each is not None]):
            y = tf.identity(y)
        return ops.where(drop < conditioning.drop_rate, conditioning.no_class, y) if training else y

    def identity(self) -> dict[str, Any]:
        parts = (self.schedule, self.denoiser.target, self.denoiser.conditioning)
        return {**super().identity(), "diffusion": [repr(each) for each in parts], **self.weights_of}

    def sample(
        self,
        count: int | None = None,
        *,
        steps: int = 50,
        sampler: str | Sampler = "ddim",
        labels: Any = None,
        guidance: float | Guidance = 1.0,
        clip: float | None = None,
        noise: Any = None,
        seed: int = 0,
        trajectory: bool = False,
    ) -> np.ndarray:
        """Returns new examples, drawn by one compiled loop over the steps.

        Args:
            count: number of examples; None takes that of labels or noise.
            steps: evaluations of the network (Heun has two a step, less one).
            sampler: a name of `samplers.SAMPLERS`, or a sampler.
            labels: (count,) classes, or one for all, for a network with classes or a classifier.
            guidance: scale of classifier-free guidance, 1 for none, or a `Guidance`.
            clip: bound of predicted data in each step, such as 1 for images from -1 to 1; None leaves them.
            noise: (count, ...) standard normal noise to begin with; None draws it by seed.
            seed: seed of all noise.
            trajectory: whether all states are returned.

        Returns:
            (count, ...) float32; with `trajectory` (steps + 1, count, ...), from noise to data.

        Raises:
            ArgumentError: an argument breaks its rule, or sampler, schedule and network do not fit.
            UnknownNameError: there is no sampler of that name.
        """
        count = _count_of(count, labels, noise)
        level = self.schedule.plan(steps)
        x = self._noise(count, noise, seed)
        if not self.schedule.preserves_variance:
            x = x * tf.constant(level.sigmas[0], x.dtype)
        return self._run(x, labels, 0, steps, sampler, guidance, clip, seed, trajectory)

    def edit(
        self,
        images: Any,
        strength: float = 0.5,
        *,
        mask: Any = None,
        steps: int = 50,
        sampler: str | Sampler = "ddim",
        labels: Any = None,
        guidance: float | Guidance = 1.0,
        clip: float | None = None,
        seed: int = 0,
    ) -> np.ndarray:
        """Returns examples near given ones: noise is added up to a part of the way, and taken away again.

        With a mask, the part that it keeps is put into the predicted data of each step, so that the rest fits to it.

        Source: SDEdit, https://arxiv.org/abs/2108.01073; masks: DDNM, https://arxiv.org/abs/2212.00490, section 3.2.

        Args:
            images: (B, ...) examples.
            strength: share of the steps that are made, above 0; 1 begins with noise alone.
            mask: (B, ...) or broadcastable, 1 where examples are kept and 0 where they are made; None keeps none.
            steps: as in `sample`, like the following.
            sampler: as there.
            labels: as there.
            guidance: as there.
            clip: as there.
            seed: as there.

        Returns:
            (B, ...) float32.

        Raises:
            ArgumentError: an argument breaks its rule.
            UnknownNameError: there is no sampler of that name.
        """
        images = self._checked(images, "images")
        checks.within("strength", strength, 1e-6, 1.0)
        first = min(steps - 1, round(steps * (1 - strength)))
        plan = self.schedule.plan(steps).after(first)
        x = diffuse(images, self._noise(len(images), None, seed), plan.alphas[0], plan.sigmas[0])
        if mask is not None:
            mask = np.asarray(mask, "float32")
            if not np.all((mask >= 0) & (mask <= 1)):
                checks.refuse("a mask must be numbers from 0 to 1", mask)
            try:
                mask = np.broadcast_to(mask, images.shape)
            except ValueError:
                checks.refuse(f"a mask must fit the shape {tuple(images.shape)}", mask.shape)
        return self._run(x, labels, first, steps, sampler, guidance, clip, seed, False, images, mask)

    def _noise(self, count: int, noise: Any, seed: int) -> tf.Tensor:
        if noise is not None:
            return self._checked(noise, "noise")
        draw = (checks.at_least("seed", seed, 0) % 2**31, 2**31 - 1)  # no step has that number
        return tf.random.stateless_normal((count, *self.denoiser.shape), draw)

    def _checked(self, values: Any, name: str) -> tf.Tensor:
        values = tf.convert_to_tensor(np.asarray(values, "float32"))
        if tuple(values.shape[1:]) != self.denoiser.shape or not len(values) or not np.isfinite(values).all():
            shape = ", ".join(map(str, self.denoiser.shape))
            checks.refuse(f"{name} must be finite numbers (B, {shape}), B of 1 or more", tuple(values.shape))
        return values

    def _run(
        self, x, labels, first, steps, sampler, guidance, clip, seed, trajectory, held=None, mask=None
    ) -> np.ndarray:
        """Runs the compiled sampling of these settings from a state, and compiles it first where it is new."""
        clip = None if clip is None else checks.within("clip", clip, 1e-6, 1e6)
        told, is_held = labels is not None, mask is not None
        key = (as_sampler(sampler), steps, first, as_guidance(guidance), clip, told, is_held, bool(trajectory))
        program = Program(*key)
        if program not in self.programs:
            self.programs[program] = program.compiled(self.denoiser)
        label = self._sampled_labels(labels, len(x), program.guidance)
        held, mask = (tf.zeros(()), tf.zeros(())) if not is_held else (held, tf.constant(mask))
        seed = tf.constant(checks.at_least("seed", seed, 0) % 2**31, tf.int32)
        found, states = self.programs[program](x, label, seed, held, mask)
        return (states if trajectory else found).numpy()

    def _sampled_labels(self, labels: Any, count: int, guidance: Guidance) -> tf.Tensor:
        """Returns checked labels (B,) of a sampling; zeros where there are none."""
        if labels is None:
            return tf.zeros((count,), tf.int32)
        labels, conditioning = np.asarray(labels), self.denoiser.conditioning
        if guidance.classifier is not None:
            highest = guidance.classifier.outputs[0].shape[-1] - 1
            highest = highest if conditioning is None else min(highest, conditioning.classes - 1)
        else:
            highest = conditioning.classes - (0 if conditioning.drop_rate else 1)
        if labels.shape not in ((), (1,), (count,)) or labels.dtype.kind not in "iu":
            checks.refuse(f"labels must be one integer, or {count}", labels)
        if np.any(labels < 0) or np.any(labels > highest):
            checks.refuse(f"labels must be from 0 to {highest}", labels)
        return tf.constant(np.broadcast_to(labels, (count,)).astype("int32"))


def _count_of(count: int | None, labels: Any, noise: Any) -> int:
    """Returns the number of examples to draw, of what says it; refuses numbers that differ."""
    said = [len(each) for each in (labels, noise) if each is not None and np.ndim(each)]
    said = [each for each in said if each > 1 or count is None] + ([] if count is None else [count])
    if not said or len(set(said)) > 1:
        checks.refuse("count, labels and noise must say one number of examples", said, "Pass count=.")
    return checks.at_least("count", said[0], 1)
