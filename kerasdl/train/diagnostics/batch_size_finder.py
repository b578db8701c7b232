"""Batch size finder: speed and memory of training with rising batch sizes, and a suggested size."""

import json
import os
import signal
import sys
import tempfile
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from matplotlib.figure import Figure

from kerasdl.core import checks
from kerasdl.core.child_process import ChildProcess, child_process
from kerasdl.core.errors import TrainingError
from kerasdl.core.plotting import FAINT, GREY, TRAIN, VALIDATION, dress, keep, mark, new_figure
from kerasdl.data import Dataset, as_dataset
from kerasdl.data.model_fit import check_dataset_fits

from ..engine.mixed_precision import mixed_precision_scope
from ..objectives.label_checks import check_labels
from ..objectives.loss_and_metrics import objective_of, task_of
from .batch_size_worker import seconds_per_update
from .dry_run import OPTIMIZER, EpochStream, dry_run, fresh_optimizer, has_own_objective

EXAMPLES = 32
NEAR_BEST = 0.95
GAIN = 1.05
SHARE_OF_FREE = 0.9
LOOK_SECONDS = 0.01
PROC, GROUP = Path("/proc"), Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class BatchMeasurement:
    """Speed and memory of training with one batch size."""

    batch_size: int
    """Examples in a batch."""
    examples_per_second: float | None
    """Speed of the fastest update on a batch held in memory; None where it did not fit."""
    memory: int | None
    """Peak memory in bytes, of the process with TensorFlow or of the GPU; None where it did not fit."""
    fits: bool
    """True if training stayed within the memory."""
    why: str
    """Reason why it did not fit; empty where it fits."""


@dataclass(frozen=True)
class BatchSearch:
    """Speed and memory of training with rising batch sizes."""

    rows: tuple[BatchMeasurement, ...]
    """One measurement for each size, in rising order; the last one may not fit."""
    memory: int | None
    """Memory limit in bytes; None for all of the GPU."""

    @property
    def suggestion(self) -> int | None:
        """The smallest size with 95 % of the best speed; None where no size fits."""
        fitting = [row for row in self.rows if row.fits]
        best = max((row.examples_per_second for row in fitting), default=0.0)
        return next((row.batch_size for row in fitting if row.examples_per_second >= NEAR_BEST * best), None)

    def __str__(self) -> str:
        lines = [f"{'batch size':>10}  {'examples/s':>10}  {'memory MB':>10}"]
        for row in self.rows:
            speed, memory = "-", "-"
            if row.fits:
                speed, memory = f"{row.examples_per_second:,.0f}", f"{row.memory / 1e6:,.0f}"
            lines.append(f"{row.batch_size:>10}  {speed:>10}  {memory:>10}  {row.why}".rstrip())
        if self.suggestion is None:
            return "\n".join([*lines, "no size fitted: take a smaller model, or smaller inputs"])
        return "\n".join([*lines, f"batch size {self.suggestion}: the smallest with 95 % of the best speed"])

    def plot(self, path: str | os.PathLike | None = None) -> Figure:
        """Returns a figure of speed and memory over the batch size; with a path, writes it there too, as .png."""
        figure = new_figure(9.6, 3.4)
        fitting = [row for row in self.rows if row.fits]
        sizes = [row.batch_size for row in fitting]
        panels = {
            "examples a second": ([row.examples_per_second for row in fitting], TRAIN),
            "memory in MB": ([row.memory / 1e6 for row in fitting], VALIDATION),
        }
        for place, (title, (values, colour)) in enumerate(panels.items(), 1):
            axes = figure.add_subplot(1, 2, place)
            axes.plot(sizes, values, color=colour, linewidth=2, marker="o", markersize=4)
            axes.set_xscale("log", base=2)
            axes.set_xticks([row.batch_size for row in self.rows], [row.batch_size for row in self.rows])
            axes.minorticks_off()
            axes.set_ylim(0, 1.15 * max(values, default=1.0))
            dress(axes, title, "batch size")
            axes.grid(axis="y", color=FAINT, linewidth=0.6)
            if self.suggestion is not None and place == 1:
                mark(axes, self.suggestion, f"suggested: {self.suggestion}", GREY, 0.12)
            for row in self.rows:
                if not row.fits:
                    mark(axes, row.batch_size, f"{row.batch_size} does not fit", VALIDATION)
        return keep(figure, path)


