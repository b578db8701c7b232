"""Speed of `fit` against Keras and PyTorch, of two workers against one: `python benchmarks/train.py`, 15 minutes.

Prints ratios measured in turns, each with its median: above 1 ours is faster. PyTorch takes part where it is installed.
`python benchmarks/train.py mlp resnet18 transformer scaling bfloat16` chooses.
"""

import os
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import kerasdl  # first, so that TensorFlow starts in silence

# isort: split
import keras
import numpy as np

from kerasdl.train import RunConfig

PAIRS = 5
WORKER_STEPS = 8


@dataclass(frozen=True)
class Case:
    """Net and data of one comparison."""

    model: str
    """Its name in the registry."""
    settings: dict
    """Arguments of its builder."""
    shape: tuple[int, ...]
    """The shape of an input."""
    batch: int
    """Examples in a batch."""
    steps: int
    """Batches in an epoch; the best of three epochs counts."""


CASES = {
    "mlp": Case("mlp", {"features": 64, "hidden": (128, 128)}, (64,), 64, 300),
    "resnet18": Case("resnet18", {"image_shape": (64, 64, 3)}, (64, 64, 3), 32, 6),
    "transformer": Case(
        "vit_tiny",
        {"image_shape": (32, 32, 3), "patch": 4, "width": 128, "depth": 4, "heads": 4},
        (32, 32, 3),
        32,
        12,
    ),
}


class EpochTimes(keras.callbacks.Callback):
    """Callback that records the seconds of each epoch."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.started)


def build(case: Case) -> keras.Model:
    """Returns the net of a case."""
    return kerasdl.build(case.model, **case.settings, classes=10)


def data(case: Case, batch: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns random inputs and labels for an epoch."""
    rng = np.random.default_rng(0)
    count = case.steps * (batch or case.batch)
    return rng.normal(size=(count, *case.shape)).astype("float32"), rng.integers(0, 10, count).astype("int32")


def ours(case: Case, x, y, **settings) -> float:
    """Returns the seconds of the best epoch under `kerasdl.train.fit`."""
    times = EpochTimes()
    config = RunConfig(epochs=3, batch_size=case.batch, learning_rate=1e-3, progress="off", **settings)
    kerasdl.train.fit(build(case), (x, y), task="image_classification", callbacks=[times], config=config)
    return min(times.seconds)


def keras_fit(case: Case, x, y, **settings) -> float:
    """Returns the seconds of the best epoch under `keras.Model.fit`."""
    model, times = build(case), EpochTimes()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-3), loss=loss, metrics=["accuracy"], **settings)
    model.fit(x, y, batch_size=case.batch, epochs=3, callbacks=[times], verbose=0)
    return min(times.seconds)


def pytorch(name: str, case: Case, x, y) -> float:
    """Returns the seconds of the best of three epochs of a plain PyTorch loop over the same net."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset
    from torch_nets import NETS

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model, loss = NETS[name](), torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    inputs = torch.from_numpy(np.moveaxis(x, -1, 1).copy() if x.ndim == 4 else x)
    if x.ndim == 4:
        model, inputs = (each.to(memory_format=torch.channels_last) for each in (model, inputs))
    batches = DataLoader(TensorDataset(inputs, torch.from_numpy(y).long()), case.batch, shuffle=True)
    seconds = []
    for _ in range(3):
        started, right = time.perf_counter(), 0
        for inputs, labels in batches:
            optimizer.zero_grad()
            outputs = model(inputs)
            loss(outputs, labels).backward()
            optimizer.step()
            right += int((outputs.argmax(1) == labels).sum())
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def compare(name: str) -> None:
    """Prints the speed of kerasdl relative to Keras and PyTorch on one net."""
    case = CASES[name]
    x, y = data(case)
    peers = {"Keras fit": lambda: keras_fit(case, x, y)}
    if name == "mlp":
        peers["Keras fit, 10 steps a call"] = lambda: keras_fit(case, x, y, steps_per_execution=10)
    try:
        import torch  # noqa: F401

        peers["PyTorch"] = lambda: pytorch(name, case, x, y)
    except ModuleNotFoundError:
        print("PyTorch is not installed, and left out")
    ratios = {peer: [] for peer in peers}
    for _ in range(PAIRS):
        mine = ours(case, x, y)
        for peer, run in peers.items():
            ratios[peer].append(run() / mine)
    print(f"{name}: {case.steps * case.batch / mine:,.0f} examples/s")
    for peer, values in ratios.items():
        print(f"  {peer} / ours: median {statistics.median(values):.2f}, {min(values):.2f} to {max(values):.2f}")


def bfloat16() -> None:
    """Prints the speed-up of training in bfloat16."""
    for name, case in CASES.items():
        x, y = data(case)
        runs = [(ours(case, x, y), ours(case, x, y, mixed_precision="bfloat16")) for _ in range(PAIRS)]
        values = [plain / mixed for plain, mixed in runs]
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{name} float32 / bfloat16: median {statistics.median(values):.2f}, {spread}")


def worker() -> None:
    """Trains ResNet-18 with 128 examples a worker, and prints the examples a second of all workers."""
    case = CASES["resnet18"]
    strategy = kerasdl.train.strategy("auto")
    batch = 128 * strategy.num_replicas_in_sync
    times = EpochTimes()
    x, y = data(Case(case.model, case.settings, case.shape, batch, WORKER_STEPS))
    config = RunConfig(epochs=2, batch_size=batch, learning_rate=1e-3, progress="off")
    kerasdl.train.fit(build(case), (x, y), task="image_classification", callbacks=[times], config=config)
    print(f"rate {len(x) / min(times.seconds):.3f}", flush=True)


def scaling() -> None:
    """Prints the weak-scaling efficiency of two workers, each on a core of its own, against one on one core.

    Beside it, two workers at once that know nothing of each other: what the cores lose by sharing memory and caches.
    """
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        return print("scaling needs two cores")
    together, apart = [], []
    for pair in range(PAIRS):
        alone = rate(started(1, cores[pair % 2 : pair % 2 + 1]))
        strangers = sum(map(rate, [started(1, [core]) for core in cores]))
        both = rate(started(2, cores))
        together.append(both / (2 * alone))
        apart.append(strangers / (2 * alone))
        print(f"  1 worker {alone:.1f}, 2 apart {strangers:.1f}, 2 together {both:.1f} examples/s", flush=True)
    print("weak scaling, ResNet-18 at 64 px, 128 examples a worker, against one alone:")
    for what, values in {"two workers": together, "two that exchange nothing": apart}.items():
        print(f"  {what}: median {statistics.median(values):.2f}, {min(values):.2f} to {max(values):.2f}")


def started(workers: int, cores: list[int]) -> subprocess.Popen:
    """Starts workers on these cores."""
    command = [sys.executable, "-m", "kerasdl", "launch", "--workers", str(workers), "--", sys.executable, __file__]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen([*command, "worker"], **pipes, preexec_fn=lambda: os.sched_setaffinity(0, cores))


def rate(process: subprocess.Popen) -> float:
    """Returns the examples a second that the chief prints."""
    out, errors = process.communicate()
    found = re.findall(r"^rate ([\d.]+)", out, re.MULTILINE)
    if not found:
        sys.exit(out + errors)
    return float(found[0])


def main(*names: str) -> None:
    """Runs the parts that the command line names."""
    for name in names or (*CASES, "scaling", "bfloat16"):
        {"scaling": scaling, "bfloat16": bfloat16, "worker": worker}.get(name, lambda name=name: compare(name))()


if __name__ == "__main__":
    main(*sys.argv[1:])
