"""The loop over a step and a state: progress, checkpoints, resume, logs, interruption, and a stop when numbers fail.

It knows nothing of models and losses: `fit` runs on it, and whatever else learns step by step can.
"""

import dataclasses
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import DataError, TrainingError

from . import logs
from .config import RunConfig
from .folder import RunFolder
from .progress import make_progress
from .state import Best, Figures, Run, State
from .watchers import EarlyStopping, Watcher, better, overrides


def run_steps(step: Callable[[Any], Mapping[str, Any]], state: State, config: RunConfig) -> Run:
    """Calls `step(stream)` until the run is over; kept in `config.folder`, it goes on there after any kill.

    Of the settings it uses those on length, monitoring, the folder and the display; the rest is for the step's maker.

    Args:
        step: makes one update from a stream and returns scalars by name, those in `state.watched` among them. It
            raises StopIteration or tf.errors.OutOfRangeError where the stream ends.
        state: what the step changes, and where its figures come from.
        config: the settings of the run.

    Returns:
        The finished Run.

    Raises:
        TrainingError: a watched value is not finite, or the checkpoints are of no use.
        ArgumentError: the folder holds another run.
        KeyboardInterrupt: on Ctrl-C, after the state was saved.

    Example:
        >>> weight = tf.Variable(4.0)
        >>> def halve(stream):
        ...     weight.assign(weight / next(stream))
        ...     return {"loss": weight}
        >>> state = State(None, {"weight": weight}, {}, lambda epoch, batch: iter([2.0, 2.0]), steps_per_epoch=2)
        >>> run_steps(halve, state, RunConfig(epochs=1, progress="off")).steps, float(weight)
        (2, 1.0)
    """
    loop = _Loop(step, state, config)
    with loop.progress, _asking_to_stop() as loop.interrupted:
        loop.begin()
        while loop.stopped is None:
            loop.run_epoch()
        loop.restore_best()
    return loop.result()


@dataclass
class _Place:
    epoch: int = 0
    batch: int = 0
    step: int = 0


