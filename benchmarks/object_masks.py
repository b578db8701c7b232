"""Mask R-CNN and panoptic FPN, small, on drawn scenes: average precision of masks, and panoptic quality.

    python benchmarks/object_masks.py                       # both, three seeds
    python benchmarks/object_masks.py mask_rcnn --seeds 1
    python benchmarks/object_masks.py --table               # the table of what was measured so far

Each method and seed is a line of JSON in `object_masks.jsonl` of the working folder; what stands there is not trained
again. Both train on the same 4,000 scenes of `shapes` at 96 x 96 pixels, whose objects are 24 to 36 pixels long, from
the ImageNet weights of an embedded bundle, and are measured on 300 others. Mask R-CNN finds six classes; letters and
digits do not count for panoptic FPN, as in segmenters.py: their pixels have no class. The baseline joins pixels far
from the mean colour where they touch; each region is an object of every class to Mask R-CNN's figure, and of the
likeliest to that of panoptic FPN.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import kept_lines
import keras
import numpy as np
from scipy import ndimage
from segmenters import LENGTHS, LITE, NOT_COUNTED, SIDE, take_features

import kerasdl
from kerasdl.core.objects import PredictedObjects
from kerasdl.data import Dataset, augment
from kerasdl.data.detection import draw_shapes
from kerasdl.data.detection.scenes import DIVISOR, panoptic_maps
from kerasdl.metrics import MeanAveragePrecision, PanopticQuality
from kerasdl.ops import encode_mask
from kerasdl.train import RunConfig, fit
from kerasdl.vision.detection import MaskRCNN
from kerasdl.vision.detection.detector import true_records
from kerasdl.vision.detection.two_stage.mask_rcnn import MaskRCNNMethod
from kerasdl.vision.detection.two_stage.region_proposals import ProposalMethod
from kerasdl.vision.panoptic import PanopticFPN
from kerasdl.vision.panoptic.panoptic_fpn import PanopticFPNMethod
from kerasdl.vision.panoptic.panoptic_labels import segments_of

TRAIN, TEST, CHANNELS, LEVELS = 4000, 300, 48, (4, 8, 16)
RESULTS, KEYS = Path("object_masks.jsonl"), ("method", "seed")
PROPOSALS = ProposalMethod(scale=4.0, samples=64, most=100, most_in_training=100)
HEAD = {"strides": LEVELS, "channels": CHANNELS}
BOX_HEAD, MASK_HEAD = {**HEAD, "size": 5, "width": 128}, {**HEAD, "convolutions": 2, "width": CHANNELS}


@dataclass(frozen=True)
class Row:
    """Trainer, data and training of one method."""

    trainer: Callable[..., Any]
    """From networks by role, and a method."""
    method: Any
    """Targets, losses and decoder."""
    kind: str
    """Labels of the data: masks or panoptic."""
    epochs: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the first network."""


NETS = {
    "mask_rcnn": Row(MaskRCNN, MaskRCNNMethod(samples=64, rpn=PROPOSALS), "masks", 4),
    "panoptic_fpn": Row(
        PanopticFPN,
        PanopticFPNMethod(samples=64, rpn=PROPOSALS),
        "panoptic",
        4,
        {"stuff": 1, "branch_channels": CHANNELS, "groups": 8},
    ),
}
CONFIG = {"batch_size": 8, "learning_rate": 2e-3, "schedule": "cosine", "augment": augment.Flip(0.5), "strategy": None}


