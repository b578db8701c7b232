"""Variational autoencoder: trainer of the evidence lower bound, samples, codes and likelihoods of images.

Sources: Kingma 2013, https://arxiv.org/abs/1312.6114; beta: Higgins 2017, https://openreview.net/forum?id=Sy2fzU9gl;
annealing: Bowman 2015, https://arxiv.org/abs/1511.06349; free bits: Kingma 2016, https://arxiv.org/abs/1606.04934.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.data.model_fit import first_inputs
from kerasdl.ops import (
    active_units,
    bernoulli_log_density,
    free_bits,
    gaussian_divergence,
    gaussian_log_density,
    importance_bound,
)
from kerasdl.train.trainer import VALIDATION_SEED, own_losses

from ..ae.code_parts import CODE, behind_code
from ..ae.reconstruction import ReconstructionTrainer, mean_over_replicas, target_of
from .variational_networks import HALF_LOGITS, LOG_VARIANCE, MEAN

WHITE = 1.001
"""Largest level of a pixel, but for rounding."""


class VAE(ReconstructionTrainer):
    """Trainer of a variational autoencoder: the negative evidence lower bound in nats an image.

    The loss is the negative log-likelihood of an image given a draw of its code, and `beta` times the divergence of
    the code from the prior N(0, 1). Beyond the loss it logs both, `reconstruction` and `divergence`, in nats. A code
    that collapsed onto the prior shows in `divergence` near 0 and in `active`; KL annealing and free bits mend it.

    It learns from images, as `ReconstructionTrainer`; a conditional network from `{"image", "label"}`.

    Source: https://arxiv.org/abs/1312.6114, equation 10.

    Args:
        network: model of `kerasdl.build("vae")` or with layers of the same names: `mean`, `log_variance`, `code`.
        beta: weight of the divergence, 0 or more; above 1 it asks for independent units.
        anneal_steps: updates over which that weight rises from 0; 0 for none. Validation has the whole weight.
        free_bits: nats of each unit's divergence, the mean of a batch, that cost nothing.
        deviation: of the noise of each pixel, for a network of a Gaussian likelihood.

    Raises:
        ArgumentError: the network has other layers, or an argument breaks its range.

    Example:
        >>> trainer = VAE(kerasdl.build("vae", filters=(4,), code=2), anneal_steps=100)
        >>> trainer.sample(3, seed=1).shape
        (3, 28, 28, 1)
    """

    def __init__(
        self,
        network: keras.Model | Mapping[str, keras.Model],
        *,
        beta: float = 1.0,
        anneal_steps: int = 0,
        free_bits: float = 0.0,
        deviation: float = 0.5,
    ):
        super().__init__(network)
        names = [layer.name for layer in self.main.layers]
        missing = [name for name in (MEAN, LOG_VARIANCE) if name not in names]
        if missing:
            rule = f"a variational autoencoder must have the layers {(MEAN, LOG_VARIANCE, CODE)}"
            checks.refuse(rule, f"none named {missing[0]!r}", "Build it by kerasdl.build('vae').")
        self.beta = checks.within("beta", beta, 0.0, 1e6)
        self.anneal_steps = checks.at_least("anneal_steps", anneal_steps, 0)
        self.free_bits = checks.within("free_bits", free_bits, 0.0, 1e6)
        self.deviation = checks.within("deviation", deviation, 1e-4, 1e4)
        self.is_bernoulli = HALF_LOGITS in names
        mean, log_variance = (self.main.get_layer(name).output for name in (MEAN, LOG_VARIANCE))
        self.posterior_network = keras.Model(self.main.input, {"mean": mean, "log_variance": log_variance})
        last = self.main.get_layer(HALF_LOGITS).output if self.is_bernoulli else self.main.output
        self.with_code = keras.Model(self.main.input, {"output": last, "mean": mean, "log_variance": log_variance})
        self.likelihood_network = behind_code(self.main, last, name=f"{self.main.name}_likelihood")
        self.trackers = {name: keras.metrics.Mean(name) for name in ("reconstruction", "divergence")}

    @property
    def metrics(self) -> list:
        return list({id(each): each for each in (*super().metrics, *self.trackers.values())}.values())

    def check_data(self, data: Any) -> None:
        if isinstance(self.main.input, Mapping) and not isinstance(data.spec[0], Mapping):
            hint = 'Pass {"image": images, "label": classes}.'
            checks.refuse(f"a network of classes must learn from {sorted(self.main.input)}", data.name, hint)
        super().check_data(data)
        self._check_range(first_inputs(data))

    def _check_range(self, images: np.ndarray | None) -> None:
        """Refuses images that are no shares of ink, of which a Bernoulli likelihood has no bound."""
        if (
            self.is_bernoulli
            and images is not None
            and images.size
            and not -WHITE <= images.min() <= images.max() <= WHITE
        ):
            hint = "Scale them, or build the network with likelihood='gaussian'."
            rule = "images of a Bernoulli likelihood must be from -1 to 1"
            checks.refuse(rule, f"{images.min():.4g} to {images.max():.4g}", hint)

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Returns `output` (logits, or means of pixels) of a draw of the code, and its `mean` and `log_variance`.

        Args:
            inputs: images, or `{"image", "label"}`.
            training: whether the draw is new; validation draws the same noise in each epoch.
        """
        if training:
            return self._scaled(self.with_code(inputs, training=True))
        found = self.posterior_network(inputs, training=False)
        noise = tf.random.stateless_normal(tf.shape(found["mean"]), VALIDATION_SEED, dtype=found["mean"].dtype)
        draw = found["mean"] + ops.exp(0.5 * found["log_variance"]) * noise
        return self._scaled({**found, "output": self.likelihood_network(self._decoder_input(draw, inputs))})

    def _scaled(self, outputs: dict[str, Any]) -> dict[str, Any]:
        return {**outputs, "output": 2.0 * outputs["output"]} if self.is_bernoulli else outputs

    def _decoder_input(self, code: Any, inputs: Any) -> Any:
        return {CODE: code, "label": inputs["label"]} if isinstance(self.decoder.input, Mapping) else code

    def log_likelihoods(self, images: Any, output: Any) -> Any:
        """Returns log p(image | code) (B,) in nats, of images (B, H, W, C) and the `output` of `call`."""
        if self.is_bernoulli:
            densities = bernoulli_log_density((images + 1.0) / 2.0, output)
        else:
            densities = gaussian_log_density(images, output, 2.0 * float(np.log(self.deviation)))
        return ops.sum(densities, axis=tuple(range(1, len(densities.shape))))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        likelihoods = self.log_likelihoods(target_of(x, y), y_pred["output"])
        divergences = self._divergences(y_pred)
        weight = self.beta
        if training and self.anneal_steps:
            done = ops.cast(self.optimizer.iterations, "float32")
            weight = self.beta * ops.minimum(1.0, done / self.anneal_steps)
        if self.free_bits:
            cost = ops.broadcast_to(free_bits(divergences, self.free_bits), ops.shape(likelihoods))
        else:
            cost = ops.sum(divergences, axis=1)
        return mean_over_replicas(weight * cost - likelihoods, sample_weight) + own_losses(self)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.trackers["reconstruction"].update_state(-self.log_likelihoods(target_of(x, y), y_pred["output"]))
        self.trackers["divergence"].update_state(ops.sum(self._divergences(y_pred), axis=1))
        return self.get_metrics_result()

    def _divergences(self, outputs: Any) -> Any:
        mean, log_variance = (ops.cast(outputs[name], "float32") for name in ("mean", "log_variance"))
        return gaussian_divergence(mean, log_variance)

    # Answers

    def sample(self, count: int, *, label: int | None = None, seed: int = 0, temperature: float = 1.0) -> np.ndarray:
        """Returns images of codes drawn from the prior.

        Args:
            count: N, images.
            label: class of all of them, for a conditional network, and only for one.
            seed: seed of the codes.
            temperature: deviation of the codes; below 1 images are more usual and less varied.

        Returns:
            (N, H, W, C) float32, values about -1 to 1.

        Raises:
            ArgumentError: an argument breaks its range, or the label does not fit.
        """
        rng = np.random.default_rng(checks.at_least("seed", seed, 0))
        shape = (checks.at_least("count", count, 1), *self.encoder.output.shape[1:])
        codes = checks.within("temperature", temperature, 0.0, 1e3) * rng.standard_normal(shape)
        return self.decode(self.decoder_inputs(codes, label))

    def decoder_inputs(self, codes: np.ndarray, label: int | None) -> Any:
        """Returns inputs of the decoder: codes (N, D), and where it takes a class, that class for all.

        Raises:
            ArgumentError: a class is missing, unknown or not asked for.
        """
        conditional = isinstance(self.decoder.input, Mapping)
        if conditional != (label is not None):
            checks.refuse("label must be given for a conditional network, and for no other", label)
        if not conditional:
            return codes
        classes = self.main.get_layer("decoder_label").input_dim
        checks.one_of("label", label, range(classes))
        return {CODE: codes, "label": np.full(len(codes), label, "int32")}

    def posterior(self, images: Any, *, batch_size: int = 256) -> tuple[np.ndarray, np.ndarray]:
        """Returns means and logarithms of variances (N, D) of the codes of images.

        Raises:
            ArgumentError: images do not fit the network.
        """
        found = self._answers(self.posterior_network, images, batch_size)
        return found["mean"], found["log_variance"]

    def unit_divergences(self, images: Any) -> np.ndarray:
        """Returns the divergence (D,) in nats of each unit from the prior, the mean over images: 0 for a dead one."""
        return np.asarray(gaussian_divergence(*self.posterior(images))).mean(axis=0)

    def active(self, images: Any, *, threshold: float = 0.01) -> np.ndarray:
        """Returns which units (D,) of the code depend on the image, as `ops.active_units`; none after a collapse."""
        return active_units(self.posterior(images)[0], threshold)

    def log_evidence(self, images: Any, *, samples: int = 1, seed: int = 0, batch_size: int = 64) -> np.ndarray:
        """Returns a lower bound (N,) of log p(image) in nats, that of importance weights.

        Source: https://arxiv.org/abs/1509.00519.

        Args:
            images: as `fit` takes them.
            samples: K, draws an image; 1 gives one draw of the evidence lower bound, many a bound nearer to log p.
            seed: seed of the draws.
            batch_size: images computed at once.

        Raises:
            ArgumentError: images do not fit, or an argument breaks its range.
        """
        checks.at_least("samples", samples, 1)
        inputs = keras.tree.map_structure(np.asarray, images)
        self._check_range(next(iter(keras.tree.flatten(inputs))))
        means, log_variances = self.posterior(inputs)
        noise, found = np.random.default_rng(checks.at_least("seed", seed, 0)), []
        for start in range(0, len(means), checks.at_least("batch_size", batch_size, 1)):
            part = keras.tree.map_structure(lambda leaf, at=start: leaf[at : at + batch_size], inputs)
            mean, log_variance = means[start : start + batch_size], log_variances[start : start + batch_size]
            weights = [self._log_weights(part, mean, log_variance, noise) for _ in range(samples)]
            found.append(np.asarray(importance_bound(np.stack(weights))))
        return np.concatenate(found)

    def _log_weights(self, inputs: Any, mean: np.ndarray, log_variance: np.ndarray, noise: Any) -> np.ndarray:
        """Returns log p(x, z) - log q(z | x) (B,) float64 of one draw an image."""
        draw = (mean + np.exp(0.5 * log_variance) * noise.standard_normal(mean.shape)).astype("float32")
        output = self.likelihood_network(self._decoder_input(draw, inputs), training=False)
        output = np.asarray(output, np.float64) * (2.0 if self.is_bernoulli else 1.0)
        images = np.asarray(next(iter(keras.tree.flatten(inputs))), np.float64)
        apart = gaussian_log_density(draw, 0.0, 0.0) - gaussian_log_density(draw, mean, log_variance)
        return np.asarray(self.log_likelihoods(images, output)) + np.asarray(apart, np.float64).sum(axis=1)
