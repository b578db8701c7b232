"""Small detectors trained on drawn scenes: average precision by method, over seeds, beside a trivial baseline.

    python benchmarks/detectors.py                          # all methods, three seeds; about 5 minutes each
    python benchmarks/detectors.py yolo_v8 --seeds 1
    python benchmarks/detectors.py --table                  # the table of what was measured so far

Each method and seed is a line of JSON in `detectors.jsonl` of the working folder; what stands there is not trained
again, so that the benchmark can be stopped and started. All train on the same 3,000 scenes of `shapes` at 96 x 96
pixels and are measured on 300 others.
"""

import argparse
import json
import time
from pathlib import Path

import keras
import numpy as np
from scipy import ndimage

import kerasdl
from kerasdl.core.objects import PredictedObjects
from kerasdl.data import load
from kerasdl.metrics import MeanAveragePrecision
from kerasdl.train import RunConfig, fit
from kerasdl.vision.detection import Detector
from kerasdl.vision.detection.detector import true_records

SIDE, TRAIN, TEST, EPOCHS = 96, 3000, 300, 7
RESULTS = Path("detectors.jsonl")
RESIDUAL = {
    "backbone": "resnet18",
    "backbone_settings": {"channels": 24, "stages": (2, 2, 2), "bottleneck": False},
    "strides": (4, 8, 16),
    "extra": None,
    "channels": 64,
    "depth": 2,
    "groups": 8,
}
NETS = {
    "yolo_v8": ("yolo_v8_n", {"stages": ((128, 1), (256, 2), (512, 2)), "strides": (4, 8, 16), "bins": 8}),
    "fcos": ("fcos", RESIDUAL),
    "retinanet": ("retinanet", RESIDUAL),
    "yolo_v3": ("yolo_v3", {"stages": (1, 2, 2, 2), "channels": 16, "strides": (4, 8, 16)}),
}
CONFIG = {"batch_size": 16, "learning_rate": 2e-3, "schedule": "cosine", "strategy": None}


def scenes(split: str, size: int):
    """Returns scenes of middle difficulty, scaled for a network."""
    return load("shapes", split, size=size, image_shape=(SIDE, SIDE, 3))


def trained(method: str, seed: int) -> dict:
    """Trains one net with one seed, and returns its figures."""
    name, settings = NETS[method]
    train, test = scenes("train", TRAIN), scenes("test", TEST)
    keras.utils.set_random_seed(seed)
    network = kerasdl.build(name, image_shape=(SIDE, SIDE, 3), classes=len(train.class_names), **settings)
    detector, started, cpu = Detector(network), time.perf_counter(), time.process_time()
    fit(detector, train, config=RunConfig(epochs=EPOCHS, seed=seed, **CONFIG))
    spent = time.perf_counter() - started, time.process_time() - cpu
    figures = detector.average_precision(test).result()
    row = {"method": method, "seed": seed, "weights": network.count_params(), "epochs": EPOCHS}
    row |= {name: round(float(figures[name]), 4) for name in ("AP", "AP50", "AP75")}
    return {**row, "seconds": round(spent[0]), "cpu_seconds": round(spent[1])}


def baseline() -> dict:
    """Returns the figures of the simplest detector: pixels far from the mean colour, joined where they touch."""
    test = load("shapes", "test", size=TEST, image_shape=(SIDE, SIDE, 3), scale=None)
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
    return {
        "method": "threshold",
        "seed": 0,
        **{name: round(float(figures[name]), 4) for name in ("AP", "AP50", "AP75")},
    }


def rows() -> list[dict]:
    """Returns what was measured so far."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def table() -> None:
    """Prints the mean over seeds of each method."""
    print(f"{'method':12}{'weights':>10}{'seeds':>7}{'AP':>8}{'AP50':>8}{'AP75':>8}{'CPU s':>8}")
    for method in dict.fromkeys(row["method"] for row in rows()):
        of_method = [row for row in rows() if row["method"] == method]
        means = [np.mean([row[name] for row in of_method]) for name in ("AP", "AP50", "AP75")]
        seconds = np.mean([row.get("cpu_seconds", 0) for row in of_method])
        weights = of_method[0].get("weights", 0)
        numbers = "".join(f"{mean:8.3f}" for mean in means)
        print(f"{method:12}{weights:>10,}{len(of_method):>7}{numbers}{seconds:8.0f}")


def main() -> None:
    """Trains what is missing, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"of {', '.join(NETS)}; all by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="train nothing")
    asked = parser.parse_args()
    if unknown := set(asked.methods) - set(NETS):
        parser.error(f"methods are {', '.join(NETS)}; got {', '.join(sorted(unknown))}")
    jobs = [(method, seed) for seed in range(asked.seeds) for method in asked.methods or NETS]
    done = {(row["method"], row["seed"]) for row in rows()}
    for method, seed in [("threshold", 0), *jobs] if not asked.table else []:
        if (method, seed) not in done:
            row = baseline() if method == "threshold" else trained(method, seed)
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
    table()


if __name__ == "__main__":
    main()