def scenes(kind: str, split: str, size: int, *, raw: bool = False) -> Dataset:
    """Returns scenes of a kind of labels, scaled for a network unless they are to be raw."""
    drawn = draw_shapes(size, split=split, side=SIDE, lengths=LENGTHS, **{kind: True})
    if kind == "panoptic":
        maps = panoptic_maps(drawn)
        kept = [place for place, name in enumerate(maps.class_names) if name not in NOT_COUNTED]
        numbers = np.full(len(maps.class_names), -1)
        numbers[kept] = np.arange(len(kept))
        codes = maps.source.labels["panoptic"]
        classes = numbers[codes // DIVISOR]
        labels = {"panoptic": np.where(classes < 0, -1, DIVISOR * classes + codes % DIVISOR).astype("int32")}
        source, names = replace(maps.source, labels=labels), tuple(maps.class_names[place] for place in kept)
        drawn = replace(maps, source=source, class_names=names)
    return drawn if raw else drawn.prepared()


def trainer_of(name: str, data: Dataset) -> MaskRCNN:
    """Returns a fresh trainer of a method, with ImageNet features."""
    row = NETS[name]
    things = len(data.class_names) - row.settings.get("stuff", 0)
    settings = {**LITE, "strides": LEVELS, "channels": CHANNELS, **row.settings}
    networks = {
        "model": kerasdl.build(name, image_shape=(SIDE, SIDE, 3), **settings),
        "box_head": kerasdl.build("faster_rcnn_box_head", classes=things, **BOX_HEAD),
        "mask_head": kerasdl.build("mask_rcnn_mask_head", classes=things, **MASK_HEAD),
    }
    take_features(networks["model"])
    return row.trainer(networks, row.method)


def trained(name: str, seed: int) -> dict:
    """Trains one method with one seed, and returns its figures."""
    row = NETS[name]
    train, test = scenes(row.kind, "train", TRAIN), scenes(row.kind, "test", TEST)
    keras.utils.set_random_seed(seed)
    trainer = trainer_of(name, train)
    started = time.process_time()
    fit(trainer, train, config=RunConfig(epochs=row.epochs, seed=seed, **CONFIG))
    spent = time.process_time() - started
    if row.kind == "masks":
        figures = precision_figures(trainer.average_precision(test, of="masks"))
    else:
        figures = quality_figures(trainer.panoptic_quality(test))
    weights = sum(network.count_params() for network in trainer.networks.values())
    return {"weights": weights, "epochs": row.epochs, **figures, "cpu_seconds": round(spent)}


def precision_figures(metric: MeanAveragePrecision) -> dict[str, float]:
    """Returns the average precisions of masks."""
    return {f"mask {name}": round(float(metric.result()[name]), 4) for name in ("AP", "AP50", "AP75")}


def quality_figures(metric: PanopticQuality) -> dict[str, float]:
    """Returns the panoptic quality of all classes, of things and of stuff."""
    return {name: round(float(metric.result()[name]), 4) for name in ("PQ", "PQ_things", "PQ_stuff")}


def regions(image: np.ndarray) -> tuple[np.ndarray, list]:
    """Returns the numbers of regions far from the mean colour (H, W), 0 elsewhere, and the boxes of the large ones."""
    far = np.abs(image - image.mean(axis=(0, 1))).sum(axis=-1)
    numbers, _ = ndimage.label(far > far.mean() + far.std())
    spans = {number: span for number, span in enumerate(ndimage.find_objects(numbers), 1) if span}
    boxes = {number: (x.start, y.start, x.stop, y.stop) for number, (y, x) in spans.items()}
    large = {number: box for number, box in boxes.items() if min(box[2] - box[0], box[3] - box[1]) >= 8}
    return np.where(np.isin(numbers, [*large]), numbers, 0), list(large.items())


def baseline() -> dict:
    """Returns the figures of regions far from the mean colour."""
    test = scenes("masks", "test", TEST, raw=True)
    metric = MeanAveragePrecision(test.class_names, of="masks")
    for images, labels in test.batches(50):
        found = []
        for image in images.numpy().astype(float):
            numbers, large = regions(image)
            boxes = [box for _, box in large for _ in test.class_names]
            classes = [place for _ in large for place in range(len(test.class_names))]
            masks = [encode_mask(numbers == number) for number, _ in large for _ in test.class_names]
            found.append(PredictedObjects(boxes, classes, np.full(len(boxes), 0.5), masks))
        metric.update_state(list(true_records(labels, True)), found)
    data = scenes("panoptic", "test", TEST, raw=True)
    codes = data.source.labels["panoptic"]
    likeliest = max(range(1, len(data.class_names)), key=lambda each: (codes // DIVISOR == each).sum())
    quality = PanopticQuality(data.class_names, range(1, len(data.class_names)), void=255)
    numbers = np.stack([regions(image.astype(float))[0] for image in data.source.inputs])
    found = np.where(numbers > 0, DIVISOR * likeliest + numbers, 0)
    quality.update_state(list(segments_of(codes)), list(segments_of(found)))
    return {**precision_figures(metric), **quality_figures(quality)}


def main() -> None:
    """Trains what is missing, and prints the table."""
    asked = kept_lines.asked(__doc__, NETS, kind="method")
    jobs = {("regions", 0): baseline}
    jobs |= {(name, seed): partial(trained, name, seed) for seed in range(asked.seeds) for name in asked.names}
    kept_lines.measure(RESULTS, KEYS, jobs if not asked.table else {})
    names = ("mask AP", "mask AP50", "mask AP75", "PQ", "PQ_things", "PQ_stuff")
    kept_lines.means(RESULTS, KEYS[:1], {"weights": ",.0f", **dict.fromkeys(names, ".3f"), "cpu_seconds": ".0f"})


if __name__ == "__main__":
    main()
