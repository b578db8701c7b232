"""Comparison of four ways to train a small ResNet on digits, with docs/pictures/sweep.png.

`python tools/make_sweep_picture.py`: three seeds, about a minute on two cores; prints the table of docs/tracking.md. A
number of seeds may follow.
"""

import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import kerasdl  # noqa: E402
from kerasdl.train import RunConfig, fit, sweep  # noqa: E402

SETTINGS = [
    {"optimizer": "adamw", "learning_rate": 0.003, "schedule": "constant"},
    {"optimizer": "adamw", "learning_rate": 0.003, "schedule": "cosine"},
    {"optimizer": "adamw", "learning_rate": 0.01, "schedule": "cosine"},
    {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9, "schedule": "cosine"},
]


def run(setting: dict, seed: int) -> dict:
    """Trains once and returns the figures of the last epoch, since validation data would choose the best."""
    train, validation = (kerasdl.data.load("digits", split) for split in ("train", "validation"))
    model = kerasdl.build("resnet18", image_shape=(32, 32, 1), stages=(1, 1), channels=8, classes=10)
    config = RunConfig(epochs=8, batch_size=32, seed=seed, restore_best=False, progress="off", **setting)
    history = fit(model, train, validation=validation, config=config).history
    return {name: values[-1] for name, values in history.items()}


def main(seeds: int) -> None:
    """Runs the sweep, prints its table and draws its picture."""
    started = time.monotonic()
    result = sweep(run, SETTINGS, seeds=range(seeds))
    result.plot(ROOT / "docs" / "pictures" / "sweep.png")
    print(f"\n{result.table()}\n\n{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
