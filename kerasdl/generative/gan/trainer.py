"""Trainer of two adversaries: a generator learns against a discriminator (https://arxiv.org/abs/1406.2661).

Deviations: one step of the loop makes all updates of the discriminator and the one of the generator, each update of the
discriminator on its own part of the batch; noise is normal.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.core.data_fit import check_fits
from kerasdl.core.keras_graph import copied
from kerasdl.data.batching.sharding import rows_in
from kerasdl.data.model_fit import warn_of_raw_pixels
from kerasdl.data.trees import unpacked
from kerasdl.ops import discriminator_loss, generator_loss, squared_gradient_norms
from kerasdl.ops.adversarial import ADVERSARIAL_LOSSES
from kerasdl.train import Trainer
from kerasdl.train.trainer import own_losses

MOMENTS = (keras.layers.BatchNormalization, keras.layers.GroupNormalization, keras.layers.LayerNormalization)
"""Norms that a gradient penalty cannot pass."""


class GAN(Trainer):
    """Trainer of a generator against a discriminator; both learn in each step, with an optimizer of their own.

    Each step draws noise, makes `discriminator_steps` updates of the discriminator, each on another part of the batch,
    and then one of the generator. Data are examples alone; labels are not read.

    Figures: `discriminator_loss` and `generator_loss`; `real_accuracy` and `fake_accuracy`, the shares of real and made
    examples that the discriminator judges right. Both near 1 mean that the generator learns little; both near 0.5 that
    the discriminator sees no difference.

    Source: https://arxiv.org/abs/1406.2661, algorithm 1; R1 and R2 https://arxiv.org/abs/1801.04406, section 4.1;
    averaged generator https://arxiv.org/abs/1806.04498, section 3.

    Args:
        generator: from noise (B, D) to examples.
        discriminator: from examples to logits (B, ...).
        loss: `minimax`, `non_saturating`, `hinge`, `least_squares`, `relativistic` or `wasserstein`, as in
            `kerasdl.ops.discriminator_loss`.
        discriminator_steps: updates of the discriminator for one of the generator.
        r1: weight of the squared gradient norm of the logits at real examples, half of which is added; 0 for none.
        r2: the same at made examples.
        average: decay of an averaged copy of the generator, `averaged`, from 0 to 1; None for no copy. The copy
            follows faster at the start.
        seed: seed of the noise.

    Raises:
        ArgumentError: the networks do not fit each other, an argument breaks its range, or a gradient penalty meets a
            norm by moments (all but RMS), whose second derivatives would be wrong.

    Example:
        >>> gan = GAN(kerasdl.build("dcgan_generator", **kerasdl.spec("dcgan_generator").tiny),
        ...           kerasdl.build("dcgan_discriminator", **kerasdl.spec("dcgan_discriminator").tiny), loss="hinge")
        >>> gan.compile({"generator": "adam", "discriminator": "adam"})
        >>> gan.sample(3, seed=0).shape
        (3, 16, 16, 3)
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        *,
        loss: str = "non_saturating",
        discriminator_steps: int = 1,
        r1: float = 0.0,
        r2: float = 0.0,
        average: float | None = None,
        seed: int = 0,
    ):
        super().__init__({"generator": generator, "discriminator": discriminator})
        self.objective = checks.one_of("loss", loss, ADVERSARIAL_LOSSES)
        self.discriminator_steps = checks.at_least("discriminator_steps", discriminator_steps, 1)
        self.r1, self.r2 = checks.within("r1", r1, 0.0, 1e6), checks.within("r2", r2, 0.0, 1e6)
        self.seeds = keras.random.SeedGenerator(checks.at_least("seed", seed, 0))
        self.decay = None if average is None else checks.within("average", average, 0.0, 1.0)
        self.averaged = None if average is None else _frozen_copy(generator)
        self.steps_made = self.add_weight((), "zeros", dtype="int64", trainable=False, name="steps_made")
        self.check_networks()
        if self.r1 or self.r2:
            refuse_moments(discriminator)

    def check_networks(self) -> None:
        """Refuses networks that do not fit each other.

        Raises:
            ArgumentError: the generator does not take noise (B, D), or the discriminator not what it makes.
        """
        generator, discriminator = self.networks["generator"], self.networks["discriminator"]
        if len(generator.inputs) != 1 or len(generator.inputs[0].shape) != 2:
            checks.refuse("a generator must take noise (B, D) alone", [each.shape for each in generator.inputs])
        check_fits(discriminator, _specs(generator.outputs), name="made examples")

    def check_data(self, data: Any) -> None:
        """Refuses examples that the discriminator does not take, and weights of examples, which have no meaning here.

        Raises:
            ArgumentError: the data do not fit.
        """
        check_fits(self.networks["discriminator"], data.spec[0], name=data.name)
        if data.spec[2] is not None:
            checks.refuse("data of adversaries must come without weights", data.name, "Repeat examples instead.")
        warn_of_raw_pixels(self.networks["discriminator"], data)

    # What adversaries of other kinds change

    discriminator_share = 1.0
    """Share of its loss that the discriminator learns from."""

    @property
    def latent(self) -> int:
        """D, numbers of the noise of an example."""
        return self.networks["generator"].input_shape[-1]

    def noise(self, count: Any) -> tf.Tensor:
        """Returns noise (count, D) of the trainer's own seed."""
        return keras.random.normal((count, self.latent), seed=self.seeds)

    def make(self, batch: tuple) -> Any:
        """Returns examples that the generator makes for a batch (inputs, labels), as it learns."""
        return self.networks["generator"](self.noise(rows_in(batch)), training=True)

    def real(self, batch: tuple) -> tf.Tensor:
        """Returns the real examples of a batch (inputs, labels)."""
        return batch[0]

    def judge(self, examples: Any, batch: tuple) -> Any:
        """Returns what the discriminator says of examples for a batch (inputs, labels), as it learns."""
        return self.networks["discriminator"](examples, training=True)

    def logits(self, judged: Any) -> tf.Tensor:
        """Returns the logits in what the discriminator says: that examples are real."""
        return judged

    def also_lost(self, fakes: Any, judged: Any, batch: tuple, role: str) -> tf.Tensor | float:
        """Returns what is added to the loss of a role, with the examples and what the discriminator says of them.

        Called for the discriminator on real and on made examples, and for the generator on those that it makes.
        """
        return 0.0

    def penalty(self, real: Any, fake: Any, batch: tuple) -> tf.Tensor | float:
        """Returns what is added to the loss of the discriminator: half of R1 and R2, by their weights."""

        def logits(examples):
            return self.logits(self.judge(examples, batch))

        total = 0.0
        for weight, examples in ((self.r1, real), (self.r2, fake)):
            total += weight / 2 * ops.mean(squared_gradient_norms(logits, examples)) if weight else 0.0
        return total

    def judgement(self, real: tf.Tensor, fake: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns figures of the logits of real and made examples."""
        right, seen = ops.mean(ops.cast(real > 0, "float32")), ops.mean(ops.cast(fake < 0, "float32"))
        return {"real_accuracy": right, "fake_accuracy": seen}

    # Steps

    def train_step(self, data):
        batches = parts_of(unpacked(data)[:2], self.discriminator_steps)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync  # each gives its part of the means
        for batch in batches:
            figures = self._discriminator_update(batch, replicas)
        figures |= self._generator_update(batches[-1], replicas)
        self._follow()
        return figures

    def _discriminator_update(self, batch: tuple, replicas: int) -> dict[str, tf.Tensor]:
        real, fake = self.real(batch), tf.stop_gradient(self.make(batch))
        with tf.GradientTape() as tape:
            of_real, of_fake = self.judge(real, batch), self.judge(fake, batch)
            loss = discriminator_loss(self.logits(of_real), self.logits(of_fake), self.objective)
            loss += self.penalty(real, fake, batch)
            loss += self.also_lost(real, of_real, batch, "discriminator")
            loss += self.also_lost(fake, of_fake, batch, "discriminator")
            loss = loss * (self.discriminator_share / replicas) + own_losses(self.networks["discriminator"])
        self.minimize(loss, tape, "discriminator")
        self.after_discriminator()
        return {"discriminator_loss": loss, **self.judgement(self.logits(of_real), self.logits(of_fake))}

    def _generator_update(self, batch: tuple, replicas: int) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            made = self.make(batch)
            judged, of_real = self.judge(made, batch), None
            if self.objective == "relativistic":
                of_real = self.logits(self.judge(self.real(batch), batch))
            loss = generator_loss(self.logits(judged), self.objective, of_real)
            loss += self.also_lost(made, judged, batch, "generator")
            loss = loss / replicas + own_losses(self.networks["generator"])
        self.minimize(loss, tape, "generator")
        return {"generator_loss": loss}

    def after_discriminator(self) -> None:
        """Changes the discriminator after its update; here nothing."""

    def _follow(self) -> None:
        """Moves the averaged copy of the generator towards it."""
        self.steps_made.assign_add(1)
        if self.averaged is None:
            return
        count = ops.cast(self.steps_made, "float32")
        decay = ops.minimum(self.decay, count / (count + 10.0))  # of few steps the mean would be mostly the start
        for mean, weight in zip(self.averaged.weights, self.networks["generator"].weights, strict=True):
            is_float = "float" in weight.dtype
            mean.assign(decay * mean + (1.0 - decay) * weight if is_float else weight)

    # Samples

    @property
    def sampler(self) -> keras.Model:
        """The network that samples come from: the averaged copy of the generator, or else the generator."""
        return self.networks["generator"] if self.averaged is None else self.averaged

    def sample(self, count: int, *, seed: int = 0, batch_size: int = 64) -> np.ndarray:
        """Returns examples made of fresh noise.

        Args:
            count: number of examples.
            seed: seed of the noise.
            batch_size: examples made at once.

        Returns:
            (count, ...) floats.

        Raises:
            ArgumentError: count or batch_size is below 1.
        """
        noise = np.random.default_rng(seed).normal(size=(checks.at_least("count", count, 1), self.latent))
        return answers(self.sampler, noise.astype("float32"), batch_size)


def answers(network: keras.Model, inputs: Any, batch_size: int) -> np.ndarray:
    """Returns the outputs of a network on arrays, a batch at a time.

    Raises:
        ArgumentError: batch_size is below 1.
    """
    checks.at_least("batch_size", batch_size, 1)
    return network.predict(inputs, batch_size=batch_size, verbose=0)


def parts_of(batch: Any, count: int) -> list[Any]:
    """Returns a batch in `count` parts of nearly equal size, each of one row or more."""
    if count == 1:
        return [batch]
    size = tf.cast(rows_in(batch), tf.int32)
    lows = [number * size // count for number in range(count)]
    highs = [tf.maximum((number + 1) * size // count, low + 1) for number, low in enumerate(lows)]
    return [
        tf.nest.map_structure(lambda whole, low=low, high=high: None if whole is None else whole[low:high], batch)
        for low, high in zip(lows, highs, strict=True)
    ]


def refuse_moments(discriminator: keras.Model) -> None:
    """Refuses a discriminator with norms whose gradient penalty would be wrong: batch, group, instance and layer norms.

    Under a batch norm no gradient belongs to one example. The others take `tf.nn.moments`, which holds the mean
    constant inside the variance: first derivatives are right, second ones are not.

    Raises:
        ArgumentError: a layer is such a norm.
    """
    for layer in discriminator.layers:
        if isinstance(layer, MOMENTS):
            hint = "Take RMSNormalization or none: dcgan_discriminator has normalization='none' and 'spectral'."
            checks.refuse(
                "a gradient penalty needs a discriminator without batch, group, instance or layer norms",
                layer.name,
                hint,
            )


def _frozen_copy(network: keras.Model) -> keras.Model:
    """Returns a copy of a network with the same weights, which no optimizer changes."""
    copy = copied(network)
    copy.trainable = False
    return copy


def _specs(tensors: Any) -> Any:
    leaves = [keras.KerasTensor(each.shape, each.dtype) for each in tensors]
    return leaves[0] if len(leaves) == 1 else tuple(leaves)
