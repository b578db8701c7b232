"""Touching cells told apart: U-Net with the weight map of its paper against the same net without, pair by pair.

    python benchmarks/cells.py                # five pairs, each 65 processor seconds
    python benchmarks/cells.py with --seeds 1
    python benchmarks/cells.py --table        # the table of what was measured so far

Each net and seed is a line of JSON in `cells.jsonl` of the working folder; what stands there is not trained again. Both
nets of a pair have the same first weights, pictures and order of pictures. A cell is found where a connected component
of pixels above a probability of 0.5 (eight neighbours) has an IoU above 0.5 with it; F1 is over all cells of 100 test
pictures. `F1 chosen` is at the probability that is best on 50 validation pictures, since a higher one separates cells
too. The baseline is connected components of the blurred picture at the best of its thresholds.
"""

import time
from functools import partial
from pathlib import Path

import kept_lines
import numpy as np
from scipy import ndimage

import kerasdl
from kerasdl.data import Dataset, augment
from kerasdl.data.segmentation import draw_cells
from kerasdl.losses import PixelCrossEntropy
from kerasdl.train import RunConfig, fit
from kerasdl.vision.segmentation import Segmenter

SIDE, TRAIN, VALIDATION, TEST, EPOCHS = 96, 200, 50, 100, 8
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
SETTINGS = {"channels": 8, "depth": 3}
NETS = {"without": False, "with": True}
RESULTS, KEYS = Path("cells.jsonl"), ("weight map", "seed")
EIGHT = np.ones((3, 3), bool)


def trained(weighted: bool, seed: int) -> dict:
    """Trains one net with one seed, and returns its figures."""
    train = draw_cells(TRAIN, side=SIDE, weights=weighted).prepared()
    kerasdl.set_seed(seed)
    network = kerasdl.build("unet", image_shape=(SIDE, SIDE, 1), classes=2, **SETTINGS)
    config = RunConfig(
        epochs=EPOCHS,
        batch_size=8,
        learning_rate=5e-3,
        schedule="cosine",
        augment=augment.Flip(0.5, 0.5),
        seed=seed,
    )
    started = time.process_time()
    segmenter = fit(Segmenter(network, loss=PixelCrossEntropy()), train, config=config).trainer
    spent = time.process_time() - started
    validation, test = (cells(split, size) for split, size in (("validation", VALIDATION), ("test", TEST)))
    held, scores = (segmenter.segment(data.prepared().arrays()[0])[..., 1] for data in (validation, test))
    level = max(LEVELS, key=lambda each: f1(validation, held > each))
    figures = {"F1": f1(test, scores > 0.5), "F1 chosen": f1(test, scores > level), "threshold": level}
    figures["mIoU"] = round(float(segmenter.mean_iou(test.prepared()).result()), 4)
    return {"weights": network.count_params(), **figures, "cpu_seconds": round(spent)}


def cells(split: str, size: int) -> Dataset:
    """Returns pictures with the numbers of their cells."""
    return draw_cells(size, side=SIDE, split=split, weights=False, panoptic=True)


def f1(data: Dataset, foregrounds: np.ndarray) -> float:
    """Returns the F1 of the cells of pictures, of the connected components of foregrounds (B, H, W)."""
    truth = data.source.labels["panoptic"] % 1000
    hits, true, found = sum(_counts(own, each) for own, each in zip(truth, foregrounds, strict=True))
    return round(float(2 * hits / (true + found)), 4)


def _counts(numbers: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Returns the cells that were found, the true ones, and the components."""
    parts, count = ndimage.label(foreground, EIGHT)
    true = int(numbers.max())
    joint = np.zeros((true + 1, count + 1), int)
    np.add.at(joint, (numbers, parts), 1)
    union = joint.sum(1, keepdims=True) + joint.sum(0) - joint
    return np.array([(2 * joint[1:, 1:] > union[1:, 1:]).sum(), true, count])


def baseline() -> dict:
    """Returns the F1 of the best threshold of the blurred pictures, between their median and their brightest part."""
    data = cells("test", TEST)
    images = ndimage.gaussian_filter(data.source.inputs[..., 0].astype(float), (0, 0.7, 0.7))
    low, high = (np.percentile(images, share, axis=(1, 2), keepdims=True) for share in (50, 98))
    return {"F1": max(f1(data, images > low + share * (high - low)) for share in np.arange(0.2, 0.9, 0.1))}


def main() -> None:
    """Trains what is missing, and prints the table and the mean difference of the pairs."""
    asked = kept_lines.asked(__doc__, NETS, kind="net", seeds=5)
    jobs = {("threshold", 0): baseline}
    jobs |= {(name, seed): partial(trained, NETS[name], seed) for seed in range(asked.seeds) for name in asked.names}
    kept_lines.measure(RESULTS, KEYS, jobs if not asked.table else {})
    columns = {"F1": ".3f", "F1 chosen": ".3f", "threshold": ".2f", "mIoU": ".3f", "cpu_seconds": ".0f"}
    kept_lines.means(RESULTS, KEYS[:1], columns)
    lines = {(row[KEYS[0]], row["seed"]): row for row in kept_lines.rows(RESULTS)}
    seeds = [seed for name, seed in lines if name == "with" and ("without", seed) in lines]
    for figure in ("F1", "F1 chosen"):
        gains = [lines["with", seed][figure] - lines["without", seed][figure] for seed in seeds]
        if gains:
            print(f"{figure}, with less without, {len(gains)} pairs: mean {np.mean(gains):.3f}, least {min(gains):.3f}")


if __name__ == "__main__":
    main()
