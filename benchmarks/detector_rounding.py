"""AP50 of `shapes_yolo` in float, of its int8 file after training, and with training for it, rounded and as a file.

`python benchmarks/detector_rounding.py` takes 98 processor seconds: 240 scenes in two epochs, 100 test scenes.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import kerasdl
from kerasdl.core import PredictedObjects, TrueObjects
from kerasdl.data import Dataset
from kerasdl.deploy import export_with_postprocess, quantize_aware, run_exported
from kerasdl.metrics import MeanAveragePrecision
from kerasdl.train import RunConfig
from kerasdl.vision.detection import Detector

LEARNT, TESTED, BATCH = 240, 100, 20
CONFIG = RunConfig(epochs=2, batch_size=8, learning_rate=3e-5, schedule="cosine", clip_norm=1.0, progress="off")


def average_precision(test: Dataset, found: Sequence[PredictedObjects]) -> float:
    """Returns AP50 of objects that were found in scenes."""
    metric = MeanAveragePrecision(test.class_names)
    metric.update_state([TrueObjects(labels["boxes"], labels["classes"]) for _, labels in test], found)
    return round(metric.result()["AP50"], 4)


def objects_of(path: Path, test: Dataset) -> list[PredictedObjects]:
    """Returns the objects that a file finds in scenes."""
    images, found = test.arrays()[0], []
    for start in range(0, len(images), BATCH):
        answer = run_exported(path, images[start : start + BATCH])
        columns = (answer[name] for name in ("boxes", "classes", "scores"))
        found += [
            PredictedObjects(*(row[:count] for row in rows))
            for *rows, count in zip(*columns, np.asarray(answer["count"]), strict=True)
        ]
    return found


def main() -> dict[str, float]:
    """Returns AP50 of the float network, its int8 file, the network trained with rounding, and the file of that."""
    bundle = kerasdl.load_bundle("shapes_yolo")
    network = bundle.networks["model"]
    train, test = (
        bundle.ready(kerasdl.data.load("shapes", split, size=size))
        for split, size in (("train", LEARNT), ("test", TESTED))
    )
    objects = bundle.task.postprocess({"model": network}, bundle.preprocess, network.input_shape[1:])
    figures = {"float": average_precision(test, Detector(network).detect(test.arrays()[0]))}
    with tempfile.TemporaryDirectory() as folder:
        after, trained = (Path(folder, f"{name}.tflite") for name in ("after", "trained"))
        images = train.arrays()[0]
        export_with_postprocess(network, objects, after, quantize="int8", representative=images)
        figures["int8 file after training"] = average_precision(test, objects_of(after, test))
        rounded = quantize_aware(network, train, config=CONFIG)
        figures["trained with rounding"] = average_precision(test, Detector(rounded.model).detect(test.arrays()[0]))
        export_with_postprocess(rounded, objects, trained, samples=images[:64])
        figures["its int8 file"] = average_precision(test, objects_of(trained, test))
    return figures


if __name__ == "__main__":
    print(main())
