"""A GAN over points of a ring: two networks, inputs alone, a trainer with a step and two optimizers of its own."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import Task, checks
from kerasdl.train import Trainer

LATENT = 4


def generator():
    """Points of a ring from noise."""
    noise = keras.Input((LATENT,), name="noise")
    x = keras.layers.Dense(32, activation="relu", name="hidden1")(noise)
    x = keras.layers.Dense(32, activation="relu", name="hidden2")(x)
    return keras.Model(noise, keras.layers.Dense(2, dtype="float32", name="point")(x), name="generator")


def discriminator():
    """A judge of points: of the ring, or made."""
    point = keras.Input((2,), name="point")
    x = keras.layers.Dense(32, activation="leaky_relu", name="hidden1")(point)
    x = keras.layers.Dense(32, activation="leaky_relu", name="hidden2")(x)
    return keras.Model(point, keras.layers.Dense(1, dtype="float32", name="real")(x), name="discriminator")


def ring(count=512, seed=0):
    """Returns points (count, 2) near the circle of radius 2."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, count)
    return (rng.normal(2, 0.05, (count, 1)) * np.stack([np.cos(angle), np.sin(angle)], 1)).astype("float32")


def drawn_noise(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, LATENT)).astype("float32")


class GAN(Trainer):
    """Generator against discriminator: https://arxiv.org/abs/1406.2661, algorithm 1 with the loss of section 3."""

    def __init__(self, networks):
        super().__init__(networks)
        self.seeds = keras.random.SeedGenerator(1)
        self.entropy = keras.losses.BinaryCrossentropy(from_logits=True)

    def train_step(self, data):
        generator, judge = self.networks["model"], self.networks["discriminator"]
        ones = ops.ones((ops.shape(data)[0], 1))
        noise = keras.random.normal((ops.shape(data)[0], LATENT), seed=self.seeds)
        with tf.GradientTape() as tape:
            made, real = judge(generator(noise), training=True), judge(data, training=True)
            d_loss = (self.entropy(ones, real) + self.entropy(0 * ones, made)) / 2
        self.minimize(d_loss, tape, "discriminator")
        with tf.GradientTape() as tape:
            g_loss = self.entropy(ones, judge(generator(noise, training=True)))
        self.minimize(g_loss, tape, "model")
        return {"d_loss": d_loss, "g_loss": g_loss}


def trainer(networks):
    made = GAN(networks)
    made.compile({"model": keras.optimizers.Adam(2e-3, beta_1=0.5), "discriminator": keras.optimizers.Adam(2e-3, 0.5)})
    return made


def distance(networks, data):
    """Returns how far made points are from the ring, and how much of its directions they leave empty."""
    points = networks["model"].predict(drawn_noise(256, seed=5), verbose=0)
    sectors = np.histogram(np.arctan2(points[:, 1], points[:, 0]), 8, (-np.pi, np.pi))[0]
    return {"radius_error": np.abs(np.hypot(*points.T) - 2).mean(), "empty_sectors": float((sectors == 0).sum())}


def noise_of(raw, settings):
    rows = np.asarray(raw, "float32")
    if rows.ndim != 2 or rows.shape[1] != settings["latent"]:
        checks.refuse(f"raw must be rows of {settings['latent']} numbers", f"shape {rows.shape}")
    return rows, None


TASK = Task(
    name="toy_generation",
    module=__name__,
    loss=lambda: None,
    metrics=list,
    monitor=("radius_error", "min"),
    check=lambda settings, labels, model: checks.at_least("latent", settings.get("latent"), 1),
    preprocess=noise_of,
    preprocess_layers=lambda settings, shape: [],
    decode=lambda outputs, labels, context: [{"point": [float(each) for each in row]} for row in outputs],
    replace_head=None,
    example=lambda model, batch, seed: (drawn_noise(batch, seed), None),
    trainer_example=lambda model, batch, seed: ring(batch, seed),
    predict=lambda networks, inputs, batch_size: networks["model"].predict(inputs, batch_size=batch_size, verbose=0),
    trainer=trainer,
    figures=distance,
    summary="makes points of a ring from noise",
    limits="It makes points near its ring from any noise, and no others.",
)
