"""The GAN and the VAE of Keras's own guides, written as a user has them, train under `fit` as they are."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from kerasdl.core.errors import ArgumentError
from kerasdl.train import RunConfig, fit

WIDTH, LATENT = 6, 3


class GAN(keras.Model):
    """Two networks, two optimizers that a compile of its own takes, no call."""

    def __init__(self, discriminator, generator, latent_dim):
        super().__init__()
        self.discriminator = discriminator
        self.generator = generator
        self.latent_dim = latent_dim
        self.seed_generator = keras.random.SeedGenerator(1337)

    def compile(self, d_optimizer, g_optimizer, loss_fn):
        super().compile()
        self.d_optimizer = d_optimizer
        self.g_optimizer = g_optimizer
        self.loss_fn = loss_fn
        self.d_loss_metric = keras.metrics.Mean(name="d_loss")
        self.g_loss_metric = keras.metrics.Mean(name="g_loss")

    @property
    def metrics(self):
        return [self.d_loss_metric, self.g_loss_metric]

    def train_step(self, real):
        if isinstance(real, tuple):
            real = real[0]
        batch_size = ops.shape(real)[0]
        latent = keras.random.normal((batch_size, self.latent_dim), seed=self.seed_generator)
        made = self.generator(latent)
        both = ops.concatenate([made, real], axis=0)
        labels = ops.concatenate([ops.ones((batch_size, 1)), ops.zeros((batch_size, 1))], axis=0)
        labels += 0.05 * tf.random.stateless_uniform(tf.shape(labels), (1, 2))
        with tf.GradientTape() as tape:
            d_loss = self.loss_fn(labels, self.discriminator(both))
        grads = tape.gradient(d_loss, self.discriminator.trainable_weights)
        self.d_optimizer.apply_gradients(zip(grads, self.discriminator.trainable_weights, strict=True))

        latent = keras.random.normal((batch_size, self.latent_dim), seed=self.seed_generator)
        with tf.GradientTape() as tape:
            g_loss = self.loss_fn(ops.zeros((batch_size, 1)), self.discriminator(self.generator(latent)))
        grads = tape.gradient(g_loss, self.generator.trainable_weights)
        self.g_optimizer.apply_gradients(zip(grads, self.generator.trainable_weights, strict=True))

        self.d_loss_metric.update_state(d_loss)
        self.g_loss_metric.update_state(g_loss)
        return {"d_loss": self.d_loss_metric.result(), "g_loss": self.g_loss_metric.result()}


class Sampling(keras.layers.Layer):
    """Draws from the distribution that the encoder describes."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(1337)

    def call(self, inputs):
        mean, log_var = inputs
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_var) * noise


class VAE(keras.Model):
    """Encoder and decoder, one optimizer, a step of its own on data without labels, no call."""

    def __init__(self, encoder, decoder, **kwargs):
        super().__init__(**kwargs)
        self.encoder = encoder
        self.decoder = decoder
        self.total_loss_tracker = keras.metrics.Mean(name="loss")
        self.reconstruction_loss_tracker = keras.metrics.Mean(name="reconstruction_loss")
        self.kl_loss_tracker = keras.metrics.Mean(name="kl_loss")

    @property
    def metrics(self):
        return [self.total_loss_tracker, self.reconstruction_loss_tracker, self.kl_loss_tracker]

    def train_step(self, data):
        with tf.GradientTape() as tape:
            mean, log_var, z = self.encoder(data)
            reconstruction_loss = ops.mean(WIDTH * keras.losses.binary_crossentropy(data, self.decoder(z)))
            kl_loss = -0.5 * (1 + log_var - ops.square(mean) - ops.exp(log_var))
            kl_loss = ops.mean(ops.sum(kl_loss, axis=1))
            total_loss = reconstruction_loss + kl_loss
        grads = tape.gradient(total_loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(grads, self.trainable_weights, strict=True))
        self.total_loss_tracker.update_state(total_loss)
        self.reconstruction_loss_tracker.update_state(reconstruction_loss)
        self.kl_loss_tracker.update_state(kl_loss)
        return {
            "loss": self.total_loss_tracker.result(),
            "reconstruction_loss": self.reconstruction_loss_tracker.result(),
            "kl_loss": self.kl_loss_tracker.result(),
        }


def mlp(name, inputs, outputs, activation=None):
    x = tensor = keras.Input((inputs,))
    x = keras.layers.Dense(16, activation="tanh", name=f"{name}_hidden")(x)
    return keras.Model(tensor, keras.layers.Dense(outputs, activation=activation, name=f"{name}_head")(x), name=name)


