"""Trainer of CycleGAN: two styles of images without pairs, and the way back (https://arxiv.org/abs/1703.10593).

Deviations: transposed convolutions of the generator are aligned as Keras does, one pixel apart from PyTorch's. A batch
enters the history as a whole.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.core.data_fit import check_fits
from kerasdl.data.batching.sharding import rows_in
from kerasdl.data.model_fit import warn_of_raw_pixels
from kerasdl.data.trees import unpacked
from kerasdl.ops import discriminator_loss, generator_loss
from kerasdl.ops.adversarial import ADVERSARIAL_LOSSES
from kerasdl.train import Trainer
from kerasdl.train.trainer import own_losses

from .trainer import answers

ROLES = ("to_second", "to_first", "second_discriminator", "first_discriminator")


class CycleGAN(Trainer):
    """Trainer of two generators between two styles of images, each against a discriminator, without pairs.

    Data are (images of the first style, images of the second style), as many of each; that they stand side by side
    means nothing. An image that goes to the other style and back should be itself again.

    Figures: `generator_loss`, `discriminator_loss`, `cycle_loss` (the mean absolute error after both ways) and
    `identity_loss` (that of an image which has the style already).

    Source: https://arxiv.org/abs/1703.10593, equations 1 to 3, sections 4 and 5.2; history of images
    https://arxiv.org/abs/1612.07828, section 2.3.

    Args:
        to_second: generator from the first style to the second, such as `cyclegan_generator`.
        to_first: generator from the second style to the first.
        second_discriminator: from images of the second style to logits (B, ...).
        first_discriminator: from images of the first style to logits.
        cycle: weight of the mean absolute error after both ways.
        identity: weight, as a share of `cycle`, of the error of an image that has the style already; 0 for none, where
            both styles differ in channels.
        loss: as in `GAN`, but for `relativistic`.
        history: made images of each style that are kept, half of which stand for new ones before a discriminator;
            0 for none.
        seed: seed of the history's draws.

    Raises:
        ArgumentError: the networks do not fit each other, or an argument breaks its range.

    Example:
        >>> tiny = {name: kerasdl.spec(name).tiny for name in ("cyclegan_generator", "cyclegan_discriminator")}
        >>> tiny["cyclegan_generator"] = {**tiny["cyclegan_generator"], "image_shape": (32, 32, 3)}
        >>> nets = [kerasdl.build(name, **tiny[name]) for name in sorted(tiny, reverse=True) for _ in range(2)]
        >>> CycleGAN(*nets).translate(np.zeros((1, 32, 32, 3), "float32")).shape
        (1, 32, 32, 3)
    """

    def __init__(
        self,
        to_second: keras.Model,
        to_first: keras.Model,
        second_discriminator: keras.Model,
        first_discriminator: keras.Model,
        *,
        cycle: float = 10.0,
        identity: float = 0.5,
        loss: str = "least_squares",
        history: int = 50,
        seed: int = 0,
    ):
        networks = (to_second, to_first, second_discriminator, first_discriminator)
        if len(set(map(id, networks))) < len(networks):
            checks.refuse("the four networks of CycleGAN must be four", [each.name for each in networks])
        super().__init__(dict(zip(ROLES, networks, strict=True)))
        self.cycle, self.identity_share = (
            checks.within("cycle", cycle, 0.0, 1e6),
            checks.within("identity", identity, 0.0, 1e6),
        )
        known = [name for name in ADVERSARIAL_LOSSES if name != "relativistic"]
        self.objective = checks.one_of("loss", loss, known)
        self._check_networks()
        seeds = checks.at_least("seed", seed, 0)
        size = checks.at_least("history", history, 0)
        shapes = (self.networks["to_first"].output.shape[1:], self.networks["to_second"].output.shape[1:])
        self.histories = [History(shape, size, seeds + place) for place, shape in enumerate(shapes)]

    def _check_networks(self) -> None:
        nets = self.networks
        first, second = (nets[role].input for role in ("to_second", "to_first"))
        for role, given in (
            ("to_first", nets["to_second"].output),
            ("to_second", nets["to_first"].output),
            ("second_discriminator", nets["to_second"].output),
            ("first_discriminator", nets["to_first"].output),
        ):
            check_fits(nets[role], keras.KerasTensor(given.shape, given.dtype), name=f"images for {role}")
        if self.identity_share and first.shape[-1] != second.shape[-1]:
            checks.refuse("identity needs styles of as many channels", (first.shape[-1], second.shape[-1]), "Pass 0.")

    def check_data(self, data: Any) -> None:
        """Refuses data that are no images of two styles which the networks take.

        Raises:
            ArgumentError: the data do not fit.
        """
        first, second, weights = data.spec
        if second is None:
            checks.refuse("data of CycleGAN must be (images of the first style, images of the second)", data.name)
        check_fits(self.networks["to_second"], first, name=f"images of the first style in {data.name}")
        check_fits(self.networks["to_first"], second, name=f"images of the second style in {data.name}")
        if weights is not None:
            checks.refuse("data of adversaries must come without weights", data.name, "Repeat examples instead.")
        warn_of_raw_pixels(self.networks["to_second"], data)
        warn_of_raw_pixels(self.networks["to_first"], data, targets=True)

    def train_step(self, data):
        first, second, _ = unpacked(data)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync  # each gives its part of the means
        made_second, made_first, figures = self._generator_updates(first, second, replicas)
        total = 0.0
        pairs = (("second_discriminator", second, made_second, 1), ("first_discriminator", first, made_first, 0))
        for role, real, made, place in pairs:
            judge, seen = self.networks[role], self.histories[place].exchanged(tf.stop_gradient(made))
            with tf.GradientTape() as tape:
                loss = discriminator_loss(judge(real, training=True), judge(seen, training=True), self.objective)
                loss = loss / (2 * replicas) + own_losses(judge)  # half, which slows it
            self.minimize(loss, tape, role)
            total += loss
        return {**figures, "discriminator_loss": total}

    def _generator_updates(self, first: Any, second: Any, replicas: int) -> tuple[Any, Any, dict[str, tf.Tensor]]:
        """Updates both generators; returns what they made of both styles, and figures."""
        to_second, to_first, judge_second, judge_first = self.networks.values()
        with tf.GradientTape(persistent=True) as tape:
            made_second, made_first = to_second(first, training=True), to_first(second, training=True)
            deceived = sum(
                generator_loss(judge(made, training=True), self.objective)
                for judge, made in ((judge_second, made_second), (judge_first, made_first))
            )
            cycle = mean_error(to_first(made_second, training=True), first)
            cycle += mean_error(to_second(made_first, training=True), second)
            same = 0.0
            if self.identity_share:
                same = mean_error(to_second(second, training=True), second)
                same += mean_error(to_first(first, training=True), first)
            loss = deceived + self.cycle * (cycle + self.identity_share * same)
            loss = loss / replicas + own_losses(to_second) + own_losses(to_first)
        self.minimize(loss, tape, "to_second")
        self.minimize(loss, tape, "to_first")
        figures = {"generator_loss": loss, "cycle_loss": cycle / replicas}
        return made_second, made_first, figures | ({"identity_loss": same / replicas} if self.identity_share else {})

    def translate(self, images: Any, *, to: str = "second", batch_size: int = 8) -> np.ndarray:
        """Returns images in the other style.

        Args:
            images: (N, H, W, C), values from -1 to 1.
            to: the style to make, `second` or `first`.
            batch_size: images computed at once.

        Returns:
            (N, H, W, C) float32 from -1 to 1.

        Raises:
            ArgumentError: the images do not fit, there is no such style, or batch_size is below 1.
        """
        network = self.networks[f"to_{checks.one_of('to', to, ('second', 'first'))}"]
        check_fits(network, images, name="images")
        return answers(network, images, batch_size)


class History(keras.layers.Layer):
    """History of made images: a discriminator also sees older ones, which a generator may not forget.

    The first batches fill it. Then each image is, with probability 1/2, exchanged for an older one, which is returned
    in its place.

    Source: https://arxiv.org/abs/1612.07828, section 2.3; https://arxiv.org/abs/1703.10593, section 4.

    Args:
        shape: shape of an image.
        size: images that are kept; 0 for none.
        seed: seed of the draws.
    """

    def __init__(self, shape: tuple[int, ...], size: int, seed: int):
        super().__init__(trainable=False, name=f"history_{seed}")
        self.size, self.generator = size, keras.random.SeedGenerator(seed)
        self.built = True
        if size:
            settings = {"trainable": False, "aggregation": "only_first_replica"}
            self.images = self.add_weight((size, *shape), "zeros", name="images", **settings)
            self.filled = self.add_weight((), "zeros", dtype="int64", name="filled", **settings)

    def exchanged(self, images: tf.Tensor) -> tf.Tensor:
        """Returns images (B, ...), some of them older ones; keeps those that were exchanged.

        Of a batch above the size of the history, only the first images take part.
        """
        if not self.size:
            return images
        count = tf.minimum(tf.cast(rows_in(images), tf.int64), self.size)
        new, others = images[:count], images[count:]
        filled = tf.convert_to_tensor(self.filled)
        is_filling = filled < self.size
        order = ops.argsort(keras.random.uniform((self.size,), seed=self.generator))
        drawn = keras.random.uniform((count,), seed=self.generator) < 0.5
        next_ones = (filled + tf.range(count)) % self.size
        places = tf.where(is_filling, next_ones, tf.cast(order[:count], tf.int64))
        older = tf.cast(tf.gather(tf.convert_to_tensor(self.images), places), images.dtype)
        is_kept = tf.logical_or(is_filling, drawn)
        shape = (-1, *(1 for _ in images.shape[1:]))
        kept = tf.where(tf.reshape(is_kept, shape), new, older)
        self.images.assign(tf.tensor_scatter_nd_update(self.images, places[:, None], tf.cast(kept, self.images.dtype)))
        self.filled.assign(tf.minimum(filled + count, self.size))
        is_older = tf.logical_and(tf.logical_not(is_filling), drawn)
        return tf.concat([tf.where(tf.reshape(is_older, shape), older, new), others], axis=0)


def mean_error(fakes: Any, target: Any) -> tf.Tensor:
    """Returns the mean absolute error of made images."""
    return ops.mean(ops.abs(fakes - ops.cast(target, fakes.dtype)))
