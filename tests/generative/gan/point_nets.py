"""Small networks of points in the plane, and settings, for the tests of adversaries."""

import keras

from kerasdl.generative import GAN, eight_gaussians
from kerasdl.train import RunConfig

LATENT = 4


def mlp(inputs, outputs, name, width=16, layers=2):
    """A perceptron without batch norms."""
    x = tensor = keras.Input((inputs,))
    for number in range(layers):
        x = keras.layers.Dense(width, activation="leaky_relu", name=f"hidden{number + 1}")(x)
    return keras.Model(tensor, keras.layers.Dense(outputs, name="head")(x), name=name)


def pair(width=16, layers=2, seed=0):
    """A generator and a discriminator."""
    keras.utils.set_random_seed(seed)
    return mlp(LATENT, 2, "generator", width, layers), mlp(2, 1, "discriminator", width, layers)


def compiled(trainer, rate=1e-3, optimizer="adam"):
    """The trainer, with an optimizer for each network."""
    each = {"identifier": {"class_name": optimizer, "config": {"learning_rate": rate}}}
    trainer.compile({role: keras.optimizers.get(**each) for role in trainer.networks})
    return trainer


def gan(kind=GAN, rate=1e-3, optimizer="adam", **settings):
    """A compiled trainer of points."""
    return compiled(kind(*pair(), **settings), rate, optimizer)


def points(count=96):
    return eight_gaussians(count, seed=0)


def config(**settings):
    return RunConfig(**{"epochs": 2, "batch_size": 32, "progress": "off", **settings})