class _Loop:
    def __init__(self, step: Callable, state: State, config: RunConfig):
        self.step, self.state, self.config = step, state, config
        self.place, self.history = _Place(), {}
        self.best: Best | None = None
        self.best_file: str | None = None
        self.best_weights: dict[str, np.ndarray] | None = None
        self.stopped: str | None = None
        self.resumed = False
        self.seconds = 0.0
        self.started = self.saved_at = time.monotonic()
        self.folder = None if config.folder is None else RunFolder(Path(config.folder))
        self.numbers = _NumberWatch(state)
        self.progress = make_progress(config.progress)
        self.watchers = [*state.watchers, *self._own_watchers()]
        self.before_step = [each.begin_step for each in self.watchers if overrides(each, "begin_step")]
        self.after_step = [each.end_step for each in self.watchers if overrides(each, "end_step")]

    def _own_watchers(self) -> Iterator[Watcher]:
        config = self.config
        if config.patience is not None:
            if config.monitor is None:
                checks.refuse("patience needs a figure to watch", None, 'Give validation=, or monitor=("loss", "min").')
            yield EarlyStopping(config.monitor, config.patience, config.min_delta)
        if config.tensorboard:
            if self.folder is None:
                checks.refuse("tensorboard=True needs a folder", None, "Pass folder=.")
            yield logs.TensorBoardLog(self.folder.path / "tensorboard")

    # The run

    def begin(self) -> None:
        """Takes up the run in the folder, if there is one."""
        config, state = self.config, self.state
        epochs, steps = config.epochs, state.steps_per_epoch
        if config.steps is not None:
            epochs = math.ceil(config.steps / steps) if steps else None
        self.progress.begin(epochs, steps, state.batch_size, state.figures)
        found = None
        if self.folder is not None:
            identity = {"settings": config.describe(), **state.identity}
            found = self.folder.open(identity, config.resume, self.progress.say)
        finished = found is not None and found[1]["stopped"] is not None
        if not finished:
            for watcher in self.watchers:
                watcher.begin()
        if found is not None:
            self._restore(*found)
            self._write_logs()
        if finished:
            self.progress.say(f"the run in {self.folder.path} is finished; this is its result")

    def run_epoch(self) -> None:
        """Runs what is left of the current epoch, and closes it."""
        place = self.place
        if place.batch == 0:
            self.state.reset()
        for watcher in self.watchers:
            watcher.begin_epoch(place.epoch)
        self.progress.begin_epoch(place.epoch, place.batch)
        told_to_stop = self._run_batches(self.state.stream(place.epoch, place.batch))
        self.numbers.check(self._give_up)
        self.progress.end_steps(place.batch)
        figures = {**self.state.figures(), **self.state.evaluate()}
        for name, value in figures.items():
            self.history.setdefault(name, []).append(value)
        is_best = self._note_best(figures)
        reasons = [watcher.end_epoch(place.epoch, dict(figures)) for watcher in self.watchers]
        self.progress.end_epoch(place.epoch, figures, is_best)
        self._close_epoch(next(filter(None, reasons), None) or told_to_stop)

    def _run_batches(self, stream: Any) -> str | None:
        place, limit = self.place, self._batches_of_epoch()
        interrupted = self.interrupted
        while limit is None or place.batch < limit:
            for hook in self.before_step:
                hook(place.batch)
            try:
                values = self.step(stream)
            except (StopIteration, tf.errors.OutOfRangeError):
                break
            place.batch += 1
            place.step += 1
            self.numbers.add(place.step, values, self._give_up)
            self.progress.step(place.epoch, place.batch)
            if any([hook(place.batch - 1) for hook in self.after_step]):
                return "a callback asked to"
            if place.batch != limit:  # the end of the epoch saves by itself
                if interrupted.is_set():
                    self._interrupt()
                if self._save_is_due():
                    self._save()
        if place.batch == 0:
            raise DataError("the training data hold no batches. Check their size, and filters in the pipeline.")
        return None

    def _batches_of_epoch(self) -> int | None:
        per_epoch, steps, place = self.state.steps_per_epoch, self.config.steps, self.place
        if steps is None:
            return per_epoch
        left = steps - place.step + place.batch
        return left if per_epoch is None else min(left, per_epoch)

    def _close_epoch(self, reason: str | None) -> None:
        place, config = self.place, self.config
        place.epoch, place.batch = place.epoch + 1, 0
        over = place.epoch >= config.epochs if config.steps is None else place.step >= config.steps
        if over:
            self.stopped = "finished"
        elif reason:
            self.stopped = "early"
            self.progress.say(f"stopped after epoch {place.epoch}: {reason}")
        if self.stopped:
            for watcher in self.watchers:
                watcher.end()
        if self.folder is not None:
            self._save(at_epoch_end=True)
            self._write_logs()
        if self.interrupted.is_set() and not self.stopped:
            self._interrupt()

    # The best epoch

    def _note_best(self, figures: Figures) -> bool:
        if self.config.monitor is None:
            return False
        name, mode = self.config.monitor
        if name not in figures:
            checks.refuse(f"monitor must name one of {tuple(figures)}", name)
        best, loss = self.best, figures.get("val_loss")
        breaks_tie = best and figures[name] == best.value and better(loss or math.nan, best.loss, "min")
        if not better(figures[name], best.value if best else None, mode) and not breaks_tie:
            return False
        self.best = Best(figures[name], self.place.epoch + 1, loss)
        weights = _values(self.state.weights)
        if self.folder is not None:
            self.best_file = self.folder.checkpoints.save_best(self.place.step, weights)
        elif self.config.restore_best:
            self.best_weights = weights
        return True

    def restore_best(self) -> bool:
        """Gives the model the weights of its best epoch, if there is one and the settings want it."""
        if self.best is None or not self.config.restore_best:
            return False
        weights = self.best_weights
        if self.folder is not None:
            weights = self.folder.checkpoints.load_best(self.best_file)
        _assign(self.state.weights, weights)
        return True

    def _give_up(self, problem: str) -> None:
        advice = "Lower the learning rate, or pass clip_norm=; at a first step, look for NaN in the data."
        if self.restore_best():
            advice = f"The model holds the weights of its best epoch, {self.best.epoch}. {advice}"
        raise TrainingError(f"{problem}. {advice}")

    # Checkpoints

    def _save_is_due(self) -> bool:
        config = self.config
        if self.folder is None or not self.state.seekable:
            return False
        if config.save_every is not None and self.place.step % config.save_every == 0:
            return True
        return config.save_seconds is not None and time.monotonic() - self.saved_at >= config.save_seconds

    def _save(self, at_epoch_end: bool = False) -> None:
        if not at_epoch_end:
            self.numbers.check(self._give_up)  # a checkpoint never holds what a failed step left
        state = {
            "place": dataclasses.asdict(self.place),
            "history": self.history,
            "best": self.best,
            "best_file": self.best_file,
            "stopped": self.stopped,
            "seconds": self._seconds(),
            "last_finite": self.numbers.last,
            "watchers": [watcher.saved() for watcher in self.watchers],
        }
        arrays = _values({**self.state.weights, **self.state.extras})
        self.folder.checkpoints.save(self.place.step, arrays, state)
        self.saved_at = time.monotonic()

    def _restore(self, arrays: Mapping[str, np.ndarray], saved: Mapping[str, Any]) -> None:
        _assign({**self.state.weights, **self.state.extras}, arrays)
        self.place = _Place(**saved["place"])
        self.history, self.seconds, self.stopped = saved["history"], saved["seconds"], saved["stopped"]
        self.best = Best(*saved["best"]) if saved["best"] else None
        self.best_file, self.numbers.last = saved["best_file"], saved["last_finite"]
        self.resumed = True
        # Not strict: the log for TensorBoard, which stands last, may come or go between two calls.
        for watcher, state in zip(self.watchers, saved["watchers"], strict=False):
            watcher.restore(state)
        if self.stopped is None:
            place = f"epoch {self.place.epoch + 1}, step {self.place.batch}"
            if not self.state.seekable:
                place = f"the start of epoch {self.place.epoch + 1}: this pipeline cannot start inside one"
            self.progress.say(f"going on in {self.folder.path} from {place}")

    def _interrupt(self) -> None:
        if self.folder is None:
            how = "nothing was saved; pass folder= to be able to go on"
        elif self.place.batch and not self.state.seekable:
            how = f"kept in {self.folder.path}; the same call goes on from the start of this epoch"
        else:
            if self.place.batch:
                self._save()
            how = f"saved in {self.folder.path}; the same call goes on from here"
        self.progress.say(f"interrupted after step {self.place.step}: {how}")
        raise KeyboardInterrupt

    def _write_logs(self) -> None:
        monitor = self.config.monitor
        best_epoch = self.best.epoch if self.best else None
        self.folder.write_logs(self.history, monitor[0] if monitor else None, best_epoch, final=bool(self.stopped))

    # The result

    def _seconds(self) -> float:
        return self.seconds + time.monotonic() - self.started

    def result(self) -> Run:
        """Returns the Run."""
        seconds = self._seconds()
        folder = self.folder.path if self.folder is not None else None
        return Run(
            self.state.model, self.history, self.best, seconds, self.place.step, folder, self.resumed, self.stopped
        )