def gan():
    keras.utils.set_random_seed(5)
    model = GAN(mlp("discriminator", WIDTH, 1), mlp("generator", LATENT, WIDTH), LATENT)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), keras.optimizers.Adam(1e-2), loss)
    return model


def vae():
    keras.utils.set_random_seed(5)
    x = tensor = keras.Input((WIDTH,))
    x = keras.layers.Dense(16, activation="relu", name="encoder_hidden")(x)
    mean, log_var = keras.layers.Dense(LATENT, name="mean")(x), keras.layers.Dense(LATENT, name="log_var")(x)
    encoder = keras.Model(tensor, [mean, log_var, Sampling()([mean, log_var])], name="encoder")
    model = VAE(encoder, mlp("decoder", LATENT, WIDTH, activation="sigmoid"))
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    return model


def data(examples=48):
    return np.random.default_rng(0).uniform(0.3, 0.9, (examples, WIDTH)).astype("float32")


def settings(**more):
    return RunConfig(**{"epochs": 3, "batch_size": 8, "progress": "off", "strategy": None, **more})


class Break(keras.callbacks.Callback):
    """Breaks a run off after so many steps, as a crash would."""

    def __init__(self, step):
        super().__init__()
        self.steps = iter(range(1, step))

    def on_train_batch_end(self, batch, logs=None):
        if next(self.steps, None) is None:
            raise ZeroDivisionError


@pytest.mark.parametrize(
    ("made", "figures"),
    [(gan, {"d_loss", "g_loss"}), (vae, {"loss", "reconstruction_loss", "kl_loss", "learning_rate"})],
    ids=["gan", "vae"],
)
def test_fit_makes_the_steps_that_the_guide_makes(made, figures):
    model, by_hand, x = made(), made(), data()
    before = [weight.numpy() for weight in model.trainable_weights]
    run = fit(model, x, config=settings(shuffle=False))
    for _ in range(3):
        by_hand.reset_metrics()
        for start in range(0, len(x), 8):
            logs = by_hand.train_step(tf.constant(x[start : start + 8]))
    assert (run.model, run.trainer, set(run.history)) == (model, None, figures)
    for name, value in logs.items():
        assert run.history[name][-1] == pytest.approx(float(value), rel=1e-4), name
    for ours, theirs, old in zip(model.trainable_weights, by_hand.trainable_weights, before, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-4)
        assert np.any(ours.numpy() != old)


def test_each_optimizer_of_the_gan_is_built_for_its_own_network():
    model = gan()
    fit(model, data(), config=settings(epochs=1))
    assert [len(each.variables) for each in (model.d_optimizer, model.g_optimizer)] == [2 + 8, 2 + 8]


@pytest.mark.parametrize("made", [gan, vae])
def test_a_resumed_run_ends_with_the_same_weights(toy, tmp_path, made):
    def run(folder, step):
        callbacks, config = [Break(step)], settings(folder=tmp_path / folder, save_every=2)
        return fit(made(), data(), callbacks=callbacks, config=config)

    whole = run("whole", 99)
    with pytest.raises(ZeroDivisionError):
        run("broken", 10)
    again = run("broken", 99)
    assert again.resumed
    assert toy.digest(again.model) == toy.digest(whole.model)
    for name, values in whole.history.items():  # TensorFlow adds a metric's terms in an order that a trace may change
        np.testing.assert_allclose(again.history[name], values, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("made", [gan, vae])
def test_without_a_test_step_there_is_no_validation(made):
    with pytest.raises(ArgumentError, match="must have a test_step of its own to validate"):
        fit(made(), data(), validation=data(), config=settings())


def test_settings_that_its_optimizers_would_not_see_are_refused():
    config = settings(learning_rate=1e-3, clip_norm=1.0)
    with pytest.raises(ArgumentError, match=r"leave these settings out; got \['learning_rate', 'clip_norm'\]"):
        fit(gan(), data(), config=config)


def test_optimizers_that_are_not_built_are_refused_in_parts():
    with pytest.raises(ArgumentError, match="must be built for its own variables"):
        fit(gan(), data(), config=settings(accumulation=2))


def test_the_vae_in_parts_is_the_vae_as_a_whole():
    models = [vae(), vae()]
    for model in models:  # what is drawn belongs to the place in a batch: without it, parts are the whole
        model.encoder.get_layer("log_var").kernel.assign(tf.zeros((16, LATENT)))
        model.encoder.get_layer("log_var").bias.assign(tf.fill((LATENT,), -200.0))
        model.encoder.get_layer("log_var").trainable = False
    for model, parts in zip(models, (1, 2), strict=True):
        fit(model, data(), config=settings(epochs=1, accumulation=parts, shuffle=False))
    for ours, theirs in zip(*(model.trainable_weights for model in models), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-5)
