"""Speed of segmenters against plain Keras and PyTorch, in turns: training steps and inference.

    PEERS_PYTHON=/path/to/python python benchmarks/segmenters_speed.py             # both nets, about 5 minutes
    python benchmarks/segmenters_speed.py unet_resnet34

DeepLabV3 over ResNet-50 meets torchvision, U-Net over ResNet-34 segmentation_models_pytorch; PyTorch takes part where
PEERS_PYTHON, or else this Python, has it. Each prints the median of the ratios of three turns, once by the clock and
once by processor seconds, which other work on the machine hardly spoils: above 1 ours is faster. Plain Keras is the
same network under `keras.Model.fit` and `predict`. All count a confusion matrix in training.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import kerasdl  # first, so that TensorFlow starts in silence

# isort: split
import keras
import numpy as np

from kerasdl.train import RunConfig, fit
from kerasdl.vision.segmentation import Segmenter

TURNS, CLASSES = 3, 21
PEERS = {"deeplab_v3": "torchvision", "unet_resnet34": "segmentation_models_pytorch"}
THREADS = len(os.sched_getaffinity(0))
Spent = tuple[float, float]


@dataclass(frozen=True)
class Case:
    """Sizes of one comparison."""

    side: int
    """Of the images in pixels."""
    batch: int
    """Images at once."""
    steps: int
    """Training steps of a turn, and predictions."""


CASES = {"deeplab_v3": Case(128, 2, 1), "unet_resnet34": Case(128, 4, 2)}


class Torch:
    """Process of PyTorch that trains and predicts on request."""

    def __init__(self, name: str, case: Case):
        python, script = os.environ.get("PEERS_PYTHON", sys.executable), Path(__file__).with_name("torch_segmenters.py")
        sizes = map(str, (case.side, case.batch, CLASSES, THREADS))
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process = subprocess.Popen([python, script, name, *sizes], **pipes)

    def timed(self, action: str, count: int) -> Spent:
        """Returns the wall and processor seconds of so many calls."""
        self.process.stdin.write(f"{action} {count}\n")
        self.process.stdin.flush()
        wall, spent = map(float, self.process.stdout.readline().split())
        return wall, spent

    def close(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()


class InTurns(keras.callbacks.Callback):
    """Callback that measures each epoch, and lets the others train after it."""

    def __init__(self, others: dict[str, Callable[[], Spent]]):
        super().__init__()
        self.others = others
        self.turns: list[dict[str, Spent]] = []

    def on_epoch_begin(self, epoch, logs=None):
        self.started = clocks()

    def on_epoch_end(self, epoch, logs=None):
        self.turns.append({"ours": since(self.started), **{name: call() for name, call in self.others.items()}})


def clocks() -> Spent:
    """Returns the time, and the processor seconds of this process."""
    return time.perf_counter(), time.process_time()


def since(before: Spent) -> Spent:
    """Returns the seconds since then, by both clocks."""
    return tuple(now - then for now, then in zip(clocks(), before, strict=True))


def timed(call: Callable[[], object]) -> Spent:
    """Returns the seconds of a call by both clocks."""
    before = clocks()
    call()
    return since(before)


def has_torch(package: str) -> bool:
    """Returns whether PyTorch and a package of it are there."""
    find = f"import importlib.util as util; raise SystemExit(not all(map(util.find_spec, ('torch', {package!r}))))"
    return subprocess.run([os.environ.get("PEERS_PYTHON", sys.executable), "-c", find], check=False).returncode == 0


def train_in_turns(name: str, case: Case, torch: Torch | None) -> list[dict[str, Spent]]:
    """Returns the seconds of each turn of training; the first of each is not counted."""
    x, y = data(case)
    plain = build(name, case)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    overlap = keras.metrics.MeanIoU(CLASSES, sparse_y_pred=False)
    plain.compile(keras.optimizers.AdamW(1e-3), loss=loss, metrics=["accuracy", overlap])
    others = {"Keras": lambda: timed(lambda: plain.fit(x, y, batch_size=case.batch, epochs=1, verbose=0))}
    if torch is not None:
        others["PyTorch"] = lambda: torch.timed("train", case.steps)
    turns = InTurns(others)
    config = RunConfig(epochs=TURNS + 1, batch_size=case.batch, learning_rate=1e-3, progress="off")
    fit(Segmenter(build(name, case)), (x, {"semantic": y}), callbacks=[turns], config=config)
    return turns.turns[1:]


def predict_in_turns(name: str, case: Case, torch: Torch | None) -> list[dict[str, Spent]]:
    """Returns the seconds of each turn of inference; the first of each is not counted."""
    x, _ = data(case)
    network = build(name, case)
    segmenter = Segmenter(network)
    calls = {
        "ours": lambda: timed(lambda: segmenter.segment(x, case.batch)),
        "Keras": lambda: timed(lambda: network.predict(x, batch_size=case.batch, verbose=0)),
    }
    if torch is not None:
        calls["PyTorch"] = lambda: torch.timed("predict", case.steps)
    turns = [{who: call() for who, call in calls.items()} for _ in range(TURNS + 1)]
    return turns[1:]


def build(name: str, case: Case) -> keras.Model:
    """Returns a fresh network."""
    return kerasdl.build(name, image_shape=(case.side, case.side, 3), classes=CLASSES)


def data(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Returns random images and classes for a turn."""
    rng, count = np.random.default_rng(0), case.steps * case.batch
    shape = (count, case.side, case.side)
    return rng.normal(size=(*shape, 3)).astype("float32"), rng.integers(0, CLASSES, shape).astype("uint8")


def report(what: str, case: Case, turns: list[dict[str, Spent]]) -> None:
    """Prints the median seconds of a step, and the medians of the ratios of the turns."""
    for who in turns[0]:
        wall, spent = (1e3 * statistics.median(turn[who][clock] for turn in turns) / case.steps for clock in (0, 1))
        line = f"{what:16} {who:8} {wall:7.0f} ms  {spent:7.0f} processor ms"
        if who != "ours":
            ratios = (statistics.median(turn[who][clock] / turn["ours"][clock] for turn in turns) for clock in (0, 1))
            line += "  ours is {:.2f} times as fast, {:.2f} by processor seconds".format(*ratios)
        print(line, flush=True)


def compare(name: str) -> None:
    """Prints the speed of one network in training and inference."""
    case = CASES[name]
    torch = Torch(name, case) if has_torch(PEERS[name]) else None
    print(
        f"{name}, {case.batch} images of {case.side} pixels, load of the machine {os.getloadavg()[0]:.1f}", flush=True
    )
    try:
        report("inference", case, predict_in_turns(name, case, torch))
        report("training step", case, train_in_turns(name, case, torch))
    finally:
        if torch is not None:
            torch.close()


if __name__ == "__main__":
    asked = sys.argv[1:] or list(CASES)
    if unknown := set(asked) - set(CASES):
        sys.exit(f"a network is one of {', '.join(CASES)}; got {', '.join(sorted(unknown))}")
    for each in asked:
        compare(each)
