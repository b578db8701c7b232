"""Denoising autoencoder: trainer that adds noise to images and asks for the clean ones back.

Source: Vincent 2008, https://doi.org/10.1145/1390156.1390294; more noises: Vincent 2010,
https://jmlr.org/papers/v11/vincent10a.html.
"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.train.trainer import step_seed

from .reconstruction import ReconstructionTrainer

NOISES = ("gaussian", "masking", "salt_pepper")
LOW, HIGH = -1.0, 1.0
"""Values of black and white."""


class DenoisingTrainer(ReconstructionTrainer):
    """Trainer of a denoiser: images get noise, new in each step, and the network learns the clean ones.

    Noise is added in training and in validation, where it stays the same; `reconstruct`, `encode` and `errors` take
    images as they are.

    Source: https://doi.org/10.1145/1390156.1390294, section 2.3.

    Args:
        network: as of `ReconstructionTrainer`; `kerasdl.build("conv_autoencoder", code=None)` keeps most detail.
        noise: `gaussian` adds draws of that deviation, `masking` sets pixels to black, `salt_pepper` to black or white.
        amount: deviation in the unit of pixels (black is -1, white 1), above 0; or the share of pixels, above 0 and
            below 1.
        seed: seed of the noise.

    Raises:
        ArgumentError: the network has another form, or an argument breaks its range.

    Example:
        >>> trainer = DenoisingTrainer(kerasdl.build("conv_autoencoder", code=None), amount=0.5)
        >>> config = kerasdl.train.RunConfig(epochs=1, progress="off")
        >>> run = kerasdl.train.fit(trainer, images[:, :28, :28, :1], config=config)
        >>> run.model is trainer.main
        True
    """

    def __init__(
        self,
        network: keras.Model | Mapping[str, keras.Model],
        *,
        noise: str = "gaussian",
        amount: float = 0.5,
        seed: int = 0,
    ):
        super().__init__(network)
        self.noise = checks.one_of("noise", noise, NOISES)
        self.amount = checks.within("amount", amount, 1e-6, 1e3 if noise == "gaussian" else 1 - 1e-6)
        self.seeds = keras.random.SeedGenerator(checks.at_least("seed", seed, 0))

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Returns `output` and `code` of images with noise.

        Args:
            inputs: images (B, H, W, C).
            training: whether the noise is new.
        """
        seed = step_seed(self.seeds, training)
        return super().call(noisy_images(inputs, seed, noise=self.noise, amount=self.amount), training=training)


def noisy_images(images: Any, seed: Any, *, noise: str = "gaussian", amount: float = 0.5) -> tf.Tensor:
    """Returns images with noise, as `DenoisingTrainer` adds it.

    Args:
        images: (B, H, W, C) floats, values from -1 to 1.
        seed: int32 (2,); equal seeds give equal noise.
        noise: as there; all channels of a pixel are set alike.
        amount: as there.

    Returns:
        (B, H, W, C) of the images' dtype; Gaussian noise leaves the range of the pixels.

    Raises:
        ArgumentError: the noise is unknown.

    Example:
        >>> x = noisy_images(tf.zeros((1, 8, 8, 1)), (0, 1), noise="salt_pepper", amount=0.5)
        >>> sorted(set(x.numpy().ravel().tolist()))
        [-1.0, 0.0, 1.0]
    """
    checks.one_of("noise", noise, NOISES)
    images = tf.convert_to_tensor(images)
    shape = tf.shape(images)
    if noise == "gaussian":
        return images + amount * tf.random.stateless_normal(shape, seed, dtype=images.dtype)
    drawn = tf.random.stateless_uniform([*tf.unstack(shape[:-1]), 1], seed, dtype=images.dtype)
    white = drawn < amount / 2 if noise == "salt_pepper" else tf.zeros_like(drawn, tf.bool)
    values = tf.where(white, tf.constant(HIGH, images.dtype), tf.constant(LOW, images.dtype))
    return tf.where(drawn < amount, values, images)
