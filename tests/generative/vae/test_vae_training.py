"""VAE: the bound of a linear-Gaussian network in closed form, its loss by hand, samples, collapse, refusals."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from exporting import export_as
from scipy.stats import multivariate_normal

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.data import load
from kerasdl.generative import VAE, ReconstructionTrainer, split_autoencoder
from kerasdl.layers import GaussianSample
from kerasdl.train import RunConfig, fit

SMALL = {"image_shape": (16, 16, 1), "filters": (4, 8), "code": 3}


def noise(count=4, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 16, 16, 1)).astype("float32")


def test_counts_are_sums_of_the_layers():
    encoder = (9 * 32 + 32) + (9 * 32 * 64 + 64) + 2 * (49 * 64 * 16 + 16)
    decoder = (16 * 49 * 64 + 49 * 64) + (9 * 64 * 64 + 64) + (9 * 64 * 32 + 32) + (9 * 32 + 1)
    assert kerasdl.spec("vae").params == encoder + decoder
    labels = 2 * 10 * 10 + 2 * 10 * 16 + 10 * 49 * 64
    assert kerasdl.spec("conditional_vae").params == encoder + decoder + labels


def linear_network(weights, bias, posterior_mean, posterior_log_variance):
    """Returns a network x = W z + b whose posterior of the given x has a mean and a variance."""
    image = keras.Input((1, 2, 2), name="image")
    flat = keras.layers.Flatten()(image)
    mean = keras.layers.Dense(2, name="mean")
    log_variance = keras.layers.Dense(2, name="log_variance")
    code = GaussianSample(0, name="code")([mean(flat), log_variance(flat)])
    out = keras.layers.Dense(4, name="pixels")
    network = keras.Model(image, keras.layers.Reshape((1, 2, 2))(out(code)))
    mean.set_weights([np.zeros((4, 2)), posterior_mean])
    log_variance.set_weights([np.zeros((4, 2)), posterior_log_variance])
    out.set_weights([weights.T, bias])
    return network


def test_bounds_of_a_linear_gaussian_network_equal_closed_forms():
    rng = np.random.default_rng(0)
    weights, bias, x, deviation = rng.normal(size=(4, 2)), rng.normal(size=4), rng.normal(size=4), 0.7
    covariance = np.linalg.inv(np.eye(2) + weights.T @ weights / deviation**2)
    exact = covariance @ weights.T @ (x - bias) / deviation**2
    evidence = multivariate_normal(bias, weights @ weights.T + deviation**2 * np.eye(4)).logpdf(x)
    mean, log_variance = exact + 0.2, np.log(np.diag(covariance)) + 0.1
    trainer = VAE(linear_network(weights, bias, mean, log_variance), deviation=deviation)
    inverse, variance = np.linalg.inv(covariance), np.exp(log_variance)
    gap = 0.5 * (np.trace(inverse @ np.diag(variance)) - 2 + 0.2**2 * inverse.sum())
    gap += 0.5 * (np.linalg.slogdet(covariance)[1] - log_variance.sum())
    images = np.tile(x.reshape(1, 1, 2, 2).astype("float32"), (1500, 1, 1, 1))
    elbo = trainer.log_evidence(images, samples=1, batch_size=1500)
    assert elbo.mean() == pytest.approx(evidence - gap, abs=4 * elbo.std() / 38)
    loss = -float(trainer.compute_loss(images, None, trainer(images, training=True)))
    assert loss == pytest.approx(evidence - gap, abs=4 * elbo.std() / 38)
    bounds = [trainer.log_evidence(images[:64], samples=k).mean() for k in (1, 60)]
    assert bounds[0] < bounds[1] <= evidence + 0.02
    assert bounds[1] == pytest.approx(evidence, abs=0.03)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_loss_is_its_parts(likelihood):
    network = kerasdl.build("vae", **SMALL, likelihood=likelihood, seed=0)
    x = noise()
    trainer = VAE(network, deviation=0.4)
    found = {name: np.asarray(value, np.float64) for name, value in trainer(x, training=True).items()}
    shares = (x + 1) / 2
    if likelihood == "bernoulli":
        p = 1 / (1 + np.exp(-found["output"]))
        density = shares * np.log(p) + (1 - shares) * np.log(1 - p)
        inside = network.get_layer("half_logits").output
        image = keras.Model(network.input, [inside, network.output])(x)
        np.testing.assert_allclose((image[1] + 1) / 2, tf.sigmoid(2 * image[0]), atol=1e-6)
    else:
        density = -0.5 * (np.log(2 * np.pi * 0.16) + np.square(x - found["output"]) / 0.16)
    mean, log_variance = found["mean"], found["log_variance"]
    each = 0.5 * (np.exp(log_variance) - 1 - log_variance + mean**2)
    error = -density.sum((1, 2, 3))
    as_given = {name: tf.constant(value, tf.float32) for name, value in found.items()}
    for settings, expected in (
        ({}, error + each.sum(1)),
        ({"beta": 4.0}, error + 4 * each.sum(1)),
        ({"free_bits": 0.2}, error + np.maximum(each.mean(0), 0.2).sum()),
    ):
        trainer = VAE(network, deviation=0.4, **settings)
        assert float(trainer.compute_loss(x, None, as_given)) == pytest.approx(expected.mean(), rel=1e-5)
    weights = np.array([2.0, 0.0, 1.0, 1.0], "float32")
    weighed = float(VAE(network, deviation=0.4).compute_loss(x, None, as_given, weights))
    assert weighed == pytest.approx(((error + each.sum(1)) * weights).mean(), rel=1e-5)


def test_annealing_raises_the_weight_to_beta_in_training_alone():
    trainer = VAE(kerasdl.build("vae", **SMALL), beta=2.0, anneal_steps=10)
    trainer.compile("sgd")
    x = noise()
    found = trainer(x)
    divergence = trainer.unit_divergences(x).sum()
    whole = float(trainer.compute_loss(x, None, found, training=False))
    losses = []
    for step in (0, 5, 10, 50):
        trainer.optimizer.iterations.assign(step)
        losses.append(float(trainer.compute_loss(x, None, found, training=True)))
        assert float(trainer.compute_loss(x, None, found, training=False)) == pytest.approx(whole, rel=1e-6)
    expected = [whole - 2 * divergence, whole - divergence, whole, whole]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_validation_draws_the_same_codes_and_answers_are_means():
    trainer = VAE(kerasdl.build("vae", **SMALL))
    x = noise()
    still = [np.asarray(trainer(x, training=False)["output"]) for _ in range(2)]
    assert np.array_equal(*still)
    moving = [np.asarray(trainer(x, training=True)["output"]) for _ in range(2)]
    assert not np.array_equal(*moving)
    np.testing.assert_allclose(trainer.encode(x), trainer.posterior(x)[0], atol=1e-6)
    np.testing.assert_allclose(trainer.decode(trainer.encode(x)), trainer.reconstruct(x), atol=1e-5)


def test_samples_follow_seed_temperature_and_class():
    trainer = VAE(kerasdl.build("conditional_vae", **SMALL, classes=3))
    first = trainer.sample(2, label=1, seed=4)
    assert first.shape == (2, 16, 16, 1)
    assert np.abs(first).max() <= 1
    assert np.array_equal(first, trainer.sample(2, label=1, seed=4))
    assert not np.allclose(first, trainer.sample(2, label=2, seed=4))
    still = trainer.sample(2, label=1, temperature=0.0)
    np.testing.assert_allclose(still[0], still[1], atol=1e-6)
    with pytest.raises(ArgumentError, match="label must be given"):
        trainer.sample(2)
    with pytest.raises(ArgumentError, match="label must be one of"):
        trainer.sample(2, label=3)
    with pytest.raises(ArgumentError, match="label must be given"):
        VAE(kerasdl.build("vae", **SMALL)).sample(2, label=0)
    with pytest.raises(ArgumentError, match=r"\['image', 'label'\]"):
        fit(trainer, noise(), config=RunConfig(steps=1, progress="off"))


@pytest.mark.bars
def test_a_conditional_network_learns_from_images_and_classes():
    trainer = VAE(kerasdl.build("conditional_vae", **SMALL, classes=3))
    data = {"image": noise(), "label": np.arange(4) % 3}
    run = fit(trainer, data, validation=data, config=RunConfig(epochs=1, strategy=None, progress="off"))
    assert {"loss", "reconstruction", "divergence", "val_loss"} <= set(run.history)
    assert trainer.log_evidence(data).shape == (4,)


def test_images_beyond_ink_are_refused_by_a_bernoulli_likelihood():
    once = RunConfig(steps=1, batch_size=4, strategy=None, progress="off")
    images = np.random.default_rng(0).uniform(-1, 1, (4, *kerasdl.build("vae", **SMALL).input_shape[1:]))
    images = 3.0 * images.astype("float32")
    trainer = VAE(kerasdl.build("vae", **SMALL))
    for use in (lambda: fit(trainer, images, config=once), lambda: trainer.log_evidence(images)):
        with pytest.raises(ArgumentError, match="Bernoulli likelihood must be from -1 to 1"):
            use()
    fit(VAE(kerasdl.build("vae", **SMALL, likelihood="gaussian")), images, config=once)


def test_networks_without_a_posterior_are_refused():
    with pytest.raises(ArgumentError, match="mean"):
        VAE(kerasdl.build("conv_autoencoder", **SMALL))
    for wrong in ({"beta": -1}, {"anneal_steps": -1}, {"free_bits": -1}, {"deviation": 0}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            VAE(kerasdl.build("vae", **SMALL), **wrong)


@pytest.mark.slow
def test_collapse_shows_and_free_bits_mend_it():
    images = load("mnist").take(256).arrays()[0]
    active = {}
    for name, settings in {"collapsed": {"beta": 40.0}, "mended": {"beta": 40.0, "free_bits": 1.0}}.items():
        keras.utils.set_random_seed(0)
        trainer = VAE(kerasdl.build("vae", filters=(4, 8), code=4, seed=0), **settings)
        config = RunConfig(epochs=20, batch_size=32, learning_rate=3e-3, strategy=None, progress="off")
        fit(trainer, images, config=config)
        active[name] = int(trainer.active(images).sum())
        divergences = trainer.unit_divergences(images)
    assert active["collapsed"] == 0
    assert active["mended"] >= 3
    assert divergences.min() > 0.3


@pytest.mark.slow
def test_a_vae_learns_digits_and_exports_both_halves(tmp_path):
    keras.utils.set_random_seed(0)
    train, test = load("mnist").take(1500).arrays()[0], load("mnist", "test").take(200).arrays()[0]
    trainer = VAE(kerasdl.build("vae", filters=(8, 16), code=8, seed=0))
    before = trainer.log_evidence(test).mean()
    config = RunConfig(epochs=16, batch_size=50, learning_rate=3e-3, strategy=None, progress="off")
    fit(trainer, train, config=config)
    after = trainer.log_evidence(test).mean()
    assert after > -150 > before  # of a mean image with independent pixels it is about -206
    assert trainer.log_evidence(test[:50], samples=16).mean() > trainer.log_evidence(test[:50]).mean()
    assert trainer.active(test).sum() >= 6
    encoder, decoder = split_autoencoder(trainer.main)
    for half, samples in ((encoder, test), (decoder, trainer.encode(test))):
        for kind in ("float32", "onnx"):
            folder = tmp_path / half.name / kind
            folder.mkdir(parents=True)
            assert export_as(half, folder, kind, samples).worst_relative < 1e-4


def test_errors_of_images_are_those_of_the_mean():
    trainer, x = VAE(kerasdl.build("vae", **SMALL)), noise()
    np.testing.assert_allclose(trainer.errors(x), ReconstructionTrainer(trainer.main).errors(x), rtol=1e-6)
