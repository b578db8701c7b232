"""A batch size found by trying: how fast each size trains, how much memory it takes, and which one to take."""

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
from .batch_size_worker import step_seconds
from .dry_run import OPTIMIZER, Endless, fresh_optimizer, has_own_objective, on_trial

EXAMPLES = 32
NEAR_BEST = 0.95
GAIN = 1.05
SHARE_OF_FREE = 0.9
LOOK_SECONDS = 0.01
PROC, GROUP = Path("/proc"), Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class BatchTrial:
    """What training with one batch size takes."""

    batch_size: int
    """Examples in a batch."""
    examples_per_second: float | None
    """Speed of the fastest update on a batch held in memory; None where it did not fit."""
    memory: int | None
    """The most bytes held meanwhile: by the process, TensorFlow included, or on the GPU; None where it did not fit."""
    fits: bool
    """Whether it trained within the memory."""
    why: str
    """Why it did not fit; empty where it did."""


@dataclass(frozen=True)
class BatchSearch:
    """What training with rising batch sizes takes."""

    rows: tuple[BatchTrial, ...]
    """One for each size, rising; the last may not have fitted."""
    memory: int | None
    """The limit in bytes; None where it was the GPU's own."""

    @property
    def suggestion(self) -> int | None:
        """The smallest size with 95 % of the best speed; None where none fitted."""
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
        """Returns speed and memory over the batch size; with a path, written there too, such as a .png."""
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
    """Trains for a moment with rising batch sizes, and says which is the smallest that is about as fast as any.

    The size doubles until one does not fit, until `largest` or the size of the data, or until two doublings in a row
    bring less than 5 %. Each makes real updates on a batch held in memory (`profile_step` looks at the pipeline), made
    of a few training examples again and again. On a CPU this happens in a process of its own, to which a copy of the
    model goes as a .keras file: over the memory, that process is ended and this one goes on. (On Linux its memory is
    looked at every hundredth of a second; elsewhere the system's own limit ends it.) On a GPU it happens here,
    TensorFlow raises where memory is short, and the model is afterwards what it was.

    A larger batch makes fewer updates an epoch, and wants another learning rate: see `scale_learning_rate`.

    Args:
        model: a built Keras model. On a CPU it must go into a file and come back in another process, so its own
            classes belong into a module that can be imported, and one with its own `train_step` must be compiled and
            bring its losses and optimizers back from its file.
        train: as in `fit`.
        memory: bytes that training may take, TensorFlow's own 0.5 to 1 GB on a CPU included; None takes nine tenths of
            what the machine has free, or all of the GPU.
        smallest: the first batch size, 1 or more.
        largest: the last batch size at most.
        seconds: time spent on each size, after a first update; three updates are timed in any case.
        optimizer: a name or a Keras optimizer, whose state counts; None takes `"adamw"`, or the model's own where it
            has a `train_step`.
        loss: as in `fit`.
        task: as in `fit`.
        mixed_precision: as in `RunConfig`.

    Returns:
        The BatchSearch: `suggestion`, `rows`, `plot(path)`; printed, it is a table.

    Raises:
        ArgumentError: settings, model and data do not fit together, or the model cannot go into another process.
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
            with on_trial(model, train, **settings) as trial:
                examples = _few(train)
                rows = rising(lambda size: _on_gpu(trial.step, examples, size, seconds, memory), smallest, largest)
            return BatchSearch(rows, memory)
        limit = memory or int(SHARE_OF_FREE * free_memory())
        with tempfile.TemporaryDirectory() as folder, _process(limit) as child:
            child.start({**_sent(model, train, Path(folder), **settings), "seconds": seconds})
            return BatchSearch(rising(child.try_size, smallest, largest), limit)


def rising(try_size: Callable[[int], BatchTrial], smallest: int, largest: int) -> tuple[BatchTrial, ...]:
    """Tries doubled sizes until one does not fit, the largest is reached, or two in a row bring less than 5 %."""
    rows, best, flat, size = [], 0.0, 0, smallest
    while size <= largest and flat < 2:
        row = try_size(size)
        rows.append(row)
        if not row.fits:
            break
        flat = flat + 1 if row.examples_per_second < GAIN * best else 0
        best, size = max(best, row.examples_per_second), 2 * size
    return tuple(rows)


def free_memory() -> int:
    """Returns the bytes that processes here can still take, of the machine and of the control group."""
    try:
        fields = dict(line.split(":", 1) for line in (PROC / "meminfo").read_text().splitlines())
        free = 1024 * int(fields["MemAvailable"].split()[0])
    except OSError:  # no Linux
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit, used = ((GROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return free
    return free if limit == "max" else max(0, min(free, int(limit) - int(used)))


def _few(train: Dataset) -> Any:
    return Endless(train, EXAMPLES).step(lambda stream: stream.get_next())


def _sent(model: keras.Model, train: Dataset, folder: Path, optimizer: Any, loss: Any, task: Any) -> dict[str, Any]:
    """Writes what the process needs, and returns the settings that name it."""
    own, objective = has_own_objective(model), None
    if own and not (model.compiled and loss is None and optimizer is None):
        rule = "a model with its own train_step or compute_loss must be compiled, and loss and optimizer None"
        checks.refuse(rule, "others" if model.compiled else "not compiled", "Compile it with its losses.")
    if not model.built:
        checks.refuse("a model to try must be built", model.name, "Call it once on a batch of inputs.")
    check_dataset_fits(model, train)
    if not own:
        objective = [fresh_optimizer(optimizer or OPTIMIZER), objective_of(task_of(task, train), model, loss, ())[0]]
        check_labels(objective[1], (), model, train)
    try:
        with warnings.catch_warnings(action="ignore"):  # a lambda is no danger in a file that nobody else writes
            objective = keras.saving.serialize_keras_object(objective)
            json.dumps(objective)
            model.save(folder / "model.keras")
        with zipfile.ZipFile(folder / "model.keras") as file:
            modules = sorted(_modules([objective, json.loads(file.read("config.json"))]))
    except (TypeError, ValueError, NotImplementedError) as error:
        _cannot_go(str(error))
    tf.data.Dataset.from_tensors(_few(train)).save(str(folder / "examples"))
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
    """Returns the modules that a configuration names, loaded here already, that are neither Keras's nor ours."""
    if isinstance(config, list):
        return set().union(*map(_modules, config))
    if not isinstance(config, dict):
        return set()
    name = config.get("module")
    known = isinstance(name, str) and name in sys.modules
    own = known and name.partition(".")[0] not in ("keras", "kerasdl", "builtins", "__main__")
    return _modules(list(config.values())) | ({name} if own else set())


