"""Cost of a resume compared with a new start: `python benchmarks/resume.py`, four minutes.

ResNet-18 at 64 px with AdamW, 135 MB of weights and optimizer state. Each start is a process of its own; its time is
that from the call of `fit` to the end of the first update. Starts and resumes take turns.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PAIRS = 5
STEPS = 4  # updates before the checkpoint from which a run goes on


def main() -> None:
    """Prints the seconds of each start and resume, and the median of the additional time of a resume."""
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        child(run, "killed")
        size = sum(path.stat().st_size for path in (run / "checkpoints").rglob("*") if path.is_file()) / 2**20
        print(f"checkpoints of {size:.0f} MiB")
        more = []
        for pair in range(PAIRS):
            copy = Path(place) / f"copy{pair}"
            shutil.copytree(run, copy)
            fresh, resumed = child(Path(place) / f"new{pair}"), child(copy)
            more.append(resumed - fresh)
            print(f"  fresh {fresh:.2f} s, resumed {resumed:.2f} s", flush=True)
        print(f"a resume takes {statistics.median(more):.2f} s more, {min(more):.2f} to {max(more):.2f}")


def child(folder: Path, end: str = "whole") -> float:
    """Returns the seconds to the first update of a run in a child process."""
    command = [sys.executable, __file__, str(folder), end]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def train(folder: str, end: str) -> None:
    """Makes the remaining updates of a run, and prints the seconds to the first; a killed run ends after a save."""
    import kerasdl

    # isort: split
    import keras
    import numpy as np

    seconds = []  # not in the callback, whose attributes go into checkpoints and come back

    class First(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seconds.append(time.perf_counter() - started)
            if end == "killed" and batch == STEPS:  # the update after a checkpoint
                print(seconds[0], flush=True)
                os._exit(0)

    rng = np.random.default_rng(0)
    data = rng.normal(size=(16 * 2 * STEPS, 64, 64, 3)).astype("float32"), rng.integers(0, 10, 16 * 2 * STEPS)
    model = kerasdl.build("resnet18", image_shape=(64, 64, 3), classes=10)
    config = kerasdl.train.RunConfig(
        steps=2 * STEPS,
        batch_size=16,
        folder=folder,
        save_every=STEPS,
        learning_rate=1e-3,
        progress="off",
        steps_per_execution=1,
    )
    started = time.perf_counter()
    kerasdl.train.fit(model, data, task="image_classification", callbacks=[First()], config=config)
    print(seconds[0])


if __name__ == "__main__":
    train(*sys.argv[1:]) if sys.argv[1:] else main()
