"""U-Net over ImageNet features against the same net from scratch, on emoji over photographs.

    python benchmarks/sticker_masks.py                          # both, three seeds; about 2 minutes each
    python benchmarks/sticker_masks.py imagenet scratch --seeds 1
    python benchmarks/sticker_masks.py "scratch, 4x"            # four times the epochs
    python benchmarks/sticker_masks.py --table                  # the table of what was measured so far

Each net and seed is a line of JSON in `sticker_masks.jsonl` of the working folder; what stands there is not trained
again. All train on the same 600 scenes of `stickers` at 96 x 96 pixels in the style of Twemoji, and are measured on 200
others, whose emoji and photographs no net has seen: `mIoU` is of the same style, `other style` of Noto, which draws the
same emoji differently. The baseline gives pixels far from the mean colour to the likeliest kind.
"""

import time
from functools import partial
from pathlib import Path

import kept_lines
import keras
import numpy as np
from segmenters import LITE, take_features

import kerasdl
from kerasdl.data import Dataset, augment
from kerasdl.losses import Dice, PixelCrossEntropy
from kerasdl.metrics import MeanIoU
from kerasdl.train import RunConfig, fit
from kerasdl.vision.segmentation import Segmenter

SHAPE, TRAIN, TEST, EPOCHS = (96, 96, 3), 600, 200, 5
STYLES = {"mIoU": "stickers", "other style": "stickers:noto"}
SETTINGS = {**LITE, "strides": (2, 4, 8, 16), "channels": (64, 48, 24, 12)}
NETS = {"imagenet": (True, 1), "scratch": (False, 1), "scratch, 4x": (False, 4)}
RESULTS, KEYS = Path("sticker_masks.jsonl"), ("start", "seed")


def scenes(name: str, split: str, size: int) -> Dataset:
    """Returns scenes with maps of the ground and of five kinds of emoji."""
    return kerasdl.data.load(name, split, size=size, labels="semantic", image_shape=SHAPE)


def trained(pretrained: bool, longer: int, seed: int) -> dict:
    """Trains one net with one seed, and returns its figures."""
    train = scenes("stickers", "train", TRAIN)
    keras.utils.set_random_seed(seed)
    network = kerasdl.build("unet_resnet34", image_shape=SHAPE, classes=len(train.class_names), **SETTINGS)
    if pretrained:
        take_features(network)
    config = RunConfig(
        epochs=EPOCHS * longer,
        batch_size=16,
        learning_rate=3e-3,
        schedule="cosine",
        augment=augment.Flip(0.5),
        seed=seed,
    )
    started = time.process_time()
    segmenter = fit(Segmenter(network, loss=(PixelCrossEntropy(), Dice())), train, config=config).trainer
    spent = time.process_time() - started
    figures = {name: segmenter.mean_iou(scenes(data, "test", TEST)).result() for name, data in STYLES.items()}
    line = {"weights": network.count_params(), "epochs": config.epochs}
    return {**line, **{name: round(float(each), 4) for name, each in figures.items()}, "cpu_seconds": round(spent)}


def baseline() -> dict:
    """Returns the mean IoU of the best of some thresholds of the distance from the mean colour, of both styles."""
    found = {}
    for name, data in STYLES.items():
        test = kerasdl.data.load(data, "test", size=TEST, labels="semantic", image_shape=SHAPE, scale=None)
        images, labels = test.arrays()
        far = np.abs(images - images.mean(axis=(1, 2), keepdims=True)).sum(axis=-1)
        best = max(range(1, len(test.class_names)), key=lambda each, maps=labels["semantic"]: (maps == each).sum())
        found[name] = max(
            mean_iou(test, np.where(far > np.quantile(far, share, axis=(1, 2), keepdims=True), best, 0))
            for share in (0.7, 0.8, 0.9, 1.0)
        )
    return found


def mean_iou(data: Dataset, maps: np.ndarray) -> float:
    """Returns the mean IoU of maps of classes (B, H, W)."""
    metric = MeanIoU(data.class_names)
    metric.update_state(data.arrays()[1]["semantic"], maps)
    return round(float(metric.result()), 4)


def main() -> None:
    """Trains what is missing, and prints the table."""
    asked = kept_lines.asked(__doc__, NETS, kind="start")
    jobs = {("threshold", 0): baseline}
    jobs |= {(name, seed): partial(trained, *NETS[name], seed) for seed in range(asked.seeds) for name in asked.names}
    kept_lines.measure(RESULTS, KEYS, jobs if not asked.table else {})
    columns = {"epochs": ".0f", "mIoU": ".3f", "other style": ".3f", "cpu_seconds": ".0f"}
    kept_lines.means(RESULTS, KEYS[:1], columns)


if __name__ == "__main__":
    main()
