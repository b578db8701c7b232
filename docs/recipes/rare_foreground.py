"""Foreground of 2 % of the pixels, by five losses. `python docs/recipes/rare_foreground.py [SEED ...]`.

Pale spots of 64 x 64 pixels beside bars of the same brightness, under noise. It prints the IoU, precision and recall of
the spots for each loss, means of three seeds, and the least and the greatest IoU.
"""

import sys

import numpy as np
from scipy import ndimage

import kerasdl
from kerasdl.data import Dataset, as_dataset, augment
from kerasdl.losses import Dice, FocalTversky, PixelCrossEntropy, Tversky
from kerasdl.train import RunConfig, fit
from kerasdl.vision.segmentation import Segmenter

SIDE, TRAIN, TEST, EPOCHS = 64, 240, 200, 6
LOSSES = {
    "cross-entropy": PixelCrossEntropy,
    "cross-entropy, foreground times 10": lambda: PixelCrossEntropy(class_weights=(1.0, 10.0)),
    "Dice": Dice,
    "Tversky": Tversky,
    "focal Tversky": FocalTversky,
}


def pictures(count: int, seed: int) -> Dataset:
    """Draws pictures (64, 64, 1) with one to three spots, and maps in which these are 1."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    maps, bars = np.zeros((2, count, SIDE, SIDE), "float32")
    for spots, others in zip(maps, bars, strict=True):
        for _ in range(rng.integers(1, 4)):
            row, column, radius = rng.uniform(6, SIDE - 6), rng.uniform(6, SIDE - 6), rng.uniform(2.5, 4.5)
            spots[np.hypot(rows - row, columns - column) < radius] = 1
        for _ in range(4):
            angle, place = rng.uniform(0, np.pi), rng.uniform(0, SIDE, 2)
            across = (rows - place[0]) * np.sin(angle) + (columns - place[1]) * np.cos(angle)
            along = (rows - place[0]) * np.cos(angle) - (columns - place[1]) * np.sin(angle)
            others[(np.abs(across) < 1.5) & (np.abs(along) < 12)] = 1
    ground = 2 * ndimage.gaussian_filter(rng.normal(size=maps.shape), (0, 4, 4))
    light = ndimage.gaussian_filter(np.maximum(maps, bars), (0, 1, 1))
    images = (ground + light + rng.normal(0, 0.4, maps.shape) - 0.3).astype("float32")[..., np.newaxis]
    labels = {"semantic": maps.astype("uint8")}
    return as_dataset((images, labels), name="spots", task="semantic_segmentation", class_names=("rest", "spot"))


def compare(loss: str, seed: int, epochs: int = EPOCHS) -> dict[str, float]:
    """Returns the figures of the spots of test pictures, after training by one loss."""
    kerasdl.set_seed(seed)
    network = kerasdl.build("unet", image_shape=(SIDE, SIDE, 1), classes=1, channels=8, depth=2)
    changes = augment.Flip(0.5, 0.5)
    settings = dict(learning_rate=5e-3, schedule="cosine", augment=changes, seed=seed, progress="off")
    config = RunConfig(epochs=epochs, batch_size=8, **settings)
    segmenter = fit(Segmenter(network, loss=LOSSES[loss]()), pictures(TRAIN, seed=1), config=config).trainer
    images, labels = pictures(TEST, seed=2).arrays()
    return figures(segmenter.segment(images)[..., 0] > 0.5, labels["semantic"] == 1)


def figures(found: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Returns IoU, precision and recall of a foreground."""
    both, either = (found & true).sum(), (found | true).sum()
    return {"IoU": both / either, "precision": both / max(1, found.sum()), "recall": both / true.sum()}


def threshold() -> dict[str, float]:
    """Returns the figures of the best threshold of the blurred test pictures."""
    images, labels = pictures(TEST, seed=2).arrays()
    blurred, true = ndimage.gaussian_filter(images[..., 0], (0, 1.5, 1.5)), labels["semantic"] == 1
    return max((figures(blurred > level, true) for level in np.arange(0, 1.2, 0.1)), key=lambda each: each["IoU"])


if __name__ == "__main__":
    seeds = [int(seed) for seed in sys.argv[1:] or ("0", "1", "2")]
    print("| the best threshold |", " | ".join(f"{value:.3f}" for value in threshold().values()), "| |")
    for loss in LOSSES:
        runs = [compare(loss, seed) for seed in seeds]
        means = " | ".join(f"{np.mean([each[name] for each in runs]):.3f}" for name in runs[0])
        overlaps = [each["IoU"] for each in runs]
        print(f"| {loss} | {means} | {min(overlaps):.3f} to {max(overlaps):.3f} |", flush=True)
