"""Autoencoder of digits: noise taken away, and strangers found. `python docs/recipes/autoencoder.py`.

    python docs/recipes/autoencoder.py          # about 1 minute on two cores
    python docs/recipes/autoencoder.py out.png  # and a picture: noisy, restored, clean

Expected: the denoiser has about 6 dB more than a median of 3 x 3 pixels. The second network learns ones alone; by its
error ones are told from all other digits with an AUC near 0.99, about as by 30 principal components: ones are the
easiest digit, and docs/generating.md has all ten.
"""

import sys

import keras
import numpy as np
from scipy.ndimage import median_filter
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

import kerasdl
from kerasdl.generative import DenoisingTrainer, ReconstructionTrainer, image_grid, noisy_images
from kerasdl.train import RunConfig, fit

AMOUNT = 0.5


def decibels(found: np.ndarray, images: np.ndarray) -> float:
    """Returns the mean PSNR of images, values from -1 to 1."""
    errors = np.square(np.clip(found, -1, 1) - images).mean(axis=(1, 2, 3))
    return float(np.mean(10 * np.log10(4 / errors)))


def denoise(count: int = 3000, epochs: int = 5, path: str | None = None) -> dict[str, float]:
    """Returns the PSNR of noisy test images, of their median and of a denoiser."""
    train, test = kerasdl.data.load("mnist").take(count), kerasdl.data.load("mnist", "test").take(200).arrays()[0]
    trainer = DenoisingTrainer(kerasdl.build("conv_autoencoder", filters=(16, 32), code=None), amount=AMOUNT)
    fit(trainer, train, config=RunConfig(epochs=epochs, learning_rate=3e-3, progress="off"))
    noisy = noisy_images(test, (1, 2), amount=AMOUNT).numpy()
    restored = trainer.reconstruct(noisy)
    image_grid(np.concatenate([noisy[:10], restored[:10], test[:10]]), columns=10, path=path)
    parts = {"noisy": noisy, "median": median_filter(noisy, (1, 3, 3, 1)), "denoiser": restored}
    return {name: decibels(each, test) for name, each in parts.items()}


def find_strangers(digit: int = 1, epochs: int = 30) -> dict[str, float]:
    """Returns the AUC of errors, of a network and of PCA that learnt one digit, between it and the others."""
    images, digits = kerasdl.data.load("mnist").arrays()
    test, truth = kerasdl.data.load("mnist", "test").arrays()
    own = images[digits == digit]
    trainer = ReconstructionTrainer(kerasdl.build("conv_autoencoder", filters=(8, 16), code=16))
    fit(trainer, own, config=RunConfig(epochs=epochs, learning_rate=3e-3, progress="off"))
    pca = PCA(30, random_state=0).fit(own.reshape(len(own), -1))
    rows = test.reshape(len(test), -1)
    linear = np.square(rows - pca.inverse_transform(pca.transform(rows))).mean(axis=1)
    scores = {"network": trainer.errors(test), "PCA": linear}
    return {name: float(roc_auc_score(truth != digit, each)) for name, each in scores.items()}


def main(path: str | None = None) -> None:
    """Prints both tables."""
    keras.utils.set_random_seed(0)
    print("PSNR in dB:  " + ", ".join(f"{name} {value:.1f}" for name, value in denoise(path=path).items()))
    print("AUC of ones: " + ", ".join(f"{name} {value:.3f}" for name, value in find_strangers().items()))


if __name__ == "__main__":
    main(*sys.argv[1:2])
