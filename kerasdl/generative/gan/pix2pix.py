"""Trainer of pix2pix: images to images from pairs (https://arxiv.org/abs/1611.07004).

Deviations: dropout acts in training alone, so that an image has one answer.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.core.data_fit import check_fits
from kerasdl.data.model_fit import warn_of_raw_pixels

from .trainer import GAN, answers


class Pix2Pix(GAN):
    """Trainer of a generator from images to images on pairs: it deceives a discriminator and stays near the target.

    Data are pairs, (given images, target images). The discriminator judges an image beside the given one; half of its
    loss counts, which slows it.

    Figures: those of `GAN`.

    Source: https://arxiv.org/abs/1611.07004, equation 4 and section 3.3.

    Args:
        generator: from images to images, such as `pix2pix_generator`.
        discriminator: from `{"given", "image"}` to logits (B, ...), such as `patch_discriminator`.
        distance: weight of the mean absolute error.
        loss: as in `GAN`.
        average: as in `GAN`.
        seed: seed of the trainer's draws, of which this loss has none.

    Raises:
        ArgumentError: the networks do not fit each other, or an argument breaks its range.

    Example:
        >>> nets = ("pix2pix_generator", "patch_discriminator")
        >>> small = {"image_shape": (32, 32, 3), "filters": (4, 8, 8)}
        >>> pix2pix = Pix2Pix(*(kerasdl.build(name, **small) for name in nets))
        >>> pix2pix.translate(np.zeros((2, 32, 32, 3), "float32")).shape
        (2, 32, 32, 3)
    """

    discriminator_share = 0.5

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        *,
        distance: float = 100.0,
        loss: str = "non_saturating",
        average: float | None = None,
        seed: int = 0,
    ):
        self.distance = checks.within("distance", distance, 0.0, 1e6)
        super().__init__(generator, discriminator, loss=loss, average=average, seed=seed)

    def check_networks(self) -> None:
        generator, judge = self.networks["generator"], self.networks["discriminator"]
        if not isinstance(judge.input, dict) or set(judge.input) != {"given", "image"}:
            checks.refuse("a discriminator of pairs must take given and image", [each.name for each in judge.inputs])
        check_fits(judge, {"given": _spec(generator.input), "image": _spec(generator.output)}, name="made pairs")

    def check_data(self, data: Any) -> None:
        """Refuses data that are no pairs of images which the networks take.

        Raises:
            ArgumentError: the data do not fit.
        """
        given, target, weights = data.spec
        if target is None:
            checks.refuse("data of pix2pix must be pairs (given images, target images)", data.name)
        check_fits(self.networks["discriminator"], {"given": given, "image": target}, name=data.name)
        if weights is not None:
            checks.refuse("data of adversaries must come without weights", data.name, "Repeat examples instead.")
        warn_of_raw_pixels(self.networks["generator"], data)
        warn_of_raw_pixels(self.networks["generator"], data, targets=True)

    def real(self, batch):
        return batch[1]

    def make(self, batch):
        return self.networks["generator"](batch[0], training=True)

    def judge(self, examples, batch):
        return self.networks["discriminator"]({"given": batch[0], "image": examples}, training=True)

    def also_lost(self, fakes, judged, batch, role):
        if role == "discriminator":
            return 0.0
        return self.distance * ops.mean(ops.abs(fakes - ops.cast(batch[1], fakes.dtype)))

    def sample(self, count: int, *, seed: int = 0, batch_size: int = 64) -> np.ndarray:
        """Refuses to sample, since images come from images.

        Raises:
            ArgumentError: always.
        """
        checks.refuse("pix2pix makes images from images", "sample", "Call translate(images).")

    def translate(self, images: Any, *, batch_size: int = 8) -> np.ndarray:
        """Returns what the generator makes of images.

        Args:
            images: (N, H, W, C), values from -1 to 1.
            batch_size: images computed at once.

        Returns:
            (N, H, W, channels) float32 from -1 to 1.

        Raises:
            ArgumentError: the images do not fit, or batch_size is below 1.
        """
        check_fits(self.sampler, images, name="images")
        return answers(self.sampler, images, batch_size)


def _spec(tensor: tf.Tensor) -> keras.KerasTensor:
    return keras.KerasTensor(tensor.shape, tensor.dtype)
