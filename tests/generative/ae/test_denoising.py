"""Noise by its statistics, validation that stays, answers without noise, and a denoiser that gains decibels."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import median_filter

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.data import load
from kerasdl.generative import DenoisingTrainer, noisy_images
from kerasdl.train import RunConfig, fit

SMALL = {"image_shape": (16, 16, 1), "filters": (4, 8), "code": None}


def test_noises_have_their_statistics():
    grey = tf.fill((4, 64, 64, 3), 0.25)
    added = noisy_images(grey, (0, 1), amount=0.5).numpy() - 0.25
    assert added.std() == pytest.approx(0.5, rel=0.02)
    assert added.mean() == pytest.approx(0, abs=0.01)
    masked = noisy_images(grey, (0, 1), noise="masking", amount=0.3).numpy()
    assert set(np.unique(masked)) == {-1.0, np.float32(0.25)}
    assert (masked == -1).mean() == pytest.approx(0.3, abs=0.02)
    assert np.ptp(masked, axis=-1).max() == 0  # all channels of a pixel alike
    peppered = noisy_images(grey, (0, 1), noise="salt_pepper", amount=0.3).numpy()
    assert [(peppered == value).mean() for value in (-1, 1)] == pytest.approx([0.15, 0.15], abs=0.02)
    again = noisy_images(grey, (0, 1), noise="salt_pepper", amount=0.3).numpy()
    other = noisy_images(grey, (0, 2), noise="salt_pepper", amount=0.3).numpy()
    assert np.array_equal(peppered, again)
    assert not np.array_equal(peppered, other)


def test_noise_is_new_in_training_stays_in_validation_and_is_not_in_answers():
    trainer = DenoisingTrainer(kerasdl.build("conv_autoencoder", **SMALL), amount=0.5)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 1)).astype("float32")
    clean = np.asarray(trainer.main(x))
    first, second = (np.asarray(trainer(x, training=True)["output"]) for _ in range(2))
    assert np.abs(first - second).max() > 1e-4
    still = [np.asarray(trainer(x, training=False)["output"]) for _ in range(2)]
    assert np.array_equal(*still)
    assert np.abs(still[0] - clean).max() > 1e-4
    np.testing.assert_allclose(trainer.reconstruct(x), clean, atol=1e-6)
    np.testing.assert_allclose(trainer.predict(x, verbose=0), clean, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"noise": "speckle"}, "noise must be"),
        ({"amount": 0}, "amount"),
        ({"noise": "masking", "amount": 1.5}, "amount"),
    ],
)
def test_wrong_noises_are_refused(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        DenoisingTrainer(kerasdl.build("conv_autoencoder", **SMALL), **arguments)


@pytest.mark.bars
def test_a_denoiser_gains_decibels_over_a_median():
    keras.utils.set_random_seed(0)
    train, test = load("mnist").arrays()[0], load("mnist", "test").take(200).arrays()[0]
    trainer = DenoisingTrainer(kerasdl.build("conv_autoencoder", filters=(16, 32), code=None), amount=0.8)
    config = RunConfig(epochs=16, batch_size=50, learning_rate=3e-3, strategy=None, progress="off")
    fit(trainer, train, config=config)
    noisy = noisy_images(test, (7, 7), amount=0.8).numpy()

    def decibels(found):
        return 10 * np.log10(4 / np.square(np.clip(found, -1, 1) - test).mean((1, 2, 3))).mean()

    assert decibels(trainer.reconstruct(noisy)) > decibels(median_filter(noisy, (1, 3, 3, 1))) + 2
