"""Training loop over a step and a state: progress, checkpoints, resume, logs, interruption and NaN guard.

It knows nothing of models and losses: `fit` runs on it, and so can any other training that goes step by step.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import tensorflow as tf

from kerasdl.core import checks, wording
from kerasdl.core.errors import DataError, TrainingError

from . import run_logs
from .coordination import NO_REQUEST, Request
from .hooks import EarlyStopping, RunCallback, RunInfo, is_improvement, measured_figures, overrides
from .nan_guard import NanGuard
from .progress import make_progress
from .run_folder import RunFolder
from .settings import LoopConfig
from .signals import Preempted, listen_for_signals
from .state import Best, Figures, Run, State
from .steps_per_execution import StepsPerExecution, timed

LEAVE_REQUESTS = Request.INTERRUPT | Request.PREEMPT


def run_steps(step: Callable[[Any], Mapping[str, Any]], state: State, config: LoopConfig) -> Run:
    """Calls `step(stream)` until the run is over; with `config.folder`, the run continues after it was killed.

    Args:
        step: makes one update from a stream and returns scalars by name, including those in
            `state.must_be_finite`. It raises StopIteration or tf.errors.OutOfRangeError where the stream ends.
        state: the variables that the step changes, and the functions that return its figures.
        config: the settings of the run.

    Returns:
        The finished Run.

    Raises:
        TrainingError: a value that must be finite is not, or no checkpoint can be used.
        ArgumentError: the folder holds another run.
        KeyboardInterrupt: on Ctrl-C, after the state was saved.
        Preempted: on SIGTERM where the run has a folder, after the state was saved.

    Example:
        >>> weight = tf.Variable(4.0)
        >>> def halve(stream):
        ...     weight.assign(weight / next(stream))
        ...     return {"loss": weight}
        >>> state = State(None, {"weight": weight}, {}, lambda epoch, batch: iter([2.0, 2.0]), steps_per_epoch=2)
        >>> run_steps(halve, state, LoopConfig(epochs=1, progress="off")).steps, float(weight)
        (2, 1.0)
    """
    loop = _Loop(step, state, config)
    with loop.progress, listen_for_signals(can_be_preempted=config.folder is not None) as loop.listener:
        try:
            loop.begin()
            while loop.stopped is None:
                loop.run_epoch()
            state.on_finish(loop.restore_best())
            loop.check_monitored()
            loop.leave_if_requested()
        except BaseException as error:
            loop.fail(error)
            raise
    return loop.result()


@dataclass
class _Position:
    epoch: int = 0
    batch: int = 0
    step: int = 0


class _Loop:
    def __init__(self, step: Callable, state: State, config: LoopConfig):
        self.step, self.state, self.config = step, state, config
        self.position, self.history = _Position(), {}
        self.best: Best | None = None
        self.best_file: str | None = None
        self.stopped: str | None = None
        self.requests = NO_REQUEST
        self.resumed = False
        self.seconds = 0.0
        self.started = time.monotonic()
        self.coordinator, self.folder = state.coordinator, RunFolder(state, config)
        self.nan_guard = NanGuard(state)
        self.progress = make_progress(config.progress if self.coordinator.chief else "off", config.stage)
        self.run_callbacks = [*state.run_callbacks, *self._built_in_callbacks()]
        self.active_callbacks = [each for each in self.run_callbacks if self.coordinator.chief or not each.writes]
        self.before_step = [each.begin_step for each in self.active_callbacks if overrides(each, "begin_step")]
        self.after_step = [each.end_step for each in self.active_callbacks if overrides(each, "end_step")]
        self.tracing_callbacks = [each for each in self.run_callbacks if overrides(each, "inspect")]
        self.measuring_callbacks = [each for each in self.run_callbacks if overrides(each, "measure")]
        by_step = any(overrides(each, hook) for each in self.run_callbacks for hook in ("begin_step", "end_step"))
        self.execution = StepsPerExecution(
            config.steps_per_execution, supported=state.run_many is not None and not by_step
        )

    def _built_in_callbacks(self) -> Iterator[RunCallback]:
        config = self.config
        if config.patience is not None:
            if config.monitor is None:
                checks.refuse(
                    "patience needs a figure to monitor", None, 'Give validation=, or monitor=("loss", "min").'
                )
            yield EarlyStopping(config.monitor, config.patience, config.min_delta)
        if config.tensorboard:
            if self.folder.path is None:
                checks.refuse("tensorboard=True needs a folder", None, "Pass folder=.")
            yield run_logs.TensorBoardLog(self.folder.path / "tensorboard")

    # The run

    def begin(self) -> None:
        """Restores the run in the folder, if there is one, and starts the callbacks."""
        config, state = self.config, self.state
        epochs, steps = config.epochs, state.steps_per_epoch
        if config.steps is not None:
            epochs = math.ceil(config.steps / steps) if steps else None
        self.progress.begin(epochs, steps, state.batch_size, state.quick_metrics or state.figures)
        saved = self.folder.open(self.progress.say)
        finished = saved is not None and self._is_over(saved)
        for callback in self.active_callbacks:
            callback.setup(self._run_info())
        if not finished:
            for line in state.notes:
                self.progress.say(line)
            for callback in self.active_callbacks:
                callback.begin()
        if saved is not None:
            self._restore(saved)
            self._write_logs()
        if finished:
            self.progress.say(f"the run in {self.folder.path} is finished; this is its result")

    def _is_over(self, saved: Mapping[str, Any]) -> bool:
        if saved["stopped"] != "finished" or self.config.steps is not None:
            return saved["stopped"] is not None
        return saved["place"]["epoch"] >= self.config.epochs  # otherwise this call has more epochs than the last one

    def _run_info(self) -> RunInfo:
        settings = {**self.config.describe(), **self.state.identity}
        return RunInfo(self.state.model, settings, self.folder.path, self.progress.say)

    def check_monitored(self) -> None:
        """Refuses a finished run in which no epoch has the monitored figure, which a callback should have measured."""
        monitor = self.config.monitor
        if monitor is not None and self.history and monitor[0] not in self.history:
            hint = "The model holds the weights of the last epoch; no epoch is the best."
            checks.refuse(f"monitor must name one of {tuple(self.history)}, the figures of the run", monitor[0], hint)

    def leave_if_requested(self) -> None:
        """Leaves the process where it was asked to stop while the run finished."""
        if self.requests & LEAVE_REQUESTS:
            outcome = "nothing was saved, the model in memory has its weights; pass folder= to keep a run"
            if self.folder.path is not None:
                outcome = f"kept in {self.folder.path}; the same call continues from there"
            self.progress.say(wording.spelled(f"the run is finished; stopping as requested: {outcome}"))
            raise Preempted if self.requests & Request.PREEMPT else KeyboardInterrupt

    def fail(self, error: BaseException) -> None:
        """Calls `fail` of the callbacks where the run ends by an error."""
        for callback in self.active_callbacks:
            callback.fail(error)

    def run_epoch(self) -> None:
        """Runs the rest of the current epoch, validates and saves."""
        position = self.position
        if position.batch == 0:
            self.state.reset()
        for callback in self.active_callbacks:
            callback.begin_epoch(position.epoch)
        self.progress.begin_epoch(position.epoch, position.batch)
        stop_reason = self._run_batches(self.state.stream(position.epoch, position.batch))
        self.nan_guard.check(self._stop_on_failure)
        self.progress.end_steps(position.batch)
        with self.state.evaluation_weights():
            figures = self._figures()
            for name in {**self.history, **figures}:  # an epoch may lack a figure of other epochs
                self.history.setdefault(name, [math.nan] * position.epoch).append(figures.get(name, math.nan))
            is_best = self._note_best(figures)
        reasons = [callback.end_epoch(position.epoch, dict(figures)) for callback in self.active_callbacks]
        self.progress.end_epoch(position.epoch, figures, is_best)
        self._close_epoch(next(filter(None, reasons), None) or stop_reason)

    def _figures(self) -> Figures:
        figures = {**self.state.figures(), **self.state.evaluate()}
        measured: Figures = {}
        for callback in self.measuring_callbacks:
            if callback in self.active_callbacks:
                measured |= measured_figures(callback, self.position.epoch, {**figures, **measured})
        return {**figures, **self.coordinator.broadcast_from_chief(measured)} if self.measuring_callbacks else figures

    def _run_batches(self, stream: Any) -> str | None:
        position, limit = self.position, self._batches_of_epoch()
        while limit is None or position.batch < limit:
            count = self.execution.next_count(self._updates_before_event(limit))
            for hook in self.before_step:
                hook(position.batch)
            try:
                values = self._advance(stream, count)
            except (StopIteration, tf.errors.OutOfRangeError):
                if count > 1:
                    raise DataError("the data ended before their stated length. Pass steps_per_execution=1.") from None
                break
            position.batch += count
            position.step += count
            self.nan_guard.add(position.step, values, self._stop_on_failure)
            self.progress.step(position.epoch, position.batch)
            requests = self.coordinator.requests_after_step(values, self._own_requests())
            if requests & Request.END:
                return "a callback asked to"
            if position.batch != limit:  # the end of the epoch saves by itself
                if requests & LEAVE_REQUESTS:
                    self._interrupt(requests)
                if requests & Request.SAVE or self.folder.is_due(position.step):
                    self._save()
        if position.batch == 0:
            raise DataError("the training data hold no batches. Check their size, and filters in the pipeline.")
        return None

    def _advance(self, stream: Any, count: int) -> Mapping[str, Any]:
        """Makes the next `count` updates and returns their values."""
        step = self.position.step + 1
        tracing = [each for each in self.tracing_callbacks if each.wants(step)]
        if tracing:
            values, trace = self.state.run_traced(stream, step)
            for callback in tracing:
                callback.inspect(trace)
            return values
        if count > 1:
            return self.state.run_many(stream, count)
        if not self.execution.measuring:
            return self.step(stream)
        values, seconds = timed(lambda: _await_values(self.step(stream)))
        choice = self.execution.record(seconds, self._steps_left(), self.state.tracing_seconds)
        if choice:
            self.progress.say(choice)
        return values

    def _updates_before_event(self, limit: int | None) -> int | None:
        """Returns the number of updates before the next event between two of them: a save, a trace, the epoch's end."""
        if limit is None or self.execution.chosen in (None, 1):
            return limit
        position, every, room = self.position, self.config.save_every, limit - self.position.batch
        if every is not None:
            room = min(room, every - position.step % every)
        steps = range(1, min(room, self.execution.chosen) + 1)
        traced = (ahead for ahead in steps if any(each.wants(position.step + ahead) for each in self.tracing_callbacks))
        return min(room, max(1, next(traced, room + 1) - 1))

    def _steps_left(self) -> int | None:
        config, per_epoch = self.config, self.state.steps_per_epoch
        total = config.steps if config.steps is not None else per_epoch and per_epoch * config.epochs
        return total and total - self.position.step

    def _own_requests(self) -> Request:
        end_requested = any([hook(self.position.batch - 1) for hook in self.after_step])
        requests = self.listener.requested | (Request.END if end_requested else NO_REQUEST)
        if self.coordinator.chief and self.folder.time_is_up():
            requests |= Request.SAVE
        return requests

    def _batches_of_epoch(self) -> int | None:
        per_epoch, steps, position = self.state.steps_per_epoch, self.config.steps, self.position
        if steps is None:
            return per_epoch
        left = steps - position.step + position.batch
        return left if per_epoch is None else min(left, per_epoch)

    def _close_epoch(self, reason: str | None) -> None:
        position, config = self.position, self.config
        position.epoch, position.batch = position.epoch + 1, 0
        over = position.epoch >= config.epochs if config.steps is None else position.step >= config.steps
        if over:
            self.stopped = "finished"
        requests = self.coordinator.all_reduce_requests(
            self.listener.requested | (Request.END if reason else NO_REQUEST)
        )
        if requests & Request.END and not self.stopped:
            self.stopped = "early"
            self.progress.say(f"stopped after epoch {position.epoch}: {reason or 'another worker asked to'}")
        self._write_logs()  # before the callbacks, some of which keep a copy
        if self.stopped:
            for callback in self.active_callbacks:
                callback.end()
        if self.folder.path is not None:
            self._save(at_epoch_end=True)
        self.requests = requests
        if requests & LEAVE_REQUESTS and not self.stopped:
            self._interrupt(requests)

    # The best epoch

    def _note_best(self, figures: Figures) -> bool:
        if self.config.monitor is None:
            return False
        name, mode = self.config.monitor
        if name not in figures and (name in self.history or self.measuring_callbacks):
            return False  # a measured figure may first appear in a later epoch
        if name not in figures:
            checks.refuse(f"monitor must name one of {tuple(figures)}, the figures of the first epoch", name)
        best, loss = self.best, figures.get("val_loss")
        breaks_tie = best and figures[name] == best.value and is_improvement(loss or math.nan, best.loss, "min")
        if not is_improvement(figures[name], best.value if best else None, mode) and not breaks_tie:
            return False
        self.best = Best(figures[name], self.position.epoch + 1, loss)
        self.best_file = self.folder.save_best(self.position.step)
        return True

    def restore_best(self) -> bool:
        """Restores the weights of the best epoch where the settings ask for it; returns whether it did."""
        if self.best is None or not self.config.restore_best:
            return False
        self.folder.restore_best(self.best_file)
        return True

    def _stop_on_failure(self, problem: str) -> NoReturn:
        advice = "Lower the learning rate, or pass clip_norm=; at a first step, look for NaN in the data."
        if self.restore_best():
            advice = f"The model holds the weights of its best epoch, {self.best.epoch}. {advice}"
        raise TrainingError(f"{problem}. {advice}")

    # Checkpoints

    def _save(self, at_epoch_end: bool = False) -> None:
        if not at_epoch_end:
            self.nan_guard.check(self._stop_on_failure)  # a checkpoint never holds the weights of a failed step
        saved = {
            "place": dataclasses.asdict(self.position),
            "history": self.history,
            "best": self.best,
            "best_file": self.best_file,
            "stopped": self.stopped,
            "seconds": self._seconds(),
            "last_finite": self.nan_guard.last_finite,
            "watchers": [callback.saved() for callback in self.run_callbacks],
        }
        self.folder.save(self.position.step, saved)

    def _restore(self, saved: Mapping[str, Any]) -> None:
        self.position = _Position(**saved["place"])
        self.history, self.seconds = saved["history"], saved["seconds"]
        self.stopped = saved["stopped"] if self._is_over(saved) else None
        self.best = Best(*saved["best"]) if saved["best"] else None
        self.best_file, self.nan_guard.last_finite = saved["best_file"], saved["last_finite"]
        self.resumed = True
        # Not strict: the TensorBoard log, which is last, may be added or removed between two calls.
        for callback, state in zip(self.run_callbacks, saved["watchers"], strict=False):
            callback.restore(state)
        if self.stopped is None:
            start = f"epoch {self.position.epoch + 1}, step {self.position.batch}"
            if not self.state.seekable:
                start = f"the start of epoch {self.position.epoch + 1}: this pipeline cannot start inside one"
            self.progress.say(f"resuming in {self.folder.path} from {start}")

    def _interrupt(self, requests: Request) -> NoReturn:
        if self.folder.path is None:
            outcome = "nothing was saved; pass folder= to be able to resume"
        elif self.position.batch and not self.folder.saves_inside_epochs:
            outcome = f"kept in {self.folder.path}; the same call continues from the start of this epoch"
        else:
            if self.position.batch:
                self._save()
            outcome = f"saved in {self.folder.path}; the same call continues from here"
        self.progress.say(wording.spelled(f"interrupted after step {self.position.step}: {outcome}"))
        raise Preempted if requests & Request.PREEMPT else KeyboardInterrupt

    def _write_logs(self) -> None:
        best_epoch = self.best.epoch if self.best else None
        self.folder.write_logs(self.position.step, self.history, best_epoch, final=bool(self.stopped))

    # The result

    def _seconds(self) -> float:
        return self.seconds + time.monotonic() - self.started

    def result(self) -> Run:
        """Returns the finished Run."""
        seconds = self._seconds()
        path = self.folder.path
        return Run(
            self.state.model, self.history, self.best, seconds, self.position.step, path, self.resumed, self.stopped
        )


def _await_values(values: Mapping[str, Any]) -> Mapping[str, Any]:
    for value in values.values():  # a step is over once its values can be read
        np.asarray(value)
    return values