class _NumberWatch:
    """Looks for values that are not finite, and names the very step, though it may look at several steps at once."""

    def __init__(self, state: State):
        self.state = state
        self.pending: list[tuple[int, Mapping[str, Any]]] = []
        self.last: Figures = {}
        # Reading a value waits for the step to be computed: free on a CPU, a stall of the queue on a GPU.
        self.every = 16 if tf.config.list_physical_devices("GPU") else 1

    def add(self, step: int, values: Mapping[str, Any], give_up: Callable[[str], None]) -> None:
        self.pending.append((step, values))
        if len(self.pending) >= self.every:
            self.check(give_up)

    def check(self, give_up: Callable[[str], None]) -> None:
        for step, values in self.pending:
            found = {name: float(values[name]) for name in self.state.watched if name in values}
            if not all(map(math.isfinite, found.values())):
                give_up(self._describe(step, found))
            self.last = found
        self.pending.clear()

    def _describe(self, step: int, found: Figures) -> str:
        bad = " and ".join(name for name, value in found.items() if not math.isfinite(value))
        before = {name: f" (last finite: {value:.4g})" for name, value in self.last.items()}
        values = ", ".join(f"{name} {value:.4g}{before.get(name, '')}" for name, value in found.items())
        if "gradient_norm" not in found:
            values += ", gradient_norm unknown to this step"
        return f"{bad} not finite at step {step}: {values}, learning rate {self.state.learning_rate(step):.4g}"


def _values(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.array(variable.numpy()) for name, variable in variables.items()}


def _assign(variables: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    if shapes != {name: array.shape for name, array in arrays.items()}:
        raise TrainingError("the checkpoint holds other variables than the run. Choose another folder or resume=False.")
    for name, variable in variables.items():
        array = arrays[name]
        # npz knows no bfloat16 and gives back raw bytes.
        variable.assign(array.view(variable.numpy().dtype) if array.dtype.kind == "V" else array)


@contextmanager
def _asking_to_stop() -> Iterator[threading.Event]:
    """Yields an event that the first Ctrl-C sets, so that a run stops between two steps; the second stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread hears signals
        yield asked
        return

    def ask(number, frame):
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