def find_batch_size(
    model: keras.Model,
    train: Any,
    *,
    memory: int | None = None,
    smallest: int = 8,
    largest: int = 4096,
    seconds: float = 1.0,
    optimizer: str | keras.optimizers.Optimizer | None = None,
    loss: Any = None,
    task: Any = None,
    mixed_precision: str | None = None,
) -> BatchSearch:
    """Measures training with rising batch sizes, and suggests the smallest one with about the best speed.

    The size doubles until one does not fit, until `largest` or the size of the data, or until two doublings in a row
    gain less than 5 %. Each size makes real updates on a batch held in memory, which repeats a few training examples
    (`profile_step` measures the pipeline). On a CPU another process makes them with a copy of the model from a .keras
    file; above the memory limit that process is killed, and this one continues. (On Linux its memory is read every
    hundredth of a second; elsewhere the limit of the system ends it.) On a GPU the updates run in this process,
    TensorFlow raises where memory is short, and the model is restored afterwards.

    A larger batch makes fewer updates in an epoch and needs another learning rate: see `scale_learning_rate`.

    Args:
        model: a built Keras model. On a CPU it is saved and loaded in another process, so its
            classes belong in a module that can be imported; one with its own `train_step` must be compiled, and its
            file must restore its losses and optimizers.
        train: as in `fit`.
        memory: limit in bytes, including 0.5 to 1 GB of TensorFlow itself on a CPU; None takes nine tenths of the free
            memory of the machine, or all of the GPU.
        smallest: the first batch size, 1 or more.
        largest: the largest batch size.
        seconds: time spent on each size, after a first update; at least three updates are timed.
        optimizer: a name or a Keras optimizer, whose state counts; None takes `"adamw"`, or the model's own where it
            has a `train_step`.
        loss: as in `fit`.
        task: as in `fit`.
        mixed_precision: as in `RunConfig`.

    Returns:
        The BatchSearch: `suggestion`, `rows`, `plot(path)`; printed, it is a table.

    Raises:
        ArgumentError: settings, model and data do not fit together, or the model cannot be loaded in another process.
        TrainingError: an update failed for another reason than memory.

    Example:
        >>> result = find_batch_size(model, (x, y), smallest=2, largest=4, seconds=0.0)
        >>> [row.batch_size for row in result.rows], all(row.memory > 0 for row in result.rows)
        ([2, 4], True)
    """
    checks.at_least("smallest", smallest, 1)
    checks.at_least("largest", largest, smallest)
    checks.one_of("mixed_precision", mixed_precision, (None, "bfloat16", "float16"))
    checks.within("seconds", seconds, 0.0, 3600.0)
    if memory is not None:
        checks.at_least("memory", memory, 1, "It is a number of bytes.")
    train = as_dataset(train)
    if train.size is not None:
        largest = max(smallest, min(largest, train.size))
    settings = {"optimizer": optimizer, "loss": loss, "task": task}
    with mixed_precision_scope(model, mixed_precision):
        if tf.config.list_logical_devices("GPU"):
            with dry_run(model, train, **settings) as session:
                examples = _sample_batch(train)
                rows = measure_rising_sizes(
                    lambda size: _on_gpu(session.step, examples, size, seconds, memory), smallest, largest
                )
            return BatchSearch(rows, memory)
        limit = memory or int(SHARE_OF_FREE * free_memory())
        with tempfile.TemporaryDirectory() as folder, _measuring_process(limit) as child:
            child.start({**_write_for_child(model, train, Path(folder), **settings), "seconds": seconds})
            return BatchSearch(measure_rising_sizes(child.measure_size, smallest, largest), limit)


def measure_rising_sizes(
    measure_size: Callable[[int], BatchMeasurement], smallest: int, largest: int
) -> tuple[BatchMeasurement, ...]:
    """Returns measurements of doubled sizes, until one does not fit or two in a row gain less than 5 %."""
    rows, best, flat, size = [], 0.0, 0, smallest
    while size <= largest and flat < 2:
        row = measure_size(size)
        rows.append(row)
        if not row.fits:
            break
        flat = flat + 1 if row.examples_per_second < GAIN * best else 0
        best, size = max(best, row.examples_per_second), 2 * size
    return tuple(rows)


