"""Trainers of the tests: a GAN and a VAE of a few weights, their data and settings."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.train import RunConfig, Trainer

ONE = tf.distribute.OneDeviceStrategy("/cpu:0")
WIDTH, LATENT = 6, 3


def mlp(name, inputs, outputs, activation=None, dropout=0.0):
    x = tensor = keras.Input((inputs,))
    x = keras.layers.Dense(8, activation="tanh", name=f"{name}_hidden")(x)
    x = keras.layers.Dropout(dropout, name=f"{name}_drop")(x) if dropout else x
    return keras.Model(tensor, keras.layers.Dense(outputs, activation=activation, name=f"{name}_head")(x), name=name)


class GAN(Trainer):
    def __init__(self, generator, discriminator, latent=LATENT):
        super().__init__({"generator": generator, "discriminator": discriminator})
        self.latent, self.seeds = latent, keras.random.SeedGenerator(3)
        self.entropy = keras.losses.BinaryCrossentropy(from_logits=True)

    def train_step(self, data):
        real, (generator, judge) = data[0], self.networks.values()
        noise = keras.random.normal((ops.shape(real)[0], self.latent), seed=self.seeds)
        ones = ops.ones((ops.shape(real)[0], 1))
        with tf.GradientTape() as tape:
            real_loss, made_loss = self.entropy(ones, judge(real)), self.entropy(0 * ones, judge(generator(noise)))
            d_loss = real_loss + made_loss
        self.minimize(d_loss, tape, "discriminator")
        with tf.GradientTape() as tape:
            g_loss = self.entropy(ones, judge(generator(noise, training=True)))
        self.minimize(g_loss, tape, "generator")
        return {"d_loss": d_loss, "g_loss": g_loss}


class VAE(Trainer):
    def __init__(self, encoder, decoder, beta=1.0):
        super().__init__({"decoder": decoder, "encoder": encoder})
        self.beta, self.seeds = beta, keras.random.SeedGenerator(3)
        self.kl = keras.metrics.Mean(name="kl")

    def call(self, x, training=None):
        mean, log_var = ops.split(self.networks["encoder"](x, training=training), 2, axis=-1)
        noise = keras.random.normal(ops.shape(mean), seed=self.seeds)
        return {"x": self.networks["decoder"](mean + ops.exp(log_var / 2) * noise), "mean": mean, "log_var": log_var}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        mean, log_var = y_pred["mean"], y_pred["log_var"]
        kl = ops.mean(ops.sum(ops.square(mean) + ops.exp(log_var) - 1 - log_var, axis=-1)) / 2
        self.kl.update_state(kl)
        return ops.mean(ops.square(y_pred["x"] - x)) + self.beta * kl


def gan(compiled=True, dropout=0.0, **settings):
    keras.utils.set_random_seed(5)
    trainer = GAN(mlp("generator", LATENT, WIDTH, dropout=dropout), mlp("discriminator", WIDTH, 1), **settings)
    if compiled:
        trainer.compile({"generator": keras.optimizers.Adam(2e-2), "discriminator": keras.optimizers.Adam(1e-2)})
    return trainer


def vae(beta=1e-3):
    keras.utils.set_random_seed(5)
    return VAE(mlp("encoder", WIDTH, 2 * LATENT), mlp("decoder", LATENT, WIDTH), beta=beta)


def data(examples=48):
    rng = np.random.default_rng(0)
    return rng.normal(0.6, 0.2, (examples, WIDTH)).astype("float32"), np.zeros(examples, "int32")


def settings(**more):
    return RunConfig(**{"epochs": 3, "batch_size": 8, "progress": "off", "strategy": None, **more})
