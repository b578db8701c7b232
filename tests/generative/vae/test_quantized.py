"""VQ-VAE and FSQ: counts, loss by hand, whole numbers and back, a codebook in use, refusals."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.data import load
from kerasdl.generative import VQVAE
from kerasdl.train import RunConfig, fit

SMALL = {"image_shape": (16, 16, 1), "filters": (4, 8), "width": 4, "codes": 8}
CONFIG = RunConfig(epochs=10, batch_size=32, learning_rate=5e-3, strategy=None, progress="off")


def noise(count=4, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 16, 16, 1)).astype("float32")


def test_counts_are_sums_of_the_layers():
    around = (9 * 32 + 32) + (9 * 32 * 64 + 64) + (9 * 64 * 32 + 32) + (9 * 32 + 1)
    width = (64 * 16 + 16) + (9 * 16 * 64 + 64)
    assert kerasdl.spec("vqvae").params == around + width + 256 * 16 + 256
    width = (64 * 4 + 4) + (9 * 4 * 64 + 64)
    assert kerasdl.spec("fsq_autoencoder").params == around + width


def test_loss_is_error_and_commitment():
    trainer, x = VQVAE(kerasdl.build("vqvae", **SMALL, seed=0), commitment=0.5), noise()
    with tf.GradientTape() as tape:
        found = trainer(x, training=True)
        loss = trainer.compute_loss(x, None, found)
    error = np.square(np.asarray(found["output"]) - x).mean()
    apart = np.square(np.asarray(found["encoding"]) - np.asarray(found["code"])).mean()
    assert float(loss) == pytest.approx(error + 0.5 * apart, rel=1e-5)
    gradients = tape.gradient(loss, [each.value for each in trainer.trainable_variables])
    assert all(each is not None and np.any(each) for each in gradients)  # the encoder learns through the codebook


@pytest.mark.parametrize("name", ["vqvae", "fsq_autoencoder"])
def test_whole_numbers_are_the_code(name):
    around = {"image_shape": SMALL["image_shape"], "filters": SMALL["filters"]}
    arguments = SMALL if name == "vqvae" else {**around, "levels": (3, 4)}
    trainer, x = VQVAE(kerasdl.build(name, **arguments)), noise()
    indices = trainer.indices(x)
    assert indices.shape == (4, 4, 4)
    np.testing.assert_allclose(trainer.decode_indices(indices), trainer.reconstruct(x), atol=1e-5)
    assert trainer.bits == pytest.approx(16 * np.log2(trainer.quantizer.codes))
    for wrong in (indices - 100, indices + 100, indices.astype(float), indices[:0]):
        with pytest.raises(ArgumentError, match="whole numbers below"):
            trainer.decode_indices(wrong)


@pytest.mark.slow
def test_a_codebook_is_used_and_the_error_falls():
    images = load("mnist").take(128).arrays()[0]
    for name, arguments in {
        "vqvae": {"codes": 16, "width": 4, "decay": 0.8, "restart": 0.2, "seed": 0},
        "fsq_autoencoder": {"levels": (4, 4)},
    }.items():
        keras.utils.set_random_seed(0)
        network = kerasdl.build(name, filters=(4, 8), **arguments)
        run = fit(network, images, validation=images, task="image_reconstruction", config=CONFIG)
        assert run.history["loss"][-1] < 0.7 * run.history["loss"][0]
        assert run.history["val_usage"][-1] > 0.5
        assert 2 < run.history["val_perplexity"][-1] <= 16


def test_other_networks_and_several_replicas_are_refused():
    with pytest.raises(ArgumentError, match="encoding"):
        VQVAE(kerasdl.build("conv_autoencoder", image_shape=(16, 16, 1), filters=(4,), code=2))
    with pytest.raises(ArgumentError, match="commitment"):
        VQVAE(kerasdl.build("vqvae", **SMALL), commitment=-1)
    devices = tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        pytest.skip("needs two logical devices")
    with tf.distribute.MirroredStrategy([each.name for each in devices[:2]]).scope():
        network = kerasdl.build("vqvae", **SMALL)
    with pytest.raises(ArgumentError, match="one device"):
        fit(VQVAE(network), noise(), config=RunConfig(steps=1, progress="off"))
