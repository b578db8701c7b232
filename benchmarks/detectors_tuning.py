"""Detectors that begin with trained weights, against the same nets from fresh ones: average precision over seeds.

    python benchmarks/detectors_tuning.py few_20 few_50     # `shapes_yolo` on 30 scenes of five emoji, 20 or 50 epochs
    python benchmarks/detectors_tuning.py kinds             # FCOS over ImageNet features, 10 minutes a seed
    python benchmarks/detectors_tuning.py --table           # the table of what was measured so far

Each net and seed is a line of JSON in `detectors_tuning.jsonl` of the working folder; what stands there is not trained
again. Both starts get the same scenes, epochs and rate. Test scenes show other parts of the photographs. In `few_20`
and `few_50`, a minute a start, each emoji is a class; in `kinds` five kinds of emoji are, and no emoji of the test is
in a training scene; the other style draws the same emoji differently.
"""

import time
from functools import partial
from pathlib import Path

import kept_lines
import keras

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.data import augment, load
from kerasdl.data.detection import paste_stickers
from kerasdl.train import RunConfig, fit
from kerasdl.vision.detection import Detector
from kerasdl.vision.detection.fcos import FCOSMethod

RESULTS, KEYS = Path("detectors_tuning.jsonl"), ("job", "start", "seed")
EMOJI = ("RED APPLE", "DOG FACE", "BUS", "RAINBOW", "TOP HAT")
FEATURES, SHAPE = "imagenet_efficientnet_lite0", (128, 128, 3)
STARTS = ("trained", "fresh")
CONFIG = {"batch_size": 8, "schedule": "cosine", "augment": augment.Flip(), "strategy": None, "progress": "off"}


def few(start: str, seed: int, epochs: int) -> dict[str, float]:
    """Tunes `shapes_yolo`, or a net of the same kind with fresh weights, on 30 scenes with new classes."""
    train = paste_stickers(30, seed=seed, classes=EMOJI)
    test = paste_stickers(200, split="test", classes=EMOJI)
    bundle = kerasdl.load_bundle("shapes_yolo")
    if start == "fresh":
        keras.utils.set_random_seed(seed)
        builder, arguments = bundle.manifest.builder, bundle.manifest.arguments
        settings = {"preprocess": {"image_shape": SHAPE, "scale": (-1.0, 1.0)}, "labels": bundle.labels}
        network = kerasdl.build(builder, **arguments)
        bundle = Bundle.of(
            network, name=start, task="object_detection", builder=builder, arguments=arguments, **settings
        )
    tuned = bundle.finetune(train, epochs=epochs, learning_rate=2e-3, config=RunConfig(seed=seed, **CONFIG))
    return {"AP50": tuned.evaluate(test)["AP50"]}


def kinds(start: str, seed: int) -> dict[str, float]:
    """Trains FCOS over EfficientNet-Lite0 with the embedded ImageNet weights, or with fresh ones, on 400 scenes."""
    train, test, other = (
        load(name, split, image_shape=SHAPE)
        for name, split in (("stickers", "train"), ("stickers", "test"), ("stickers:noto", "test"))
    )
    keras.utils.set_random_seed(seed)
    settings = {"strides": (8, 16), "extra": None, "channels": 64, "depth": 1, "groups": 8}
    network = kerasdl.build(
        "fcos", image_shape=SHAPE, classes=len(train.class_names), backbone="efficientnet_lite0", **settings
    )
    if start == "trained":
        features = {layer.name: layer for layer in kerasdl.load_bundle(FEATURES).model.layers if layer.weights}
        for layer in network.layers:
            if layer.name in features:  # the stem and the stages; heads and pyramid have other names
                layer.set_weights(features[layer.name].get_weights())
    detector = Detector(network, FCOSMethod(reach=3.0))
    fit(detector, train, config=RunConfig(epochs=12, learning_rate=1e-3, seed=seed, **CONFIG))
    figures = {"AP50": test, "other style": other}
    return {name: detector.average_precision(data).result()["AP50"] for name, data in figures.items()}


JOBS = {"few_20": partial(few, epochs=20), "few_50": partial(few, epochs=50), "kinds": kinds}


def measured(job: str, start: str, seed: int) -> dict:
    """Returns the figures of one training, with its CPU seconds."""
    cpu = time.process_time()
    figures = {name: round(float(value), 4) for name, value in JOBS[job](start, seed).items()}
    return {"cpu_seconds": round(time.process_time() - cpu), **figures}


def main() -> None:
    """Trains what is missing, and prints the table."""
    asked = kept_lines.asked(__doc__, JOBS, kind="job")
    todo = [(job, start, seed) for seed in range(asked.seeds) for job in asked.names for start in STARTS]
    kept_lines.measure(RESULTS, KEYS, {each: partial(measured, *each) for each in todo if not asked.table})
    kept_lines.means(RESULTS, KEYS[:2], {"AP50": ".3f", "other style": ".3f", "cpu_seconds": ".0f"})


if __name__ == "__main__":
    main()
