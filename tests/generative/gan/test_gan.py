"""`GAN`: its step against one by hand, parts of a batch, the averaged generator, resume, strategies, refusals."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from point_nets import LATENT, compiled, config, gan, mlp, pair, points

import kerasdl
from kerasdl.core.errors import ArgumentError
from kerasdl.generative import GAN, WGAN, WGANGP
from kerasdl.generative.gan.trainer import parts_of
from kerasdl.train import RunCallback, fit

ONE = tf.distribute.OneDeviceStrategy("/cpu:0")
RATE = 0.1


class Fixed(GAN):
    """Noise that the test knows."""

    def noise(self, count):
        return tf.ones((count, LATENT))


def linear(seed=0):
    keras.utils.set_random_seed(seed)
    return mlp(LATENT, 2, "generator", layers=0), mlp(2, 1, "discriminator", layers=0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("kind", [GAN, WGAN])
def test_regularizers_of_both_networks_are_learnt(kind):
    """Of weights alone, at rates that move nothing: the figures of the losses differ by the sums of squares."""
    figures = []
    for share in (None, keras.regularizers.L2(0.25)):
        networks = linear()
        for network in networks:
            network.layers[-1].kernel.regularizer = share
        trainer = compiled(kind(*networks), 0.0, "sgd")
        figures.append(trainer.train_step((tf.constant(points(8)),)))
    for role, network in zip(("generator", "discriminator"), networks, strict=True):
        added = float(figures[1][f"{role}_loss"] - figures[0][f"{role}_loss"])
        squares = float((network.layers[-1].kernel.numpy() ** 2).sum())
        assert added == pytest.approx(0.25 * squares, rel=1e-3)


def test_a_step_is_algorithm_1_by_hand():
    """Linear networks under SGD: the discriminator's update first, the generator's against the new discriminator."""
    trainer = compiled(Fixed(*linear()), RATE, "sgd")
    generator, judge = trainer.networks.values()
    (w, b), (v, c) = generator.get_weights(), judge.get_weights()
    x, made = points(8), np.ones((8, LATENT)) @ w + b
    error_real, error_fake = sigmoid(x @ v + c) - 1, sigmoid(made @ v + c)
    new_v = v - RATE * (x.T @ error_real + made.T @ error_fake) / 8
    new_c = c - RATE * (error_real.mean(0) + error_fake.mean(0))
    slope = (sigmoid(made @ new_v + new_c) - 1) @ new_v.T / 8
    figures = trainer.train_step((tf.constant(x),))
    np.testing.assert_allclose(judge.get_weights()[0], new_v, atol=1e-6)
    np.testing.assert_allclose(judge.get_weights()[1], new_c, atol=1e-6)
    np.testing.assert_allclose(generator.get_weights()[0], w - RATE * np.ones((LATENT, 8)) @ slope, atol=1e-6)
    np.testing.assert_allclose(generator.get_weights()[1], b - RATE * slope.sum(0), atol=1e-6)
    expected = -np.log(sigmoid(x @ v + c)).mean() - np.log(1 - sigmoid(made @ v + c)).mean()
    np.testing.assert_allclose(figures["discriminator_loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(figures["generator_loss"], -np.log(sigmoid(made @ new_v + new_c)).mean(), rtol=1e-5)
    np.testing.assert_allclose(figures["real_accuracy"], np.mean(x @ v + c > 0), rtol=1e-6)
    np.testing.assert_allclose(figures["fake_accuracy"], np.mean(made @ v + c < 0), rtol=1e-6)


def test_penalties_of_a_linear_discriminator_have_closed_forms():
    generator, judge = linear()
    x, v = points(8), judge.get_weights()[0]
    fake = tf.constant(points(16)[8:])
    squared = float(np.sum(v**2))
    for settings, expected in (({"r1": 3.0}, 1.5), ({"r2": 5.0}, 2.5), ({"r1": 1.0, "r2": 1.0}, 1.0), ({}, 0.0)):
        found = GAN(generator, judge, **settings).penalty(tf.constant(x), fake, (x, None))
        np.testing.assert_allclose(found, expected * squared, rtol=1e-5)
    wgan = WGANGP(generator, judge, gradient_penalty=7.0)
    found = wgan.penalty(tf.constant(x), fake, (x, None))
    np.testing.assert_allclose(found, 7 * (np.sqrt(squared) - 1) ** 2, rtol=1e-5)
    judge.set_weights([np.zeros_like(each) for each in judge.get_weights()])  # no slope at all: a finite update
    compiled(wgan).train_step((tf.constant(x),))
    assert all(np.isfinite(each).all() for each in judge.get_weights())


def test_each_update_of_the_discriminator_takes_its_own_part():
    seen = []

    class Watched(GAN):
        def judge(self, examples, batch):
            seen.append(np.asarray(examples))
            return super().judge(examples, batch)

    trainer = compiled(Watched(*pair(), discriminator_steps=3))
    x = points(10)
    trainer.train_step((tf.constant(x),))
    real = [each for each in seen[:6:2]]
    assert [len(each) for each in seen] == [3, 3, 3, 3, 4, 4, 4]
    np.testing.assert_array_equal(np.concatenate(real), x)
    assert int(trainer.optimizers["discriminator"][0].iterations) == 3
    assert int(trainer.optimizers["generator"][0].iterations) == 1
    short = parts_of((tf.constant(x[:2]),), 3)  # fewer rows than parts: none is empty
    assert [len(part[0]) for part in short] == [1, 1, 1]


def test_a_clipped_critic_stays_within_the_bound():
    trainer = gan(WGAN, rate=0.5, optimizer="rmsprop", clip=0.02, discriminator_steps=2)
    figures = trainer.train_step((tf.constant(points(16)),))
    sizes = [np.abs(each).max() for each in trainer.networks["discriminator"].get_weights()]
    np.testing.assert_allclose(max(sizes), 0.02, rtol=1e-6)
    assert set(figures) == {"discriminator_loss", "generator_loss", "distance"}
    np.testing.assert_allclose(figures["distance"], -figures["discriminator_loss"], rtol=1e-5)


def test_the_averaged_generator_follows_by_its_decay():
    trainer = gan(rate=0.05, average=0.2)
    expected = trainer.networks["generator"].get_weights()
    for step in range(1, 4):
        trainer.train_step((tf.constant(points(8)),))
        decay = min(0.2, step / (step + 10))
        now = trainer.networks["generator"].get_weights()
        expected = [decay * mean + (1 - decay) * new for mean, new in zip(expected, now, strict=True)]
    for ours, theirs in zip(trainer.averaged.get_weights(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert trainer.sampler is trainer.averaged
    assert not np.allclose(trainer.sample(4), gan().sample(4))
    np.testing.assert_allclose(trainer.sample(4, seed=1), trainer.sample(4, seed=1, batch_size=3), atol=1e-5)
    assert len(trainer.trainable_variables) == 12


def test_batch_norms_are_averaged_with_their_statistics():
    names = ("dcgan_generator", "dcgan_discriminator")
    made = GAN(*(kerasdl.build(name, **kerasdl.spec(name).tiny) for name in names), average=0.9)
    trainer = compiled(made)
    trainer.train_step((tf.zeros((4, 16, 16, 3)),))
    pairs = zip(made.averaged.weights, made.networks["generator"].weights, strict=True)
    assert all(np.any(mean != 1) for mean, weight in pairs if "moving_variance" in weight.path)


class Break(RunCallback):
    def __init__(self, step):
        self.left = step

    def end_step(self, batch):
        self.left -= 1
        if not self.left:
            raise ZeroDivisionError
        return False


def digest(trainer):
    return [variable.numpy().tobytes() for variable in trainer.variables]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [GAN, WGANGP])
def test_a_resumed_run_ends_with_the_same_weights(kind, tmp_path):
    def run(folder, step):
        trainer = gan(kind, average=0.9, discriminator_steps=2)
        return fit(trainer, points(), callbacks=[Break(step)], config=config(folder=tmp_path / folder, save_every=2))

    whole = run("whole", 99)
    with pytest.raises(ZeroDivisionError):
        run("broken", 5)
    again = run("broken", 99)
    assert again.resumed
    assert digest(again.trainer) == digest(whole.trainer)
    assert again.model is again.trainer.networks["generator"]
    with pytest.raises(ArgumentError, match=r"trainer.discriminator_steps is 2 there, 1 here"):
        fit(gan(kind, average=0.9, discriminator_steps=1), points(), config=config(folder=tmp_path / "whole"))


@pytest.mark.slow
def test_under_a_strategy_it_learns_the_same():
    plain, moved = (gan(average=0.9, r1=0.1, loss="relativistic") for _ in range(2))
    first, second = (
        fit(each, points(), config=config(strategy=where)) for each, where in ((plain, "auto"), (moved, ONE))
    )
    for ours, theirs in zip(moved.variables, plain.variables, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-5, err_msg=ours.path)
    np.testing.assert_allclose(second.history["discriminator_loss"], first.history["discriminator_loss"], rtol=1e-4)


REFUSED = [
    (lambda: gan(loss="wgan"), "loss must be one of"),
    (lambda: gan(discriminator_steps=0), "discriminator_steps must be"),
    (lambda: gan(average=1.5), "average must be"),
    (lambda: gan(r1=-1.0), "r1 must be"),
    (lambda: gan(r1=float("nan")), "r1 must be"),
    (lambda: GAN(pair()[1], pair()[0]), "made examples must have the shape"),
    (lambda: WGANGP(pair()[0], normed()), "without batch, group, instance or layer norms; got 'norm'"),
    (lambda: GAN(pair()[0], normed(), r2=1.0), "without batch, group, instance or layer norms; got 'norm'"),
    (lambda: GAN(image_maker(), pair()[1]), r"must take noise \(B, D\) alone"),
    (lambda: fit(gan(), np.zeros((8, 3), "float32"), config=config()), "must have the shape and dtype"),
    (lambda: fit(gan(), (points(8), np.zeros(8), np.ones(8)), config=config()), "must come without weights"),
    (lambda: fit(gan(), points(), validation=points(), config=config()), "must have a test_step"),
    (lambda: fit(gan(), points(), config=config(accumulation=2)), "computes all gradients before the first"),
    (lambda: gan().sample(0), "count must be"),
]


def normed():
    x = tensor = keras.Input((2,))
    x = keras.layers.BatchNormalization(name="norm")(keras.layers.Dense(4)(x))
    return keras.Model(tensor, keras.layers.Dense(1)(x))


def image_maker():
    tensor = keras.Input((4, 4, 1))
    return keras.Model(tensor, keras.layers.Conv2D(2, 3)(tensor))


@pytest.mark.parametrize(("made", "said"), REFUSED, ids=[said[:30] for _, said in REFUSED])
def test_what_cannot_be_right_is_refused(made, said):
    with pytest.raises(ArgumentError, match=said):
        made()


def test_nan_in_the_data_stops_the_run():
    spoiled = points()
    spoiled[70] = np.nan
    with pytest.raises(kerasdl.errors.KerasdlError, match=r"(?i)nan|finite"):
        fit(gan(), spoiled, config=config())
