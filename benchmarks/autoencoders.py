"""Autoencoders beside their baselines: anomalies, noise and compression of digits, over seeds.

    python benchmarks/autoencoders.py                  # all bars, three seeds: 2 to 3 CPU minutes each
    python benchmarks/autoencoders.py anomaly --seeds 1
    python benchmarks/autoencoders.py --table          # the table of what was measured so far

Each bar and seed is a line of JSON in `autoencoders.jsonl` of the working folder; what stands there is not measured
again. All learn from the 3,000 training images of `mnist` and are measured on its 1,000 test images. Filters are tuned
on 100 validation images.

- `anomaly`: of each digit a network and a PCA learn that digit alone; the error tells it from the nine others.
  The figure is the mean AUC; PCA has 30 components.
- `denoising`: Gaussian noise of 0.5, a quarter of the range. PSNR in decibels; baselines are non-local means and total
  variation of scikit-image (`pip install scikit-image`), PCA and the median of 3 x 3.
- `compression`: codes of 392 bits an image, 7 x 7 places of 256 entries. PSNR; PCA has the bits that divide best among
  its components, and Lloyd's levels.
"""

import time
from collections.abc import Callable
from pathlib import Path

import kept_lines
import keras
import numpy as np
from scipy.ndimage import median_filter
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

import kerasdl
from kerasdl.generative import VQVAE, DenoisingTrainer, noisy_images
from kerasdl.train import RunConfig, fit

RESULTS, KEYS = Path("autoencoders.jsonl"), ("bar", "seed")
AMOUNT = 0.5
PLACES, ENTRIES = 49, 256


