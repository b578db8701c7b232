"""Speed of mean average precision beside its peers: `python benchmarks/mean_average_precision.py`, five minutes.

5,000 images of 80 classes with 7 true and 100 predicted objects each, as in COCO's validation set. All evaluations run
in turns in one process, from objects in memory to the twelve figures; the processor's seconds are those of all threads.
Peers that are not installed are left out: `pip install pycocotools hotcoco faster-coco-eval`.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kerasdl.core import PredictedObjects, TrueObjects
from kerasdl.metrics import MeanAveragePrecision

CLASSES, SIDE, EACH, COPIES = 80, 640, 100, 5


def main() -> None:
    """Prints the median wall and processor seconds of each evaluation, and the ratio to ours."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    true, predicted = scenes(asked.images)
    calls = {"kerasdl": lambda: own_figures(true, predicted)}
    with tempfile.TemporaryDirectory() as folder:
        truth, results = Path(folder, "truth.json"), Path(folder, "results.json")
        truth.write_text(json.dumps(as_coco(true)))
        results.write_text(json.dumps(as_results(predicted)))
        for name, module in {
            "pycocotools": "pycocotools",
            "faster-coco-eval": "faster_coco_eval",
            "hotcoco": "hotcoco",
        }.items():
            if importlib.util.find_spec(module):
                calls[name] = peer(name, str(truth), str(results))
        show(in_turns(calls, asked.rounds))


def scenes(images: int, seed: int = 0) -> tuple[list[TrueObjects], list[PredictedObjects]]:
    """Returns images whose predicted objects are shifted copies of the true ones, some in another class, and noise."""
    rng = np.random.default_rng(seed)
    true, predicted = [], []
    for _ in range(images):
        count = int(rng.poisson(7))
        boxes, classes = drawn(rng, count), rng.integers(0, CLASSES, count)
        true.append(TrueObjects(boxes, classes))
        near, kinds = np.tile(boxes, (COPIES, 1))[:EACH], np.tile(classes, COPIES)[:EACH]
        near = near + rng.normal(0, 12, near.shape)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        kinds = np.where(rng.random(len(kinds)) < 0.7, kinds, rng.integers(0, CLASSES, len(kinds)))
        rest = EACH - len(near)
        near = np.concatenate([near, drawn(rng, rest)])
        kinds = np.concatenate([kinds, rng.integers(0, CLASSES, rest)])
        predicted.append(PredictedObjects(near, kinds, rng.random(EACH)))
    return true, predicted


def drawn(rng: np.random.Generator, count: int) -> np.ndarray:
    corners, sides = rng.uniform(0, SIDE - 50, (count, 2)), rng.uniform(8, 300, (count, 2))
    return np.concatenate([corners, corners + sides], axis=1)


def own_figures(true: list[TrueObjects], predicted: list[PredictedObjects]) -> list[float]:
    metric = MeanAveragePrecision(CLASSES)
    metric.update_state(true, predicted)
    return list(metric.result().values())


def peer(name: str, truth: str, results: str) -> Callable[[], list[float]]:
    """Returns the evaluation of a peer over files that it has read: from records in memory to the twelve figures."""
    with contextlib.redirect_stdout(io.StringIO()):
        if name == "pycocotools":
            from pycocotools.coco import COCO
            from pycocotools.cocoeval import COCOeval as Evaluation
        elif name == "hotcoco":
            from hotcoco import COCO
            from hotcoco import COCOeval as Evaluation
        else:
            from faster_coco_eval import COCO
            from faster_coco_eval import COCOeval_faster as Evaluation
        known = COCO(truth)
        found = known.load_res(results) if name == "hotcoco" else known.loadRes(results)

    def evaluate() -> list[float]:
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = Evaluation(known, found, "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return list(evaluation.stats)[:12]

    return evaluate


def as_coco(true: list[TrueObjects]) -> dict:
    marks = []
    for image, each in enumerate(true, start=1):
        for box, kind, area in zip(each.boxes, each.classes, each.areas, strict=True):
            mark = {"bbox": width_and_height(box), "area": float(area), "iscrowd": 0}
            marks.append({"id": len(marks) + 1, "image_id": image, "category_id": int(kind) + 1, **mark})
    return {
        "images": [{"id": image, "width": SIDE, "height": SIDE} for image in range(1, len(true) + 1)],
        "categories": [{"id": k + 1, "name": str(k)} for k in range(CLASSES)],
        "annotations": marks,
    }


def as_results(predicted: list[PredictedObjects]) -> list[dict]:
    return [
        {"image_id": image, "category_id": int(kind) + 1, "bbox": width_and_height(box), "score": float(score)}
        for image, each in enumerate(predicted, start=1)
        for box, kind, score in zip(each.boxes, each.classes, each.scores, strict=True)
    ]


def width_and_height(box: np.ndarray) -> list[float]:
    left, top, right, bottom = map(float, box)
    return [left, top, right - left, bottom - top]


def in_turns(calls: dict[str, Callable], rounds: int) -> dict[str, tuple[float, float]]:
    """Returns the median wall and processor seconds of each call, whose figures must be equal."""
    taken = {name: [] for name in calls}
    for _ in range(rounds):
        figures = {}
        for name, call in calls.items():
            wall, processor = time.perf_counter(), time.process_time()
            figures[name] = call()
            taken[name].append((time.perf_counter() - wall, time.process_time() - processor))
        for name, values in figures.items():
            np.testing.assert_allclose(values, figures["kerasdl"], atol=1e-6, err_msg=name)
    return {name: tuple(statistics.median(each) for each in zip(*pairs, strict=True)) for name, pairs in taken.items()}


def show(seconds: dict[str, tuple[float, float]]) -> None:
    own = seconds["kerasdl"]
    for name, (wall, processor) in seconds.items():
        print(
            f"{name:17} {wall:7.2f} s wall, {processor:7.2f} s of the processor; "
            f"{wall / own[0]:6.2f} and {processor / own[1]:6.2f} times ours"
        )


if __name__ == "__main__":
    main()
