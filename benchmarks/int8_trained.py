"""Trained nets as small files: how often they agree with the float net, on pictures that did not calibrate them.

    python benchmarks/int8_trained.py imagenet --half 0     # six photos calibrate, six others judge; --half 1 turns it
    python benchmarks/int8_trained.py kinds --bundle FILE   # fine-tuned to five kinds of emoji, where FILE is missing
    python benchmarks/int8_trained.py ways --bundle FILE    # the same: int8 in training, zeros, fewer channels

Photos are those of tests/bundles/photos and the two of scikit-learn. About 5 minutes each on two idle cores, training
(5 minutes more) apart. Latencies are medians of runs in turns, on one thread.
"""

import argparse
import gzip
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import keras
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

import kerasdl
from kerasdl.core import ExportError
from kerasdl.deploy import ExportReport, compare, export_tflite, prune, prune_channels, quantize_aware, run_exported
from kerasdl.train import RunConfig, fit

PHOTOS = Path(__file__).parents[1] / "tests" / "bundles" / "photos"
SHOWN, JUDGED, SIDE, SURE = 17, 43, 224, 0.5  # crops of a photo, pixels, probability
NAME, DATA, STYLES = "imagenet_efficientnet_lite0", "emoji_kinds", ("emoji_kinds", "emoji_kinds:noto")
EXPORTS = {
    "float32": {},
    "dynamic": {"quantize": "dynamic"},
    "int8": {"quantize": "int8"},
    "int8, corrected biases": {"quantize": "int8", "correct_biases": True},
    "int8, worst layers in float": {"quantize": "int8", "selective": "auto", "tolerance": 0.06},
}
QUIET = {"progress": "off", "batch_size": 16, "schedule": "cosine"}
TUNED = RunConfig(weight_decay=1e-2, **QUIET)
TUNING = {  # few epochs each: the net is trained already
    "aware": RunConfig(epochs=3, learning_rate=3e-5, clip_norm=1.0, **QUIET),
    "zeros": RunConfig(epochs=8, learning_rate=1e-3, clip_norm=1.0, **QUIET),
    "channels": RunConfig(epochs=15, learning_rate=3e-3, weight_decay=1e-2, **QUIET),
}


def imagenet(half: int, runs: int) -> None:
    """Prints the table of the embedded ImageNet net; one half of the photos calibrates, the other one judges."""
    bundle = kerasdl.load_bundle(NAME)
    named = sorted(photos().items())
    sources = [[image for _, image in named[start::2]] for start in (half, 1 - half)]
    squares = crops(sources[0], SHOWN, seed=1), crops(sources[1], JUDGED, seed=2)
    shown, judged = (bundle.ready(each).arrays()[0] for each in squares)
    print(f"calibrated on {len(shown)} crops, judged on {len(judged)} of other photos")
    table(bundle.model, shown, {"photos": judged}, runs)


def photos() -> dict[str, np.ndarray]:
    """Returns the photos by name, uint8 (H, W, 3)."""
    listed = json.loads((PHOTOS / "photos.json").read_text(encoding="utf-8"))
    own = {each["name"]: np.asarray(Image.open(PHOTOS / f"{each['name']}.jpg").convert("RGB")) for each in listed}
    return own | dict(zip(("china", "flower"), load_sample_images().images, strict=True))


def crops(images: list[np.ndarray], count: int, seed: int) -> np.ndarray:
    """Returns random squares of images, uint8 (N, 224, 224, 3): half to all of the shorter side, some mirrored."""
    rng, squares = np.random.default_rng(seed), []
    for image in images:
        for _ in range(count):
            side = int(min(image.shape[:2]) * rng.uniform(0.5, 1))
            top, left = (rng.integers(0, size - side + 1) for size in image.shape[:2])
            square = Image.fromarray(image[top : top + side, left : left + side])
            square = np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
            squares.append(square[:, ::-1] if rng.random() < 0.5 else square)
    return np.stack(squares)


def kinds(path: Path | None, runs: int) -> None:
    """Prints the table of the net fine-tuned to five kinds of emoji, on the test images of both styles."""
    bundle = tuned(path)
    tests = {style: bundle.ready(style, split="test").arrays() for style in STYLES}
    for style, (inputs, labels) in tests.items():
        print(f"{style}: float top-1 {np.mean(predicted(bundle.model, inputs).argmax(-1) == labels):.3f}")
    shown = bundle.ready(DATA, split="train").arrays()[0]
    table(bundle.model, shown, {style: inputs for style, (inputs, _) in tests.items()}, runs)


def tuned(path: Path | None) -> kerasdl.bundles.Bundle:
    """Returns the bundle at a path, or fine-tunes it by the recipe of docs/bundles.md and saves it there."""
    if path is not None and path.exists():
        return kerasdl.load_bundle(path)
    start = kerasdl.bundles.resized(kerasdl.load_bundle(NAME), (128, 128, 3))
    bundle = start.finetune(DATA, epochs=15, learning_rate=3e-3, config=TUNED)
    if path is not None:
        bundle.save(path)
    return bundle


