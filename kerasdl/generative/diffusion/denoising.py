"""Denoiser: clean data predicted from noisy data by a network, its schedule, its target and guidance."""

import dataclasses
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.core.data_fit import rows_of
from kerasdl.ops import data_and_noise, edm_coefficients, per_example, prediction_of

from .schedules import Schedule
from .settings import ClassConditioning, Guidance

TARGETS = ("eps", "x0", "v", "flow", "score", "edm")


@dataclasses.dataclass(frozen=True, eq=False)
class Denoiser:
    """Parts that turn the output of a network into data: the mathematics between a network and a sampler.

    Example:
        >>> network = kerasdl.build("diffusion_mlp")
        >>> denoiser = Denoiser(network, FlowSchedule(), "flow", None, 0.5)
        >>> denoiser.data(tf.zeros((4, 2)), tf.fill((4,), 0.5), 0.5, 0.5)[0].shape
        TensorShape([4, 2])
    """

    network: keras.Model
    """Network from `{"x", "time"}` and perhaps `"label"`."""
    schedule: Schedule
    """Rates at each time."""
    target: str
    """Kind of its output: `eps`, `x0`, `v`, `flow`, `score`, or `edm`, preconditioned data."""
    conditioning: ClassConditioning | None
    """Classes that it is told, or None."""
    deviation: float
    """Standard deviation of the data, by which inputs are scaled where noise has no bounds."""

    def __post_init__(self):
        checks.one_of("target", self.target, TARGETS)
        checks.within("deviation", self.deviation, 1e-6, 1e6)
        name = type(self.schedule).__name__
        if self.target in ("eps", "score", "edm") and self.schedule.reaches_noise:
            rule = f"the target {self.target!r} needs a schedule that keeps some signal to its end"
            checks.refuse(rule, name, "Take the target 'v', 'x0' or, for straight paths, 'flow'.")
        if self.target == "v" and not self.schedule.preserves_variance:
            checks.refuse("the target 'v' needs a schedule with alpha^2 + sigma^2 = 1", name)
        given, shape = self.network.input, self.network.outputs[0].shape
        expected = {"x", "time"} if self.conditioning is None else {"x", "time", "label"}
        if not isinstance(given, dict) or set(given) != expected:
            hint = "Give conditioning=ClassConditioning(classes=K) to a network with labels, and to no other."
            names = sorted(given) if isinstance(given, dict) else given
            checks.refuse(f"the network must have the inputs {sorted(expected)}, by these names", names, hint)
        if self.conditioning is not None:
            rows, needed = rows_of(self.network, given["label"]), self.conditioning.no_class + 1
            if rows is not None and rows < needed:
                rule = f"the network must have a row for each of {needed - 1} classes, and one for no class"
                checks.refuse(rule, f"{rows} rows", "Build it with classes=K.")
        sides, channels = tuple(given["x"].shape[1:-1]), given["x"].shape[-1]
        if len(self.network.outputs) != 1 or tuple(shape[1:-1]) != sides or shape[-1] not in (channels, 2 * channels):
            rule = f"the network must have one output of the shape of x, {(*sides, channels)}, or twice the channels"
            checks.refuse(rule, tuple(shape[1:]))

    @property
    def shape(self) -> tuple:
        """Shape of an example."""
        return tuple(self.network.input["x"].shape[1:])

    @property
    def learns_variance(self) -> bool:
        """True if the output has as many channels again, for the variance of a step."""
        return self.network.outputs[0].shape[-1] == 2 * self.shape[-1]

    def output(self, x: Any, number: Any, alpha: Any, sigma: Any, label: Any = None, training: bool = False) -> tuple:
        """Returns the prediction of the network and the place of the variance, or None, for noisy data.

        Args:
            x: (B, ...) noisy data.
            number: (B,) what it is told of the time.
            alpha: (B,) or () rates of the data.
            sigma: (B,) or () rates of the noise.
            label: (B,) integers, or None.
            training: as in Keras.
        """
        inputs = {"x": x * self.input_scale(x, alpha, sigma), "time": number}
        if label is not None:
            inputs["label"] = label
        found = self.network(inputs, training=training)
        return tf.split(found, 2, -1) if self.learns_variance else (found, None)

    def input_scale(self, x: Any, alpha: Any, sigma: Any) -> Any:
        """Returns the factor that gives the network inputs of variance 1, of noise without bounds; else 1."""
        alpha, sigma = per_example(alpha, x), per_example(sigma, x)
        if self.target != "edm" and (self.schedule.preserves_variance or self.schedule.reaches_noise):
            return ops.ones_like(alpha)
        return 1 / ops.sqrt(ops.square(alpha * self.deviation) + ops.square(sigma))

    def data_of(self, prediction: Any, x: Any, alpha: Any, sigma: Any) -> Any:
        """Returns the data that a prediction of the network stands for."""
        if self.target != "edm":
            return data_and_noise(prediction, x, alpha, sigma, self.target)[0]
        alpha, sigma = per_example(alpha, x), per_example(sigma, x)
        skip, output, *_ = edm_coefficients(sigma / alpha, self.deviation)
        return skip * x / alpha + output * prediction

    def target_of(self, x0: Any, noise: Any, alpha: Any, sigma: Any) -> Any:
        """Returns what the network is to predict of data and noise."""
        if self.target != "edm":
            return prediction_of(x0, noise, alpha, sigma, self.target)
        alpha, sigma = per_example(alpha, x0), per_example(sigma, x0)
        skip, output, *_ = edm_coefficients(sigma / alpha, self.deviation)
        return (x0 - skip * (x0 + sigma / alpha * noise)) / output

    def data(self, x: Any, number: Any, alpha: Any, sigma: Any, label: Any = None) -> tuple:
        """Returns the data that the network predicts, and the place of the variance or None; as in `output`."""
        prediction, place = self.output(x, number, alpha, sigma, label)
        return self.data_of(prediction, x, alpha, sigma), place

    def guided_data(self, guidance: Guidance, x: Any, number: Any, alpha: Any, sigma: Any, label: Any) -> tuple:
        """Returns data and place as `data` does, under guidance towards the labels.

        Args:
            guidance: its settings.
            x: (B, ...) noisy data, as in `data`, like the following.
            number: as there.
            alpha: () rate of the data.
            sigma: () rate of the noise.
            label: (B,) integers, or None.
        """
        low, high = guidance.interval
        guided = ops.logical_and(number[0] >= low, number[0] <= high)
        if guidance.doubles:
            nothing = ops.full_like(label, self.conditioning.no_class)
            twice = [ops.concatenate([each, each]) for each in (x, number)]
            both, place = self.data(*twice, alpha, sigma, ops.concatenate([label, nothing]))
            told, untold = ops.split(both, 2)
            place = None if place is None else ops.split(place, 2)[0]
            data = untold + guidance.scale * (told - untold)
            if guidance.rescale:
                axes = list(range(1, len(data.shape)))
                ratio = ops.std(told, axes, keepdims=True) / ops.maximum(ops.std(data, axes, keepdims=True), 1e-8)
                data = data * (1 - guidance.rescale + guidance.rescale * ratio)
            return ops.where(guided, data, told), place
        data, place = self.data(x, number, alpha, sigma, label if self.conditioning else None)
        if guidance.classifier is None:
            return data, place
        with tf.GradientTape() as tape:
            tape.watch(x)
            logits = guidance.classifier({"x": x, "time": number}, training=False)
            chosen = ops.sum(ops.log_softmax(logits) * ops.one_hot(label, logits.shape[-1]))
        moved = ops.square(sigma) / alpha * guidance.scale * tape.gradient(chosen, x)
        return ops.where(guided, data + moved, data), place
