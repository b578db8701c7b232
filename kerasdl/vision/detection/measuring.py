"""Measurement of a detector or of its exported file: average precision, classes, confusion, and the worst mistakes."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kerasdl.core.display.object_drawing import draw_scenes
from kerasdl.core.objects import PredictedObjects, TrueObjects
from kerasdl.core.outputs.measurement import Measurement
from kerasdl.data import Dataset
from kerasdl.data.trees import unpacked
from kerasdl.metrics import MeanAveragePrecision, detection_confusion

from .detector import MIN_SCORE as LOWEST
from .method import checked_truth, sides_of, true_batch
from .object_records import records, true_records

MIN_SCORE = 0.3
"""Lowest score of an object that a bundle names, unless its settings have `min_score`."""
MOST_DRAWN = 12
"""Images in the picture of mistakes."""


def file_figures(run: Callable[..., Mapping[str, Any]], data: Dataset, labels: Sequence[str]) -> Measurement:
    """Returns AP, AP50 and AP75 of an exported file over labelled data, and what a report shows of the classes.

    Args:
        run: runs the file on images, and returns its outputs by name.
        data: labelled images in pixels of the file's input.
        labels: label of each class.
    """

    def objects_of(images: np.ndarray) -> list[PredictedObjects]:
        outputs = run(images, min_score=LOWEST)
        return list(records([outputs[name] for name in ("boxes", "scores", "classes", "count")]))

    return measured(objects_of, data, labels)


def measured(
    answers: Callable[[np.ndarray], list[PredictedObjects]], data: Dataset, classes: int | Sequence[str]
) -> Measurement:
    """Returns the measurement of answers to labelled data; of these, objects below 0.05 do not count."""
    metric, true, predicted = MeanAveragePrecision(classes), [], []
    for images, labels, _ in map(unpacked, data.batches(8)):
        checked_truth(true_batch(labels), sides_of(images), len(metric.names))
        true += true_records(labels)
        predicted += [_likely(each) for each in answers(images.numpy())]
    metric.update_state(true, predicted)
    values, by_class = metric.result(), metric.per_class()
    confused = detection_confusion(true, predicted, classes, min_score=MIN_SCORE)
    objects = confused.counts[:-1].sum(axis=1)
    rows = [
        (name, int(count), *("-" if math.isnan(value) else round(value, 4) for value in by_class[name].values()))
        for name, count in zip(metric.names, objects, strict=True)
    ]
    plain = {name: {key: _plain(value) for key, value in each.items()} for name, each in by_class.items()}
    pictures: dict[str, Callable[[Path], Any]] = {"confusion.png": confused.plot}
    if data.any_order and data.scale is not None:
        pictures["objects.png"] = partial(_draw_worst, data, true, predicted, metric.names)
    return Measurement(
        {name: float(values[name]) for name in ("AP", "AP50", "AP75")},
        ("class", "objects", *next(iter(by_class.values()))),
        rows,
        {"labels": list(metric.names), "classes": plain, "confusion": confused.counts.tolist()},
        pictures,
    )


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _likely(objects: PredictedObjects, least: float = LOWEST) -> PredictedObjects:
    some = objects.scores >= least
    return PredictedObjects(objects.boxes[some], objects.classes[some], objects.scores[some])


def _draw_worst(
    data: Dataset, true: Sequence[TrueObjects], predicted: Sequence[PredictedObjects], names: Sequence[str], path: Path
) -> None:
    """Draws the images with the most mistakes, each twice: with its true objects and with those found."""

    def mistakes(place: int) -> int:
        counts = detection_confusion([true[place]], [predicted[place]], names, min_score=MIN_SCORE).counts
        return int(counts.sum() - np.trace(counts))

    places = sorted(range(len(true)), key=lambda place: -mistakes(place))[:MOST_DRAWN]
    low, high = (np.asarray(end, "float32") for end in data.scale)
    images = [np.rint((unpacked(data[place])[0] - low) / (high - low) * 255).astype("uint8") for place in places]
    some = ([each[place] for place in places] for each in (true, predicted))
    Image.fromarray(draw_scenes(images, *some, list(names), columns=2, min_score=MIN_SCORE)).save(path)
