"""Cost of int8 in accuracy: float, post-training int8 and quantisation-aware int8 files of the same nets on digits.

Each net is trained once a seed in float; all three files come from it and are judged on the same test images.

    python benchmarks/quantization.py [--seeds 3] [--nets mobilenet_v2 resnet18 vit_tiny]
"""

import argparse
import tempfile
from pathlib import Path

import keras
import numpy as np

import kerasdl
from kerasdl.deploy import export_tflite, quantize_aware, run_exported
from kerasdl.train import RunConfig, fit

# Small nets of each kind: digits are easy, and the margin is 1 in 200.
NETS = {
    "mobilenet_v2": {"width": 0.5, "stages": ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 2, 2))},
    "resnet18": {},
    "vit_tiny": {},
}
EPOCHS = 30


def main(nets: list[str], seeds: int) -> None:
    """Trains, exports and prints a row for each net and seed, and the means."""
    print(f"{'net':14} {'seed':>4} {'float':>7} {'int8 after':>10} {'int8 QAT':>8} {'size':>6}")
    for name in nets:
        rows = [measure(name, seed) for seed in range(seeds)]
        for seed, row in enumerate(rows):
            show(name, str(seed), row)
        show(name, "mean", np.mean(rows, axis=0))


def show(name: str, seed: str, row: np.ndarray) -> None:
    """Prints accuracies, and the QAT file's share of the float file's size."""
    print(f"{name:14} {seed:>4} {row[0]:7.4f} {row[1]:10.4f} {row[2]:8.4f} {row[3]:6.2f}", flush=True)


def measure(name: str, seed: int) -> list[float]:
    """Returns the test accuracy of the float, the post-training and the QAT file, and the size ratio."""
    keras.utils.set_random_seed(seed)
    model = small(name, NETS[name])
    train, validation, test = digits()
    quiet = {"progress": "off", "seed": seed, "batch_size": 32}
    config = RunConfig(epochs=EPOCHS, learning_rate=3e-3, schedule="cosine", **quiet)
    fit(model, train, validation=validation, config=config)
    tuning = RunConfig(epochs=3, learning_rate=3e-5, schedule="cosine", clip_norm=1.0, **quiet)
    quantized = quantize_aware(model, train, validation=validation, config=tuning)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{kind}.tflite") for kind in ("float", "after", "aware")]
        export_tflite(model, paths[0])
        export_tflite(model, paths[1], quantize="int8", representative=train)
        quantized.export_tflite(paths[2], samples=train)
        return [*(accuracy(path, test) for path in paths), paths[2].stat().st_size / paths[0].stat().st_size]


def small(name: str, own: dict) -> keras.Model:
    """Returns a net for digits, enlarged to 32 by 32: the tiny preset with further settings."""
    return kerasdl.build(name, **{**kerasdl.spec(name).tiny, "classes": 10, **own})


def digits() -> list[kerasdl.data.Dataset]:
    """Returns the training, validation and test images."""
    return [kerasdl.data.load("digits", split, image_shape=(32, 32, 3)) for split in ("train", "validation", "test")]


def accuracy(path: Path, data: kerasdl.data.Dataset) -> float:
    """Returns the accuracy of a file."""
    inputs, labels = data.arrays()
    (logits,) = run_exported(path, inputs).values()
    return float(np.mean(logits.argmax(-1) == labels))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", nargs="+", choices=tuple(NETS), default=list(NETS))
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    main(given.nets, given.seeds)
