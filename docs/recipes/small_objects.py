"""Small objects and the size of the input: AP by size. `python docs/recipes/small_objects.py`.

Two processor minutes, about one and a half on two idle cores. `shapes_yolo` is tuned on 120 scenes of 256 pixels
that are resized to the input, and measured on 80. It prints a row of each input: its side, AP of objects below and from
32 x 32 pixels of the scene, AP50, processor milliseconds a scene. One run:

| 64 | 0.024 | 0.141 | 0.168 | 17.7 |
| 128 | 0.250 | 0.671 | 0.681 | 15.5 |
| 192 | 0.554 | 0.684 | 0.840 | 21.4 |
"""

import dataclasses
import time

import kerasdl
from kerasdl.core import PredictedObjects, TrueObjects
from kerasdl.data import Dataset
from kerasdl.data.detection import draw_shapes
from kerasdl.metrics import MeanAveragePrecision
from kerasdl.train import RunConfig

SIDE, LENGTHS = 256, (8.0, 32.0)
"""Sides of the scenes in pixels; lengths of objects of a scene of 128 pixels, so twice that here: 16 to 64 pixels."""


def scenes(split: str, count: int) -> Dataset:
    """Returns raw scenes of small and medium objects, below and above 32 x 32 pixels."""
    return draw_shapes(count, split=split, side=SIDE, lengths=LENGTHS)


def tuned(train: Dataset, side: int, seed: int = 0, epochs: int = 4) -> kerasdl.Bundle:
    """Returns the embedded detector for images of a side, fine-tuned on scenes that were resized to it."""
    bundle = kerasdl.bundles.resized(kerasdl.load_bundle("shapes_yolo"), (side, side, 3))
    bundle = dataclasses.replace(bundle, preprocess={**bundle.preprocess, "min_score": 0.01})  # AP counts unlikely ones
    config = RunConfig(batch_size=8, schedule="cosine", seed=seed)
    return bundle.finetune(train, epochs=epochs, learning_rate=1e-3, config=config)


def measured(bundle: kerasdl.Bundle, test: Dataset) -> dict[str, float]:
    """Returns AP by the size of objects in the scene, and processor milliseconds a scene."""
    images, labels = test.arrays()
    bundle.predict(images[:8])  # traces the graph
    started = time.process_time()
    answers = bundle.predict(images)
    spent = 1000 * (time.process_time() - started) / len(images)
    names = {name: number for number, name in enumerate(bundle.labels)}
    found = [PredictedObjects(a["boxes"], [names[each] for each in a["labels"]], a["scores"]) for a in answers]
    metric = MeanAveragePrecision(bundle.labels)
    truth = [TrueObjects(*pair) for pair in zip(labels["boxes"], labels["classes"], strict=True)]
    metric.update_state(truth, found)
    figures = metric.result()
    return {name: figures[name] for name in ("AP_small", "AP_medium", "AP50")} | {"ms": spent}


def compare(sides: tuple[int, ...] = (64, 128, 192), count: int = 120) -> dict[int, dict[str, float]]:
    """Returns the figures of each size of input, and prints them."""
    train, test, rows = scenes("train", count), scenes("test", 80), {}
    for side in sides:
        kerasdl.set_seed(0)
        row = rows[side] = measured(tuned(train, side), test)
        print(
            f"| {side} | {row['AP_small']:.3f} | {row['AP_medium']:.3f} | {row['AP50']:.3f} | {row['ms']:.1f} |",
            flush=True,
        )
    return rows


if __name__ == "__main__":
    compare()
