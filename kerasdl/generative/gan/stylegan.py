"""Trainer of StyleGAN2: R1, path lengths, style mixing, averaged generator (https://arxiv.org/abs/1912.04958).

Deviations: lengths of paths are taken on the whole batch, where the paper takes half of it.
"""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.data.batching.sharding import rows_in
from kerasdl.ops import squared_gradient_norms

from .trainer import GAN, answers

PATH_DECAY, STYLE_DECAY = 0.01, 0.005
"""Shares by which the mean path length and the mean style move in each step that measures them."""


class StyleGAN(GAN):
    """Trainer of a style-based generator against a discriminator, by the non-saturating loss.

    In a share of the steps the styles of the first and of the later layers come from different noise. Each `r1_every`
    steps the discriminator gets R1, and each `path_every` steps the generator a penalty on path lengths that differ
    from their mean, both times so many steps.

    Figures: those of `GAN`; `path_length`, the mean norm of the gradient of images by styles.

    Source: https://arxiv.org/abs/1912.04958, sections 3.1 and 3.2, appendix B; mixing and truncation
    https://arxiv.org/abs/1812.04948, section 3.1 and appendix B.

    Args:
        generator: as `stylegan2_generator` makes it, with a layer `styles`.
        discriminator: from images to logits (B, 1).
        r1: weight of R1, half of which counts.
        r1_every: steps from one R1 to the next.
        path: weight of path lengths; 0 for none.
        path_every: steps from one measurement of path lengths to the next.
        mixing: share of the steps with styles from two noises, from 0 to 1.
        average: as in `GAN`.
        seed: seed of the draws.

    Raises:
        ArgumentError: the networks do not fit each other, or an argument breaks its range.

    Example:
        >>> nets = ("stylegan2_generator", "stylegan2_discriminator")
        >>> gan = StyleGAN(*(kerasdl.build(name, **kerasdl.spec(name).tiny) for name in nets))
        >>> gan.sample(2, truncation=0.7).shape
        (2, 16, 16, 3)
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        *,
        r1: float = 1.0,
        r1_every: int = 16,
        path: float = 2.0,
        path_every: int = 4,
        mixing: float = 0.9,
        average: float | None = 0.999,
        seed: int = 0,
    ):
        super().__init__(generator, discriminator, r1=r1, average=average, seed=seed)
        self.r1_every = checks.at_least("r1_every", r1_every, 1)
        self.path_weight, self.path_every = (
            checks.within("path", path, 0.0, 1e6),
            checks.at_least("path_every", path_every, 1),
        )
        self.mixing = checks.within("mixing", mixing, 0.0, 1.0)
        settings = {"trainable": False, "dtype": "float32"}
        self.mean_path = self.add_weight((), "zeros", name="mean_path", **settings)
        self.mean_style = self.add_weight((styles_of(generator).shape[-1],), "zeros", name="mean_style", **settings)
        # Of a type that Keras does not track: the layers are those of the generator.
        self.parts = Parts(generator)
        self.averaged_parts = self.parts if self.averaged is None else Parts(self.averaged)

    def check_networks(self) -> None:
        super().check_networks()
        styles_of(self.networks["generator"])

    # Steps

    def make(self, batch):
        return self.parts.synthesis(self._mixed_styles(rows_in(batch)), training=True)

    def _mixed_styles(self, count: Any) -> tf.Tensor:
        """Returns styles (B, L, D), from a drawn layer on of other noise in a share of the steps."""
        first = self.parts.mapping(self.noise(count), training=True)  # (B, L, D)
        mean = ops.mean(ops.cast(first[:, 0], "float32"), axis=0)
        self.mean_style.assign(self.mean_style + STYLE_DECAY * (tf.stop_gradient(mean) - self.mean_style))
        if not self.mixing:
            return first
        second, layers = self.parts.mapping(self.noise(count), training=True), first.shape[1]
        draw = keras.random.uniform((2,), seed=self.seeds)
        cut = 1 + tf.cast(draw[0] * (layers - 1), tf.int32)
        cut = tf.where(draw[1] < self.mixing, cut, layers)
        return tf.where(tf.range(layers)[None, :, None] < cut, first, second)

    def penalty(self, real, fake, batch):
        if not self.r1:
            return 0.0

        def logits(examples):
            return self.judge(examples, batch)

        def r1():
            return self.r1_every * self.r1 / 2 * ops.mean(squared_gradient_norms(logits, real))

        return self._each(self.r1_every, r1)

    def also_lost(self, fakes, judged, batch, role):
        if role != "generator" or not self.path_weight:
            return 0.0
        return self._each(self.path_every, lambda: self._path_penalty(rows_in(batch)))

    def _each(self, steps: int, function: Any) -> tf.Tensor:
        """Returns what a function gives in each so many steps, and 0 in others."""
        if steps == 1:
            return function()
        return tf.cond(self.steps_made % steps == 0, function, lambda: tf.constant(0.0))

    def _path_penalty(self, count: Any) -> tf.Tensor:
        styles = self._mixed_styles(count)
        lengths = path_lengths(
            lambda each: self.parts.synthesis(each, training=True), styles, self._picture_noise(count)
        )
        mean = self.mean_path + PATH_DECAY * (ops.mean(lengths) - self.mean_path)
        self.mean_path.assign(tf.stop_gradient(mean))
        return self.path_every * self.path_weight * ops.mean(ops.square(lengths - mean))

    def _picture_noise(self, count: Any) -> tf.Tensor:
        return keras.random.normal((count, *self.networks["generator"].output.shape[1:]), seed=self.seeds)

    def judgement(self, real, fake):
        return {**super().judgement(real, fake), "path_length": tf.convert_to_tensor(self.mean_path)}

    # Samples

    def sample(self, count: int, *, seed: int = 0, batch_size: int = 64, truncation: float = 1.0) -> np.ndarray:
        """Returns images of fresh noise.

        Args:
            count: number of images.
            seed: seed of the noise.
            batch_size: images made at once.
            truncation: distance of styles from their mean, from 0 (one image) to 1 (all variety).

        Returns:
            (count, H, H, C) floats.

        Raises:
            ArgumentError: an argument breaks its range.
        """
        checks.within("truncation", truncation, 0.0, 1.0)
        return answers(self.averaged_parts.synthesis, self._styles(count, seed, batch_size, truncation), batch_size)

    def mix(self, coarse: int, fine: int, *, layer: int, count: int = 8, batch_size: int = 64) -> np.ndarray:
        """Returns images whose first layers have the styles of one noise, and the later ones those of another.

        Args:
            coarse: seed of the noise of the first layers.
            fine: seed of the noise of the others.
            layer: first layer of the second noise, from 0 to L.
            count: number of images.
            batch_size: images made at once.

        Returns:
            (count, H, H, C) floats.

        Raises:
            ArgumentError: an argument breaks its range.
        """
        first, second = (self._styles(count, seed, batch_size, 1.0) for seed in (coarse, fine))
        cut = int(checks.within("layer", layer, 0, first.shape[1]))
        styles = np.concatenate([first[:, :cut], second[:, cut:]], axis=1)
        return answers(self.averaged_parts.synthesis, styles, batch_size)

    def _styles(self, count: int, seed: int, batch_size: int, truncation: float) -> np.ndarray:
        noise = np.random.default_rng(seed).normal(size=(checks.at_least("count", count, 1), self.latent))
        styles = answers(self.averaged_parts.mapping, noise.astype("float32"), batch_size)
        mean = ops.convert_to_numpy(self.mean_style)
        return (mean + truncation * (styles - mean)).astype("float32")


class Parts:
    """The two parts of a style-based generator over its own layers: noise to styles, and styles to images.

    Args:
        generator: a model with a layer `styles`.
    """

    def __init__(self, generator: keras.Model):
        styles = styles_of(generator)
        self.mapping = keras.Model(generator.input, styles, name="mapping")
        self.synthesis = keras.Model(styles, generator.output, name="synthesis")


def path_lengths(synthesis: Any, styles: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Returns how far images move with their styles: the norm of the gradient of images times noise.

    Args:
        synthesis: function from styles (B, L, D) to images (B, H, W, C).
        styles: (B, L, D).
        noise: (B, H, W, C), normal.

    Returns:
        (B,) float32: the root of the mean over layers of the squared norms.
    """
    with tf.GradientTape() as tape:
        tape.watch(styles)
        images = synthesis(styles)
        size = math.sqrt(images.shape[1] * images.shape[2])
        total = tf.reduce_sum(images * tf.cast(noise, images.dtype)) / size
    gradient = tf.cast(tape.gradient(total, styles), tf.float32)
    return tf.sqrt(tf.reduce_mean(tf.reduce_sum(tf.square(gradient), axis=-1), axis=-1) + 1e-12)


def styles_of(generator: keras.Model) -> keras.KerasTensor:
    """Returns the tensor (B, L, D) of the styles of a generator.

    Raises:
        ArgumentError: it has no layer `styles`.
    """
    names = [layer.name for layer in generator.layers]
    if "styles" not in names:
        checks.refuse(
            "a style-based generator must have a layer named styles", generator.name, "Build stylegan2_generator."
        )
    return generator.get_layer("styles").output
