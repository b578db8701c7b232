"""Wasserstein GANs: critics that estimate a distance, by clipping https://arxiv.org/abs/1701.07875 or gradient penalty.

The penalty is that of https://arxiv.org/abs/1704.00028.
"""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.data.batching.sharding import rows_in
from kerasdl.ops import squared_gradient_norms

from .trainer import GAN, refuse_moments

STEPS = 5
"""Updates of the critic for one of the generator, as in both papers."""


class WGAN(GAN):
    """Trainer of a Wasserstein GAN whose critic is kept Lipschitz by clipping its weights.

    Figures: `discriminator_loss`, `generator_loss`, and `distance`, the estimate of the Wasserstein distance up to a
    factor, which falls as samples improve.

    Source: https://arxiv.org/abs/1701.07875, algorithm 1.

    Args:
        generator: from noise (B, D) to examples.
        discriminator: the critic, from examples to numbers (B, 1) of any size.
        clip: bound of every weight of the critic, above 0.
        discriminator_steps: updates of the critic for one of the generator; each takes another part of the batch.
        average: as in `GAN`.
        seed: seed of the noise.

    Raises:
        ArgumentError: the networks do not fit each other, or an argument breaks its range.

    Example:
        >>> wgan = WGAN(kerasdl.build("dcgan_generator", **kerasdl.spec("dcgan_generator").tiny),
        ...             kerasdl.build("dcgan_discriminator", **kerasdl.spec("dcgan_discriminator").tiny))
        >>> wgan.compile({"generator": "rmsprop", "discriminator": "rmsprop"})
        >>> sorted(wgan.optimizers)
        ['discriminator', 'generator']
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        *,
        clip: float = 0.01,
        discriminator_steps: int = STEPS,
        average: float | None = None,
        seed: int = 0,
    ):
        settings = {"discriminator_steps": discriminator_steps, "average": average, "seed": seed}
        super().__init__(generator, discriminator, loss="wasserstein", **settings)
        self.clip = checks.within("clip", clip, 1e-9, 1e6)

    def after_discriminator(self) -> None:
        for weight in self.networks["discriminator"].trainable_variables:
            weight.assign(ops.clip(weight, -self.clip, self.clip))

    def judgement(self, real: tf.Tensor, fake: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"distance": ops.mean(real) - ops.mean(fake)}


class WGANGP(GAN):
    """Trainer of a Wasserstein GAN whose critic is kept Lipschitz by a penalty on its gradients.

    The penalty is weight * (|gradient| - 1)^2, at random points of the straight lines from real to made examples.

    Figures: those of `WGAN`.

    Source: https://arxiv.org/abs/1704.00028, algorithm 1.

    Args:
        generator: from noise (B, D) to examples.
        discriminator: critic without norms by moments (all but RMS), from examples to numbers (B, 1) of any size.
        gradient_penalty: weight of the penalty.
        discriminator_steps: updates of the critic for one of the generator; each takes another part of the batch.
        average: as in `GAN`.
        seed: seed of the noise and of the points.

    Raises:
        ArgumentError: the networks do not fit each other, the critic has such a norm, or an argument breaks its range.

    Example:
        >>> critic = kerasdl.build("dcgan_discriminator", **kerasdl.spec("dcgan_discriminator").tiny,
        ...                        normalization="none")
        >>> wgan = WGANGP(kerasdl.build("dcgan_generator", **kerasdl.spec("dcgan_generator").tiny), critic)
        >>> wgan.compile({role: keras.optimizers.Adam(1e-4, 0.0, 0.9) for role in wgan.networks})
        >>> wgan.discriminator_steps
        5
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        *,
        gradient_penalty: float = 10.0,
        discriminator_steps: int = STEPS,
        average: float | None = None,
        seed: int = 0,
    ):
        settings = {"discriminator_steps": discriminator_steps, "average": average, "seed": seed}
        super().__init__(generator, discriminator, loss="wasserstein", **settings)
        self.gradient_penalty = checks.within("gradient_penalty", gradient_penalty, 0.0, 1e6)
        refuse_moments(discriminator)

    def penalty(self, real: Any, fake: Any, batch: tuple) -> tf.Tensor:
        shape = (rows_in(real), *(1 for _ in real.shape[1:]))
        share = keras.random.uniform(shape, dtype=fake.dtype, seed=self.seeds)

        def critic(examples):
            return self.logits(self.judge(examples, batch))

        between = share * ops.cast(real, fake.dtype) + (1.0 - share) * fake
        norms = ops.sqrt(squared_gradient_norms(critic, between) + 1e-12)  # the root alone has no slope at 0
        return self.gradient_penalty * ops.mean(ops.square(norms - 1.0))

    def judgement(self, real: tf.Tensor, fake: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"distance": ops.mean(real) - ops.mean(fake)}
