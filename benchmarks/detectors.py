"""Small detectors trained on drawn scenes: average precision by method, over seeds, beside a trivial baseline.

    python benchmarks/detectors.py                          # all methods, three seeds; 5 to 20 minutes each
    python benchmarks/detectors.py yolo_v8 --seeds 1
    python benchmarks/detectors.py --table                  # the table of what was measured so far

Each method and seed is a line of JSON in `detectors.jsonl` of the working folder; what stands there is not trained
again, so that the benchmark can be stopped and started. All train on the same 4,000 scenes of `shapes` at 96 x 96
pixels and are measured on 300 others. Objects are 12 to 27 pixels long there: levels, anchors and reaches are chosen
for them, and the backbone, that of YOLOv8, is the same for all but YOLOv3. DETR starts from the backbone of a short
run of FCOS, whose time counts.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import kept_lines
import keras
import numpy as np
from scipy import ndimage

import kerasdl
from kerasdl.core.objects import PredictedObjects
from kerasdl.data import load
from kerasdl.metrics import MeanAveragePrecision
from kerasdl.train import RunConfig, fit, schedules
from kerasdl.vision.detection import Detector, FasterRCNN, Method
from kerasdl.vision.detection.centernet import CenterMethod
from kerasdl.vision.detection.detector import true_records
from kerasdl.vision.detection.detr import DETRMethod
from kerasdl.vision.detection.fcos import FCOSMethod
from kerasdl.vision.detection.retinanet import RetinaMethod
from kerasdl.vision.detection.ssd import SSDMethod
from kerasdl.vision.detection.two_stage.faster_rcnn import FasterRCNNMethod
from kerasdl.vision.detection.two_stage.region_proposals import ProposalMethod

SHAPE, TRAIN, TEST = (96, 96, 3), 4000, 300
RESULTS, KEYS = Path("detectors.jsonl"), ("method", "seed")


def csp(*stages: tuple[int, int]) -> dict[str, Any]:
    """Returns the settings of a small backbone: stages of YOLOv8, a quarter as wide as stated."""
    return {"backbone": "yolo_v8_n", "backbone_settings": {"stages": stages, "depth": 1.0}}


class SmallSSDMethod(SSDMethod):
    """SSD whose default boxes have the sides of the objects: 13 to 16 pixels at stride 4, 20 to 25 at stride 8."""

    def sides(self, levels: int) -> list[float]:
        return [0.14, 0.21, 0.32]


@dataclass(frozen=True)
class Row:
    """Net and training of one method."""

    name: str
    """Of the builder."""
    settings: Mapping[str, Any]
    """Arguments of the builder."""
    epochs: int
    method: Method | None = None
    """Target assigner, loss and decoder, where the method's own settings are for larger objects."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of the run."""
    box_head: Mapping[str, Any] | None = None
    """Arguments of the second network of two stages."""
    start: tuple[str, int] | None = None
    """Method and its epochs: its trained backbone is taken, and is not trained further."""

    def detector(self, classes: int) -> Detector:
        """Returns a fresh detector."""
        if self.box_head is None:
            network = kerasdl.build(self.name, image_shape=SHAPE, classes=classes, **self.settings)
            return Detector(network, self.method)
        network = kerasdl.build(self.name, image_shape=SHAPE, **self.settings)
        head = kerasdl.build(f"{self.name}_box_head", image_shape=SHAPE, classes=classes, **self.box_head)
        return FasterRCNN({"model": network, "box_head": head}, self.method)