def _cannot_go(reason: str) -> None:
    checks.refuse(
        "find_batch_size needs a model and a loss that can be loaded in another process",
        reason.strip().partition("\n")[0],
        "Put their classes and functions into a module that can be imported, with get_config; or use profile_step.",
    )


def _on_gpu(step: Callable, examples: Any, size: int, seconds: float, memory: int | None) -> BatchTrial:
    tf.config.experimental.reset_memory_stats("GPU:0")
    try:
        taken = step_seconds(step, examples, size, seconds)
    except tf.errors.ResourceExhaustedError as error:
        return _full(size, error.message)
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    if memory is not None and peak > memory:
        return _full(size, f"it took {peak / 1e6:,.0f} MB")
    return BatchTrial(size, size / taken, peak, True, "")


def _full(size: int, reason: str) -> BatchTrial:
    return BatchTrial(size, None, None, False, f"does not fit: {reason.strip().partition(chr(10))[0]}")


class _Child:
    """The process that makes the updates (batch_size_worker), and a thread here that ends it once it takes too much."""

    def __init__(self, child: ChildProcess, limit: int):
        self.child, self.process, self.limit = child, child.process, limit
        self.over, self.done = 0, threading.Event()
        self.watch = threading.Thread(target=self._look, daemon=True)

    def start(self, settings: Mapping[str, Any]) -> None:
        self.watch.start()
        answer = self.child.ask(json.dumps(settings))
        if answer is None:
            raise TrainingError(f"training needs more memory than there is before the first batch: {self._end()}")
        if "refused" in answer:
            _cannot_go(answer["refused"])

    def try_size(self, size: int) -> BatchTrial:
        answer = self.child.ask(str(size))
        if answer is None:
            return _full(size, self._end())
        if "full" in answer:
            return _full(size, answer["full"])
        if answer["memory"] > self.limit:
            return _full(size, f"it took {answer['memory'] / 1e6:,.0f} MB")
        return BatchTrial(size, size / answer["seconds"], answer["memory"], True, "")

    def _end(self) -> str:
        """Returns how the process ended, if memory was why."""
        lines, code = self.child.last_words(), self.process.returncode
        if self.over:
            return f"it took {self.over / 1e6:,.0f} MB"
        told = next((line for line in lines if "bad_alloc" in line or line.startswith("MemoryError")), None)
        if told is not None or code == -signal.SIGKILL:
            return told or "the system ended the process"
        last = (lines or [f"the process ended with {code}"])[-1][:300]
        raise TrainingError(f"an update failed in the process that tries batch sizes: {last}")

    def _look(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while not self.done.wait(LOOK_SECONDS):
            try:
                held = page * int((PROC / str(self.process.pid) / "statm").read_text().split()[1])
            except (OSError, IndexError):  # it has ended, or this is no Linux
                return
            if held > self.limit:
                self.over = held
                self.process.kill()
                return


@contextmanager
def _process(limit: int) -> Iterator[_Child]:
    with child_process("kerasdl.train.diagnostics.batch_size_worker") as process:
        child = _Child(process, limit)
        try:
            yield child
        finally:
            child.done.set()
