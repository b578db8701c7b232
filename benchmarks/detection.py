"""Cost of a detector's last steps: `python benchmarks/detection.py`, five minutes.

Suppression beside tf.image.combined_non_max_suppression (8,400 boxes of 80 classes, 1,000 pairs above the least score),
and mean average precision beside pycocotools (80 classes, as many objects in an image as in COCO), in turns.
"""

import argparse
import contextlib
import io
import statistics
import time
from collections.abc import Callable

from kerasdl import ops  # first, so that TensorFlow starts in silence

# isort: split
import numpy as np
import tensorflow as tf
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kerasdl.core import PredictedObjects, TrueObjects
from kerasdl.metrics import MeanAveragePrecision

BOXES, CLASSES, SIDE, ABOVE = 8400, 80, 640, 1000
ROUNDS = 20


def main() -> None:
    """Prints both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000, help="of the metric")
    asked = parser.parse_args()
    compare_suppression()
    compare_metric(asked.images)


def compare_suppression() -> None:
    rng = np.random.default_rng(0)
    centres, sides = rng.uniform(0, SIDE, (1, BOXES, 2)), rng.uniform(10, 200, (1, BOXES, 2))
    boxes = tf.constant(np.concatenate([centres - sides / 2, centres + sides / 2], axis=-1), tf.float32)
    scores = rng.uniform(0.06, 1, (1, BOXES, CLASSES)).astype("float32")
    scores = tf.constant(np.where(scores >= np.sort(scores.ravel())[-ABOVE], scores, 0.01))
    own = tf.function(lambda: ops.nms(boxes, scores, overlap=0.5, min_score=0.05, max_boxes=100, candidates=ABOVE))
    peer = tf.function(
        lambda: tf.image.combined_non_max_suppression(
            boxes[:, :, None], scores, ABOVE, 100, 0.5, 0.05, clip_boxes=False
        )
    )
    np.testing.assert_array_equal(own().scores, peer().nmsed_scores)
    ours, theirs = in_turns(own, peer, ROUNDS)
    print(f"suppression: {1e3 * ours:.1f} ms, TensorFlow's {1e3 * theirs:.1f} ms: {theirs / ours:.2f} of its speed")


def compare_metric(images: int) -> None:
    rng = np.random.default_rng(0)
    true, predicted = [], []
    for _ in range(images):
        count = int(rng.poisson(7))
        corners, sides = rng.uniform(0, SIDE - 50, (count, 2)), rng.uniform(8, 300, (count, 2))
        boxes, classes = np.concatenate([corners, corners + sides], axis=1), rng.integers(0, CLASSES, count)
        true.append(TrueObjects(boxes, classes))
        near = np.tile(boxes, (8, 1)) + rng.normal(0, 12, (8 * count, 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        kinds = np.where(rng.random(8 * count) < 0.7, np.tile(classes, 8), rng.integers(0, CLASSES, 8 * count))
        predicted.append(PredictedObjects(near, kinds, rng.random(8 * count)))
    coco = as_coco(true)
    with contextlib.redirect_stdout(io.StringIO()):
        results = coco.loadRes(as_results(predicted))
    figures = {}

    def own() -> None:
        metric = MeanAveragePrecision(CLASSES)
        metric.update_state(true, predicted)
        figures["own"] = metric.result()["AP"]

    def peer() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(coco, results, "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        figures["peer"] = evaluation.stats[0]

    ours, theirs = in_turns(own, peer, 3)
    assert abs(figures["own"] - figures["peer"]) < 1e-9, figures
    print(f"metric over {images} images: {ours:.2f} s, pycocotools {theirs:.2f} s: {theirs / ours:.1f} times its speed")


def as_coco(true: list[TrueObjects]) -> COCO:
    coco, marks = COCO(), []
    for image, each in enumerate(true, start=1):
        for box, kind, area in zip(each.boxes, each.classes, each.areas, strict=True):
            mark = {"bbox": width_and_height(box), "area": float(area), "iscrowd": 0}
            marks.append({"id": len(marks) + 1, "image_id": image, "category_id": int(kind), **mark})
    coco.dataset = {
        "images": [{"id": image} for image in range(1, len(true) + 1)],
        "categories": [{"id": k} for k in range(CLASSES)],
        "annotations": marks,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def as_results(predicted: list[PredictedObjects]) -> list[dict]:
    return [
        {"image_id": image, "category_id": int(kind), "bbox": width_and_height(box), "score": float(score)}
        for image, each in enumerate(predicted, start=1)
        for box, kind, score in zip(each.boxes, each.classes, each.scores, strict=True)
    ]


def width_and_height(box: np.ndarray) -> list[float]:
    left, top, right, bottom = map(float, box)
    return [left, top, right - left, bottom - top]


def in_turns(first: Callable, second: Callable, rounds: int) -> tuple[float, float]:
    """Returns the median seconds of two calls."""
    seconds = {first: [], second: []}
    for _ in range(rounds):
        for call, taken in seconds.items():
            started = time.perf_counter()
            call()
            taken.append(time.perf_counter() - started)
    return statistics.median(seconds[first]), statistics.median(seconds[second])


if __name__ == "__main__":
    main()