def free_memory() -> int:
    """Returns the free memory in bytes, within the machine and the control group."""
    try:
        fields = dict(line.split(":", 1) for line in (PROC / "meminfo").read_text().splitlines())
        free = 1024 * int(fields["MemAvailable"].split()[0])
    except OSError:  # not Linux
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit, used = ((GROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return free
    return free if limit == "max" else max(0, min(free, int(limit) - int(used)))


def _sample_batch(train: Dataset) -> Any:
    return EpochStream(train, EXAMPLES).step(lambda stream: stream.get_next())


def _write_for_child(
    model: keras.Model, train: Dataset, folder: Path, optimizer: Any, loss: Any, task: Any
) -> dict[str, Any]:
    """Writes model, loss and examples for the worker process, and returns the settings that name them."""
    own, objective = has_own_objective(model), None
    if own and not (model.compiled and loss is None and optimizer is None):
        rule = "a model with its own train_step or compute_loss must be compiled, and loss and optimizer None"
        checks.refuse(rule, "others" if model.compiled else "not compiled", "Compile it with its losses.")
    if not model.built:
        checks.refuse("a model to measure must be built", model.name, "Call it once on a batch of inputs.")
    check_dataset_fits(model, train)
    if not own:
        objective = [fresh_optimizer(optimizer or OPTIMIZER), objective_of(task_of(task, train), model, loss, ())[0]]
        check_labels(objective[1], (), model, train)
    try:
        with warnings.catch_warnings(action="ignore"):  # a lambda is safe in a file that nobody else writes
            objective = keras.saving.serialize_keras_object(objective)
            json.dumps(objective)
            model.save(folder / "model.keras")
        with zipfile.ZipFile(folder / "model.keras") as file:
            modules = sorted(_modules([objective, json.loads(file.read("config.json"))]))
    except (TypeError, ValueError, NotImplementedError) as error:
        _refuse_transfer(str(error))
    tf.data.Dataset.from_tensors(_sample_batch(train)).save(str(folder / "examples"))
    threads = tf.config.threading
    return {
        "model": str(folder / "model.keras"),
        "examples": str(folder / "examples"),
        "objective": objective,
        "modules": modules,
        "intra": threads.get_intra_op_parallelism_threads(),
        "inter": threads.get_inter_op_parallelism_threads(),
    }


def _modules(config: Any) -> set[str]:
    """Returns the loaded modules that a configuration names, except those of Keras and kerasdl."""
    if isinstance(config, list):
        return set().union(*map(_modules, config))
    if not isinstance(config, dict):
        return set()
    name = config.get("module")
    known = isinstance(name, str) and name in sys.modules
    own = known and name.partition(".")[0] not in ("keras", "kerasdl", "builtins", "__main__")
    return _modules(list(config.values())) | ({name} if own else set())


def _refuse_transfer(reason: str) -> None:
    checks.refuse(
        "find_batch_size needs a model and a loss that can be loaded in another process",
        reason.strip().partition("\n")[0],
        "Put their classes and functions into a module that can be imported, with get_config; or use profile_step.",
    )


def _on_gpu(step: Callable, examples: Any, size: int, seconds: float, memory: int | None) -> BatchMeasurement:
    tf.config.experimental.reset_memory_stats("GPU:0")
    try:
        taken = seconds_per_update(step, examples, size, seconds)
    except tf.errors.ResourceExhaustedError as error:
        return _too_large(size, error.message)
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    if memory is not None and peak > memory:
        return _too_large(size, f"it took {peak / 1e6:,.0f} MB")
    return BatchMeasurement(size, size / taken, peak, True, "")


def _too_large(size: int, reason: str) -> BatchMeasurement:
    return BatchMeasurement(size, None, None, False, f"does not fit: {reason.strip().partition(chr(10))[0]}")


class _MeasuringProcess:
    """Worker process that makes the updates, and a thread that kills it above the memory limit."""

    def __init__(self, child: ChildProcess, limit: int):
        self.child, self.process, self.limit = child, child.process, limit
        self.over, self.done = 0, threading.Event()
        self.memory_thread = threading.Thread(target=self._watch_memory, daemon=True)

    def start(self, settings: Mapping[str, Any]) -> None:
        self.memory_thread.start()
        answer = self.child.ask(json.dumps(settings))
        if answer is None:
            raise TrainingError(f"training needs more memory than there is before the first batch: {self._end()}")
        if "refused" in answer:
            _refuse_transfer(answer["refused"])

    def measure_size(self, size: int) -> BatchMeasurement:
        answer = self.child.ask(str(size))
        if answer is None:
            return _too_large(size, self._end())
        if "full" in answer:
            return _too_large(size, answer["full"])
        if answer["memory"] > self.limit:
            return _too_large(size, f"it took {answer['memory'] / 1e6:,.0f} MB")
        return BatchMeasurement(size, size / answer["seconds"], answer["memory"], True, "")

    def _end(self) -> str:
        """Returns the reason for the end of the process where it is memory; raises for others."""
        lines, code = self.child.last_words(), self.process.returncode
        if self.over:
            return f"it took {self.over / 1e6:,.0f} MB"
        memory_error = next((line for line in lines if "bad_alloc" in line or line.startswith("MemoryError")), None)
        if memory_error is not None or code == -signal.SIGKILL:
            return memory_error or "the system ended the process"
        last = (lines or [f"the process ended with {code}"])[-1][:300]
        raise TrainingError(f"an update failed in the process that tries batch sizes: {last}")

    def _watch_memory(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while not self.done.wait(LOOK_SECONDS):
            try:
                held = page * int((PROC / str(self.process.pid) / "statm").read_text().split()[1])
            except (OSError, IndexError):  # the process has ended, or the system is not Linux
                return
            if held > self.limit:
                self.over = held
                self.process.kill()
                return


@contextmanager
def _measuring_process(limit: int) -> Iterator[_MeasuringProcess]:
    with child_process("kerasdl.train.diagnostics.batch_size_worker") as process:
        child = _MeasuringProcess(process, limit)
        try:
            yield child
        finally:
            child.done.set()
