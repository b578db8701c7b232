"""None of these: share of pictures of other kinds that a calibrated bundle of five kinds of emoji rejects.

    python benchmarks/unknown_classes.py        # about two minutes of CPU time

First the embedded bundle of digits on letters and clothes. Then a net tuned on 50 emoji of five kinds: half of their
170 test pictures calibrate it; the other half and all emoji of other kinds judge it, near ones, of a category of one of
the kinds (other animals, other food), and far ones.
"""

import argparse
import json
import tempfile
import warnings
import zipfile
from pathlib import Path

import keras
import numpy as np

import kerasdl
from kerasdl.bundles import Bundle, Calibration, resized
from kerasdl.core.outputs.calibration import calibration_error
from kerasdl.core.outputs.decoding import softmax
from kerasdl.data import DataWarning
from kerasdl.data.builtin.pictures import FILES, KINDS
from kerasdl.deploy import run_exported
from kerasdl.train import RunConfig

NAME, SIDE, SETTINGS = "imagenet_efficientnet_lite0", 128, RunConfig(progress="off", batch_size=16, schedule="cosine")


def other_kinds(style: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Returns the pictures of all emoji of other kinds, and whether each is of a category that has one of the kinds."""
    with zipfile.ZipFile(FILES / "emoji.zip") as archive:
        names = json.loads(archive.read("emoji.json"))
    places = {each["subcategory"] for each in names if each["subcategory"] in KINDS}
    near = {each["category"] for each in names if each["subcategory"] in places}
    chosen = [(k, each["category"] in near) for k, each in enumerate(names) if each["subcategory"] not in KINDS]
    images = kerasdl.data.builtin.pictures._emoji(
        "emoji", np.array([k for k, _ in chosen]), np.zeros(len(names), int), ("x",), style
    )
    return images.arrays()[0], np.array([is_near for _, is_near in chosen])


def shares(calibration: Calibration, logits: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Returns figures of a calibrated bundle on pictures that did not calibrate it."""
    scores = calibration.scores(logits, "logits")
    is_right, is_kept = scores.argmax(axis=-1) == truth, scores.max(axis=-1) >= calibration.threshold
    return {
        "error before": calibration_error(softmax(logits), truth),
        "error": calibration_error(scores, truth),
        "accuracy": is_right.mean(),
        "right kept": is_kept[is_right].mean(),
        "wrong rejected": (~is_kept)[~is_right].mean(),
    }


def answers(calibration: Calibration, scores: np.ndarray) -> np.ndarray:
    """Returns the place of each answer, -1 for none."""
    return np.where(scores.max(axis=-1) < calibration.threshold, -1, scores.argmax(axis=-1))


def same_answers(bundle: Bundle, images: np.ndarray, logits: np.ndarray, quantize: str | None) -> float:
    """Returns the share of pictures of which a file with scores gives the answer of predict, none included."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kinds.tflite"
        bundle.export(path, representative="emoji_kinds", quantize=quantize, scores=True)
        inputs, _ = bundle.task.preprocess(list(images), bundle.preprocess)
        (scores,) = run_exported(path, inputs).values()
    expected = bundle.calibration.scores(logits, "logits")
    return float(np.mean(answers(bundle.calibration, scores) == answers(bundle.calibration, expected)))


def show(name: str, calibration: Calibration, figures: dict[str, float]) -> None:
    """Prints a row."""
    print(name, calibration, {key: round(float(value), 4) for key, value in figures.items()}, flush=True)


def digits() -> None:
    """Measures the embedded bundle of digits on letters and on clothes."""
    bundle = kerasdl.load_bundle("digits_mobilenet").calibrate("digits")
    images, truth = kerasdl.data.load("digits", "test", scale=None).arrays()
    figures = shares(bundle.calibration, bundle.logits(list(images)), truth)
    for other in ("glyphs", "fashion_mnist"):
        pictures = kerasdl.data.load(other, "test", scale=None, size=500).arrays()[0]
        found = answers(bundle.calibration, bundle.calibration.scores(bundle.logits(list(pictures)), "logits"))
        figures[f"{other} rejected"] = np.mean(found == -1)
    show("digits", bundle.calibration, figures)


def kinds() -> None:
    """Tunes a net to five kinds of emoji, and measures it on all other ones."""
    keras.utils.set_random_seed(0)
    start = resized(kerasdl.load_bundle(NAME), (SIDE, SIDE, 3))
    tuned = start.finetune("emoji_kinds", epochs=15, learning_rate=3e-3, freeze="features", config=SETTINGS)
    images, truth = kerasdl.data.load("emoji_kinds", "test", scale=None).arrays()
    others, near = other_kinds("twemoji")
    half, seen = np.arange(len(images)) % 2 == 0, np.random.default_rng(0).permutation(len(others)) < 200
    own, of_others = tuned.logits(list(images[~half])), tuned.logits(list(others[~seen]))
    is_near = near[~seen]
    for name, none in (("95 % kept", None), ("parted by 200 of none", list(others[seen]))):
        bundle = tuned.calibrate((images[half], truth[half]), none)
        calibration = bundle.calibration
        none = answers(calibration, calibration.scores(of_others, "logits")) == -1
        figures = {**shares(calibration, own, truth[~half]), "others rejected": none.mean()}
        show(name, calibration, {**figures, "near": none[is_near].mean(), "far": none[~is_near].mean()})
    print(len(own), "of the kinds,", is_near.sum(), "near,", (~is_near).sum(), "far", flush=True)
    judged, logits = np.concatenate([images[~half], others[~seen][:85]]), np.concatenate([own, of_others[:85]])
    for quantize in (None, "int8"):
        print("same answers", quantize, same_answers(bundle, judged, logits, quantize), flush=True)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    warnings.simplefilter("ignore", DataWarning)
    digits()
    kinds()