CSP = csp((192, 2), (384, 2))
PROPOSALS = ProposalMethod(scale=4.0, samples=64, most=100, most_in_training=100)
TWO_LEVELS = {"strides": (4, 8), "extra": None, "channels": 48, "depth": 1, "groups": 8}
NETS = {
    "yolo_v8": Row("yolo_v8_n", {"stages": ((128, 1), (256, 2), (512, 2)), "strides": (4, 8, 16), "bins": 8}, 8),
    "fcos": Row("fcos", {**CSP, **TWO_LEVELS}, 7, FCOSMethod(reach=3.0)),
    "retinanet": Row("retinanet", {**CSP, **TWO_LEVELS}, 6, RetinaMethod(scale=3.0)),
    "centernet": Row(
        "centernet",
        {**CSP, "channels": (64,), "head_channels": 32, "skips": True},
        10,
        CenterMethod(size_weight=0.5),  # sides are a fifth as many strides as those of the paper's images
        config={"batch_size": 4},
    ),
    "ssd": Row(
        "ssd300",
        {**csp((256, 3), (384, 2)), "strides": (4, 8), "hidden": 96, "dilation": 1, "extras": (), "boxes": (4, 4)},
        7,
        SmallSSDMethod(),
        config={"learning_rate": 1e-3},
    ),
    "yolo_v3": Row("yolo_v3", {"stages": (1, 2, 2, 2), "channels": 16, "strides": (4, 8, 16)}, 7),
    "faster_rcnn": Row(
        "faster_rcnn",
        {**CSP, "strides": (4, 8), "channels": 48},
        6,
        FasterRCNNMethod(samples=64, rpn=PROPOSALS),
        box_head={"strides": (4, 8), "channels": 48, "size": 5, "width": 128},
    ),
    "detr": Row(
        "detr",
        {
            **CSP,
            **{"stride": 8, "width": 64, "heads": 4, "encoder_layers": 2, "decoder_layers": 3, "hidden": 128},
            **{"queries": 15, "dropout": 0.0, "auxiliary": True, "placed_values": True, "temperature": 20.0},
        },
        24,
        DETRMethod(no_object=0.4),  # 15 queries: of 100 more have no object
        config={"learning_rate": 1e-3, "clip_norm": 0.1},
        start=("fcos", 3),
    ),
}
CONFIG = {
    "batch_size": 8,
    "learning_rate": 2e-3,
    "schedule": schedules.Cosine(warmup=0.05),
    "strategy": None,
}


def scenes(split: str, size: int):
    """Returns scenes of middle difficulty, scaled for a network."""
    return load("shapes", split, size=size, image_shape=SHAPE)


def trained(method: str, seed: int) -> dict:
    """Trains one net with one seed, and returns its figures."""
    row = NETS[method]
    train, test = scenes("train", TRAIN), scenes("test", TEST)
    keras.utils.set_random_seed(seed)
    detector = row.detector(len(train.class_names))
    started, cpu = time.perf_counter(), time.process_time()
    if row.start:
        take_backbone(detector.main, train, *row.start, seed)
    fit(detector, train, config=RunConfig(epochs=row.epochs, seed=seed, **{**CONFIG, **row.config}))
    spent = time.perf_counter() - started, time.process_time() - cpu
    figures = detector.average_precision(test).result()
    weights = sum(network.count_params() for network in detector.networks.values())
    line = {"weights": weights, "epochs": row.epochs}
    line |= {name: round(float(figures[name]), 4) for name in ("AP", "AP50", "AP75")}
    return {**line, "seconds": round(spent[0]), "cpu_seconds": round(spent[1])}


def take_backbone(network: keras.Model, train: Any, method: str, epochs: int, seed: int) -> None:
    """Trains another method, and copies the layers that both networks have, which are then not trained."""
    row = NETS[method]
    teacher = row.detector(len(train.class_names))
    fit(teacher, train, config=RunConfig(epochs=epochs, seed=seed, **{**CONFIG, **row.config}))
    given = {layer.name: layer for layer in teacher.main.layers if layer.weights}
    for layer in network.layers:
        if layer.name in given:
            layer.set_weights(given[layer.name].get_weights())
            layer.trainable = False


def baseline() -> dict:
    """Returns the figures of the simplest detector: pixels far from the mean colour, joined where they touch."""
    test = load("shapes", "test", size=TEST, image_shape=SHAPE, scale=None)
    metric = MeanAveragePrecision(test.class_names)
    for images, labels in test.batches(50):
        found = []
        for image in images.numpy().astype(float):
            far = np.abs(image - image.mean(axis=(0, 1))).sum(axis=-1)
            regions, _ = ndimage.label(far > far.mean() + far.std())
            edges = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(regions)]
            large = [box for box in edges if min(box[2] - box[0], box[3] - box[1]) >= 8]
            boxes = [box for box in large for _ in test.class_names]
            classes = [number for _ in large for number in range(len(test.class_names))]
            found.append(PredictedObjects(boxes, classes, np.full(len(boxes), 0.5)))
        metric.update_state(list(true_records(labels)), found)
    figures = metric.result()
    return {name: round(float(figures[name]), 4) for name in ("AP", "AP50", "AP75")}


def main() -> None:
    """Trains what is missing, and prints the table."""
    asked = kept_lines.asked(__doc__, NETS, kind="method")
    jobs = {("threshold", 0): baseline}
    jobs |= {(name, seed): partial(trained, name, seed) for seed in range(asked.seeds) for name in asked.names}
    kept_lines.measure(RESULTS, KEYS, jobs if not asked.table else {})
    kept_lines.means(
        RESULTS, KEYS[:1], {"weights": ",.0f", "AP": ".3f", "AP50": ".3f", "AP75": ".3f", "cpu_seconds": ".0f"}
    )


if __name__ == "__main__":
    main()