def arrays(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and digits of a split."""
    return kerasdl.data.load("mnist", split).arrays()


def flat(images: np.ndarray) -> np.ndarray:
    """Returns images as rows."""
    return images.reshape(len(images), -1)


def decibels(found: np.ndarray, images: np.ndarray) -> float:
    """Returns the mean PSNR of images, values from -1 to 1."""
    errors = np.square(np.clip(found.reshape(images.shape), -1, 1) - images).mean(axis=(1, 2, 3))
    return float(np.mean(10 * np.log10(4 / np.maximum(errors, 1e-10))))


def settings(epochs: int, seed: int, rate: float = 2e-3) -> RunConfig:
    """Returns the settings of a training."""
    shape = {"batch_size": 32, "schedule": "cosine", "strategy": None, "progress": "off"}
    return RunConfig(epochs=epochs, learning_rate=rate, seed=seed, **shape)


def anomaly(seed: int) -> dict:
    """Returns mean AUCs of one-class detection over the ten digits."""
    (images, digits), (test, truth) = arrays("train"), arrays("test")
    found, linear = [], []
    for digit in range(10):
        own = images[digits == digit]
        keras.utils.set_random_seed(seed)
        trainer = DenoisingTrainer(kerasdl.build("conv_autoencoder", filters=(16, 32), code=16), amount=0.5, seed=seed)
        fit(trainer, own, config=settings(60, seed, 3e-3))
        found.append(roc_auc_score(truth != digit, trainer.errors(test)))
        pca = PCA(30, random_state=0).fit(flat(own))
        residue = flat(test) - pca.inverse_transform(pca.transform(flat(test)))
        linear.append(roc_auc_score(truth != digit, np.square(residue).mean(axis=1)))
    return {"network": float(np.mean(found)), "PCA": float(np.mean(linear)), "each": np.round(found, 4).tolist()}


def denoising(seed: int) -> dict:
    """Returns PSNRs of a denoiser and of filters tuned on validation images."""
    (images, _), (check, _), (test, _) = (arrays(split) for split in ("train", "validation", "test"))
    keras.utils.set_random_seed(seed)
    trainer = DenoisingTrainer(kerasdl.build("conv_autoencoder", code=None), amount=AMOUNT, seed=seed)
    fit(trainer, images, config=settings(12, seed))
    noisy, check = noisy_images(test, (7, seed), amount=AMOUNT).numpy(), check[:100]
    noisy_check = noisy_images(check, (8, seed), amount=AMOUNT).numpy()
    figures = {"noisy": decibels(noisy, test), "network": decibels(trainer.reconstruct(noisy), test)}
    for name, (tried, values) in filters(images).items():
        best = max(values, key=lambda value, by=tried: decibels(by(noisy_check, value), check))
        figures[name] = decibels(tried(noisy, best), test)
    return figures


def filters(images: np.ndarray) -> dict[str, tuple[Callable, tuple]]:
    """Returns filters by name, each with the values of its setting that are tried."""
    pca = PCA(128, random_state=0).fit(flat(images))
    found = {
        "median": (lambda x, size: median_filter(x, (1, size, size, 1)), (3, 5)),
        "PCA": (lambda x, kept: projected(pca, x, kept), (10, 20, 30, 40, 50, 70, 100)),
    }
    try:
        from skimage.restoration import denoise_nl_means, denoise_tv_chambolle
    except ImportError:
        return found

    def means(x: np.ndarray, strength: float) -> np.ndarray:
        options = {"patch_size": 5, "patch_distance": 9, "sigma": AMOUNT, "fast_mode": True}
        return np.stack([denoise_nl_means(each[..., 0], h=strength * AMOUNT, **options) for each in x])

    def variation(x: np.ndarray, weight: float) -> np.ndarray:
        return np.stack([denoise_tv_chambolle(each[..., 0], weight=weight) for each in x])

    found["NLM"] = (means, (0.4, 0.6, 0.8, 1.0, 1.2))
    found["TV"] = (variation, (0.2, 0.3, 0.4, 0.5, 0.7, 0.9))
    return found


def projected(pca: PCA, images: np.ndarray, kept: int) -> np.ndarray:
    """Returns images of their first components."""
    codes = pca.transform(flat(images))
    codes[:, kept:] = 0
    return pca.inverse_transform(codes)


def compression(seed: int) -> dict:
    """Returns PSNRs of a VQ-VAE and of PCA at as many bits, and the use of the codebook."""
    (images, _), (test, _) = arrays("train"), arrays("test")
    keras.utils.set_random_seed(seed)
    trainer = VQVAE(kerasdl.build("vqvae", codes=ENTRIES, seed=seed))
    fit(trainer, images, config=settings(16, seed))
    indices = trainer.indices(test)
    uses = np.bincount(indices.ravel(), minlength=ENTRIES) / indices.size
    entropy = -np.sum(uses[uses > 0] * np.log2(uses[uses > 0])) * PLACES
    return {
        "network": decibels(trainer.decode_indices(indices), test),
        "PCA": decibels(linear_codes(images, test, int(trainer.bits)), test),
        "bits": trainer.bits,
        "entropy": float(entropy),
        "usage": float((uses > 0).mean()),
    }


def linear_codes(images: np.ndarray, test: np.ndarray, bits: int) -> np.ndarray:
    """Returns test images of quantized components; each bit goes to the component that errs most."""
    pca = PCA(128, random_state=0).fit(flat(images))
    codes, found = pca.transform(flat(images)), pca.transform(flat(test))
    errors, given = codes.var(axis=0), np.zeros(codes.shape[1], int)
    for _ in range(bits):
        worst = int(np.argmax(errors))
        given[worst] += 1
        errors[worst] /= 4
    for unit, count in enumerate(given):
        levels = lloyd(codes[:, unit], 2**count)
        found[:, unit] = levels[np.abs(found[:, unit, np.newaxis] - levels).argmin(axis=1)]
    return pca.inverse_transform(found)


def lloyd(values: np.ndarray, count: int, rounds: int = 20) -> np.ndarray:
    """Returns levels of least squared error for values, from their quantiles on."""
    levels = np.quantile(values, (np.arange(count) + 0.5) / count)
    for _ in range(rounds):
        near = np.searchsorted((levels[1:] + levels[:-1]) / 2, values)
        sums, uses = np.bincount(near, values, count), np.bincount(near, minlength=count)
        levels = np.where(uses > 0, sums / np.maximum(uses, 1), levels)
    return levels


BARS = {"anomaly": anomaly, "denoising": denoising, "compression": compression}


def timed(measure: Callable[[int], dict], seed: int) -> dict:
    """Returns the figures of a bar with its CPU seconds."""
    cpu = time.process_time()
    return {**measure(seed), "cpu_s": round(time.process_time() - cpu)}


def main() -> None:
    """Measures what is missing, and prints the table."""
    asked = kept_lines.asked(__doc__, BARS, kind="bar")
    jobs = {(bar, seed): lambda b=bar, s=seed: timed(BARS[b], s) for bar in asked.names for seed in range(asked.seeds)}
    if not asked.table:
        kept_lines.measure(RESULTS, KEYS, jobs)
    names = ("network", "PCA", "noisy", "median", "NLM", "TV", "entropy", "usage")
    kept_lines.means(RESULTS, KEYS[:1], {**dict.fromkeys(names, ".3f"), "cpu_s": ".0f"})


if __name__ == "__main__":
    main()
