"""Small segmenters trained on drawn scenes: mean IoU by network, over seeds, beside a trivial baseline and an oracle.

    python benchmarks/segmenters.py                         # all networks, three seeds; about 5 minutes each
    python benchmarks/segmenters.py unet --seeds 1
    python benchmarks/segmenters.py --table                 # the table of what was measured so far

Each network and seed is a line of JSON in `segmenters.jsonl` of the working folder; what stands there is not trained
again, so that the benchmark can be stopped and started. All train on the same 4,000 scenes of `shapes` at 96 x 96
pixels, whose objects are 24 to 36 pixels long, and are measured on 300 others. All but SegFormer, whose transformer is
fresh, begin with the ImageNet weights of an embedded bundle. Letters and digits do not count, in training neither. The
oracle is the true map at a stride, enlarged again: what a network of that stride can reach.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import kept_lines
import keras
import numpy as np
import tensorflow as tf

import kerasdl
from kerasdl.data import Dataset, augment
from kerasdl.data.detection import draw_shapes
from kerasdl.losses import Dice, PixelCrossEntropy
from kerasdl.metrics import MeanIoU
from kerasdl.train import RunConfig, fit
from kerasdl.vision.segmentation import Segmenter

SIDE, LENGTHS, TRAIN, TEST = 96, (32.0, 48.0), 4000, 300
NOT_COUNTED = ("letter", "digit")
RESULTS, KEYS = Path("segmenters.jsonl"), ("network", "seed")
FEATURES = "imagenet_efficientnet_lite0"
LITE = {"backbone": "efficientnet_lite0"}
MIT = {"widths": (32, 64, 128), "depths": (2, 2, 2), "heads": (1, 2, 4), "reductions": (8, 4, 2)}


@dataclass(frozen=True)
class Row:
    """Network and training of one row."""

    name: str
    """Of the builder."""
    settings: Mapping[str, Any]
    """Arguments of the builder."""
    epochs: int
    learning_rate: float = 3e-3


NETS = {
    "unet": Row("unet_resnet34", {**LITE, "strides": (2, 4, 8, 16), "channels": (64, 48, 24, 12)}, 5),
    "deeplab_v3plus": Row(
        "deeplab_v3plus",
        {**LITE, "strides": (4, 16), "output_stride": 32, "rates": (1, 2, 3), "channels": 64, "fine_channels": 24},
        5,
    ),
    "pspnet": Row("pspnet", {**LITE, "strides": (4, 8), "channels": 96}, 4),
    "fcn8s": Row("fcn8s", {**LITE, "strides": (8, 16, 32), "hidden": 128, "kernel": 3, "dropout": 0.1}, 6),
    "segformer": Row(
        "segformer_b0",
        {"backbone_settings": MIT, "strides": (4, 8, 16), "channels": 64, "dropout": 0.0},
        10,
        1e-3,
    ),
}
CONFIG = {
    "batch_size": 16,
    "schedule": "cosine",
    "augment": augment.Flip(vertical=0.5),
    "strategy": None,
}


def scenes(split: str, size: int) -> Dataset:
    """Returns scenes with maps of the ground and four classes; of others the pixels do not count."""
    drawn = draw_shapes(size, split=split, side=SIDE, lengths=LENGTHS, semantic=True).prepared()
    kept = [place for place, name in enumerate(drawn.class_names) if name not in NOT_COUNTED]
    numbers = np.full(256, 255, "uint8")
    numbers[kept] = np.arange(len(kept))
    labels = {"semantic": numbers[drawn.source.labels["semantic"]]}
    names = tuple(drawn.class_names[place] for place in kept)
    return replace(drawn, source=replace(drawn.source, labels=labels), class_names=names)


def trained(method: str, seed: int) -> dict:
    """Trains one network with one seed, and returns its figures."""
    row, train, test = NETS[method], scenes("train", TRAIN), scenes("test", TEST)
    keras.utils.set_random_seed(seed)
    network = kerasdl.build(row.name, image_shape=(SIDE, SIDE, 3), classes=len(train.class_names), **row.settings)
    take_features(network)
    config = RunConfig(epochs=row.epochs, learning_rate=row.learning_rate, seed=seed, **CONFIG)
    started, cpu = time.perf_counter(), time.process_time()
    losses = PixelCrossEntropy(), Dice()
    segmenter = fit(Segmenter(network, loss=losses), train, config=config).trainer
    spent = time.perf_counter() - started, time.process_time() - cpu
    figures = measured(segmenter.mean_iou(test))
    line = {"weights": network.count_params(), "epochs": row.epochs, **figures}
    return {**line, "seconds": round(spent[0]), "cpu_seconds": round(spent[1])}


def take_features(network: keras.Model) -> None:
    """Copies the ImageNet weights of the embedded bundle into the layers of those names, where a network has them."""
    given = {layer.name: layer for layer in kerasdl.load_bundle(FEATURES).model.layers if layer.weights}
    for layer in network.layers:
        if layer.name in given:
            layer.set_weights(given[layer.name].get_weights())


def measured(metric: MeanIoU) -> dict[str, float]:
    """Returns the mean and the least IoU of a class."""
    by_class = metric.per_class()
    return {"mIoU": round(float(metric.result()), 4), "least": round(min(by_class.values()), 4)}


def baseline() -> dict:
    """Returns the figures of the simplest segmenter: pixels far from the mean colour are of the likeliest shape."""
    test = scenes("test", TEST)
    images, labels = test.source.inputs.astype(float), test.source.labels["semantic"]
    far = np.abs(images - images.mean(axis=(1, 2), keepdims=True)).sum(axis=-1)
    threshold = far.mean(axis=(1, 2), keepdims=True) + far.std(axis=(1, 2), keepdims=True)
    best = max(range(1, len(test.class_names)), key=lambda each: (labels == each).sum())
    metric = MeanIoU(test.class_names)
    metric.update_state(labels, np.where(far > threshold, best, 0))
    return measured(metric)


def oracle(stride: int) -> dict:
    """Returns the figures of true maps at a stride, enlarged bilinearly; the likeliest class is chosen."""
    test = scenes("test", TEST)
    labels, metric = test.source.labels["semantic"], MeanIoU(test.class_names)
    for each in np.array_split(labels, 10):
        shares = tf.one_hot(each, len(test.class_names))
        small = tf.nn.avg_pool2d(shares, stride, stride, "VALID")
        metric.update_state(each, tf.image.resize(small, each.shape[1:]))
    return measured(metric)


def main() -> None:
    """Trains what is missing, and prints the table."""
    asked = kept_lines.asked(__doc__, NETS, kind="network")
    jobs = {("threshold", 0): baseline}
    jobs |= {(f"oracle at stride {stride}", 0): partial(oracle, stride) for stride in (2, 4, 8)}
    jobs |= {(name, seed): partial(trained, name, seed) for seed in range(asked.seeds) for name in asked.names}
    kept_lines.measure(RESULTS, KEYS, jobs if not asked.table else {})
    kept_lines.means(RESULTS, KEYS[:1], {"weights": ",.0f", "mIoU": ".3f", "least": ".3f", "cpu_seconds": ".0f"})


if __name__ == "__main__":
    main()