def table(model: keras.Model, shown: np.ndarray, tests: dict[str, np.ndarray], runs: int) -> None:
    """Prints for each export the agreement with the model, where that is sure too, and size, latency and notes."""
    truth = {name: predicted(model, inputs) for name, inputs in tests.items()}
    with tempfile.TemporaryDirectory() as folder:
        paths = {kind: Path(folder, f"{number}.tflite") for number, kind in enumerate(EXPORTS)}
        for kind, options in EXPORTS.items():
            shows = {"representative": shown} if options.get("quantize") == "int8" else {}
            try:
                report = export_tflite(model, paths[kind], samples=next(iter(tests.values()))[:32], **options, **shows)
            except ExportError as error:
                print(f"\n{kind}: refused: {error}", flush=True)
                del paths[kind]
                continue
            print(f"\n{kind}: {report.bytes / 1e6:.2f} MB, written in {report.seconds:.0f} s", flush=True)
            for name, inputs in tests.items():
                (outputs,) = run_exported(paths[kind], inputs).values()
                print(f"  {name}: {agreement(truth[name], outputs)}", flush=True)
            for note in report.notes:
                print("  note:", note)
        print(compare(paths, runs=runs).table())


def agreement(truth: np.ndarray, outputs: np.ndarray) -> str:
    """Returns in words how often the largest output is the same, (N, K) logits each."""
    scores = np.exp(truth - truth.max(-1, keepdims=True))
    sure = (scores / scores.sum(-1, keepdims=True)).max(-1) >= SURE
    same = truth.argmax(-1) == outputs.argmax(-1)
    off = np.sqrt(np.mean((truth - outputs) ** 2) / np.mean(truth**2))
    return f"same {same.mean():.3f} of {len(same)}, {same[sure].mean():.3f} of {sure.sum()} sure ones, rmse {off:.4f}"


def predicted(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """Returns the logits of a model, (N, K)."""
    return model.predict(inputs, batch_size=32, verbose=0)


def ways(path: Path | None, runs: int) -> None:
    """Prints top-1, agreement with float, sizes and latency of the fine-tuned net made smaller in several ways."""
    bundle = tuned(path)
    model, train = bundle.model, bundle.ready(DATA, split="train")
    tests = [bundle.ready(style, split="test").arrays() for style in STYLES]
    truth = [predicted(model, inputs).argmax(-1) for inputs, _ in tests]
    print(f"{'way':16} {'top-1':>6} {'other':>6} {'same':>6} {'other':>6} {'MB':>6} {'gzip':>6}")
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for way, write in written_ways(model, train).items():
            keras.utils.set_random_seed(0)
            paths[way] = Path(folder, f"{len(paths)}.tflite")
            write(paths[way])
            found = [next(iter(run_exported(paths[way], inputs).values())).argmax(-1) for inputs, _ in tests]
            right = [np.mean(each == labels) for each, (_, labels) in zip(found, tests, strict=True)]
            same = [np.mean(each == other) for each, other in zip(found, truth, strict=True)]
            content = paths[way].read_bytes()
            sizes = [len(content) / 1e6, len(gzip.compress(content)) / 1e6]
            print(f"{way:16} " + " ".join(f"{figure:6.3f}" for figure in (*right, *same, *sizes)), flush=True)
        print(compare(paths, runs=runs).table())


def written_ways(model: keras.Model, train: kerasdl.data.Dataset) -> dict[str, Callable[[Path], ExportReport]]:
    """Returns by name what writes the net to a file in one way."""

    @cache
    def narrow() -> keras.Model:
        smaller = prune_channels(model, macs=0.7)
        fit(smaller, train, config=TUNING["channels"])
        return smaller

    def aware(path: Path) -> ExportReport:
        return quantize_aware(model, train, config=TUNING["aware"]).export_tflite(path, samples=train)

    def zeros(path: Path) -> ExportReport:
        return export_tflite(prune(model, train, 0.5, config=TUNING["zeros"]), path, samples=train)

    int8 = {"quantize": "int8", "representative": train}
    return {
        "float32": lambda path: export_tflite(model, path, samples=train),
        "int8": lambda path: export_tflite(model, path, **int8),
        "int8, corrected": lambda path: export_tflite(model, path, correct_biases=True, **int8),
        "int8 in training": aware,
        "half zeros": zeros,
        "channels": lambda path: export_tflite(narrow(), path, samples=train),
        "channels, int8": lambda path: export_tflite(narrow(), path, **int8),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("imagenet", "kinds", "ways"))
    parser.add_argument("--half", type=int, choices=(0, 1), default=0)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--runs", type=int, default=100)
    given = parser.parse_args()
    if given.part == "imagenet":
        imagenet(given.half, given.runs)
    else:
        {"kinds": kinds, "ways": ways}[given.part](given.bundle, given.runs)
