"""The loop over a step and a state: progress, checkpoints, resume, logs, interruption, and a stop when numbers fail.

It knows nothing of models and losses: `fit` runs on it, and whatever else learns step by step can.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import DataError, TrainingError

from . import run_logs
from .coordination import NONE, Wish
from .hooks import EarlyStopping, Occasion, Watcher, better, figures_of, overrides
from .nan_guard import NumberWatch
from .progress import make_progress
from .run_folder import RunFolder
from .settings import LoopConfig
from .signals import Preempted, listening
from .state import Best, Figures, Run, State
from .steps_per_execution import Pace, timed

LEAVE = Wish.INTERRUPT | Wish.PREEMPT


def run_steps(step: Callable[[Any], Mapping[str, Any]], state: State, config: LoopConfig) -> Run:
    """Calls `step(stream)` until the run is over; kept in `config.folder`, it goes on there after any kill.

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
        Preempted: on SIGTERM where the run is kept in a folder, after the state was saved.

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
    with loop.progress, listening(can_be_preempted=config.folder is not None) as loop.ears:
        try:
            loop.begin()
            while loop.stopped is None:
                loop.run_epoch()
            state.settle(loop.restore_best())
            loop.check_monitored()
            loop.leave_if_asked()
        except BaseException as error:
            loop.fail(error)
            raise
    return loop.result()


@dataclass
class _Place:
    epoch: int = 0
    batch: int = 0
    step: int = 0


class _Loop:
    def __init__(self, step: Callable, state: State, config: LoopConfig):
        self.step, self.state, self.config = step, state, config
        self.place, self.history = _Place(), {}
        self.best: Best | None = None
        self.best_file: str | None = None
        self.stopped: str | None = None
        self.heard = NONE
        self.resumed = False
        self.seconds = 0.0
        self.started = time.monotonic()
        self.crew, self.folder = state.crew, RunFolder(state, config)
        self.numbers = NumberWatch(state)
        self.progress = make_progress(config.progress if self.crew.chief else "off")
        self.watchers = [*state.watchers, *self._own_watchers()]
        self.called = [each for each in self.watchers if self.crew.chief or not each.writes]
        self.before_step = [each.begin_step for each in self.called if overrides(each, "begin_step")]
        self.after_step = [each.end_step for each in self.called if overrides(each, "end_step")]
        self.inspectors = [each for each in self.watchers if overrides(each, "inspect")]
        self.measuring = [each for each in self.watchers if overrides(each, "measure")]
        by_step = any(overrides(each, hook) for each in self.watchers for hook in ("begin_step", "end_step"))
        self.pace = Pace(config.steps_per_execution, possible=state.several is not None and not by_step)

    def _own_watchers(self) -> Iterator[Watcher]:
        config = self.config
        if config.patience is not None:
            if config.monitor is None:
                checks.refuse("patience needs a figure to watch", None, 'Give validation=, or monitor=("loss", "min").')
            yield EarlyStopping(config.monitor, config.patience, config.min_delta)
        if config.tensorboard:
            if self.folder.path is None:
                checks.refuse("tensorboard=True needs a folder", None, "Pass folder=.")
            yield run_logs.TensorBoardLog(self.folder.path / "tensorboard")

    # The run

    def begin(self) -> None:
        """Takes up the run in the folder, if there is one."""
        config, state = self.config, self.state
        epochs, steps = config.epochs, state.steps_per_epoch
        if config.steps is not None:
            epochs = math.ceil(config.steps / steps) if steps else None
        self.progress.begin(epochs, steps, state.batch_size, state.glance or state.figures)
        note = self.folder.open(self.progress.say)
        finished = note is not None and self._is_over(note)
        for watcher in self.called:
            watcher.meet(self._occasion())
        if not finished:
            for line in state.notes:
                self.progress.say(line)
            for watcher in self.called:
                watcher.begin()
        if note is not None:
            self._take_up(note)
            self._write_logs()
        if finished:
            self.progress.say(f"the run in {self.folder.path} is finished; this is its result")

    def _is_over(self, note: Mapping[str, Any]) -> bool:
        if note["stopped"] != "finished" or self.config.steps is not None:
            return note["stopped"] is not None
        return note["place"]["epoch"] >= self.config.epochs  # else this call has more epochs than the last

    def _occasion(self) -> Occasion:
        settings = {**self.config.describe(), **self.state.identity}
        return Occasion(self.state.model, settings, self.folder.path, self.progress.say)

    def check_monitored(self) -> None:
        """Refuses a finished run in which no epoch had the monitored figure, which a watcher was to measure."""
        monitor = self.config.monitor
        if monitor is not None and self.history and monitor[0] not in self.history:
            hint = "The model holds the weights of the last epoch; no epoch is the best."
            checks.refuse(f"monitor must name one of {tuple(self.history)}, the figures of the run", monitor[0], hint)

    def leave_if_asked(self) -> None:
        """Leaves after a run that was over just when the process was asked to go."""
        if self.heard & LEAVE:
            self.progress.say("the run is finished; leaving as asked")
            raise Preempted if self.heard & Wish.PREEMPT else KeyboardInterrupt

    def fail(self, error: BaseException) -> None:
        """Tells the watchers that the run ends by an error."""
        for watcher in self.called:
            watcher.fail(error)

    def run_epoch(self) -> None:
        """Runs what is left of the current epoch, and closes it."""
        place = self.place
        if place.batch == 0:
            self.state.reset()
        for watcher in self.called:
            watcher.begin_epoch(place.epoch)
        self.progress.begin_epoch(place.epoch, place.batch)
        told_to_stop = self._run_batches(self.state.stream(place.epoch, place.batch))
        self.numbers.check(self._give_up)
        self.progress.end_steps(place.batch)
        with self.state.judged():
            figures = self._figures()
            for name in {**self.history, **figures}:  # an epoch may lack a figure that others have
                self.history.setdefault(name, [math.nan] * place.epoch).append(figures.get(name, math.nan))
            is_best = self._note_best(figures)
        reasons = [watcher.end_epoch(place.epoch, dict(figures)) for watcher in self.called]
        self.progress.end_epoch(place.epoch, figures, is_best)
        self._close_epoch(next(filter(None, reasons), None) or told_to_stop)

    def _figures(self) -> Figures:
        figures = {**self.state.figures(), **self.state.evaluate()}
        measured: Figures = {}
        for watcher in self.measuring:
            if watcher in self.called:
                measured |= figures_of(watcher, self.place.epoch, {**figures, **measured})
        return {**figures, **self.crew.chiefs(measured)} if self.measuring else figures

    def _run_batches(self, stream: Any) -> str | None:
        place, limit = self.place, self._batches_of_epoch()
        while limit is None or place.batch < limit:
            count = self.pace.count(self._room(limit))
            for hook in self.before_step:
                hook(place.batch)
            try:
                values = self._advance(stream, count)
            except (StopIteration, tf.errors.OutOfRangeError):
                if count > 1:
                    raise DataError("the data ended before their stated length. Pass steps_per_execution=1.") from None
                break
            place.batch += count
            place.step += count
            self.numbers.add(place.step, values, self._give_up)
            self.progress.step(place.epoch, place.batch)
            heard = self.crew.heard(values, self._wishes())
            if heard & Wish.END:
                return "a callback asked to"
            if place.batch != limit:  # the end of the epoch saves by itself
                if heard & LEAVE:
                    self._interrupt(heard)
                if heard & Wish.SAVE or self.folder.is_due(place.step):
                    self._save()
        if place.batch == 0:
            raise DataError("the training data hold no batches. Check their size, and filters in the pipeline.")
        return None

    def _advance(self, stream: Any, count: int) -> Mapping[str, Any]:
        """Makes the next updates and returns their values."""
        step = self.place.step + 1
        wanting = [each for each in self.inspectors if each.wants(step)]
        if wanting:
            values, seen = self.state.inspected(stream, step)
            for watcher in wanting:
                watcher.inspect(seen)
            return values
        if count > 1:
            return self.state.several(stream, count)
        if not self.pace.measuring:
            return self.step(stream)
        values, seconds = timed(lambda: _read(self.step(stream)))
        choice = self.pace.note(seconds, self._steps_left(), self.state.tracing_seconds)
        if choice:
            self.progress.say(choice)
        return values

    def _room(self, limit: int | None) -> int | None:
        """Returns how many updates there are before something must happen between two of them."""
        if limit is None or self.pace.chosen in (None, 1):
            return limit
        place, every, room = self.place, self.config.save_every, limit - self.place.batch
        if every is not None:
            room = min(room, every - place.step % every)
        steps = range(1, min(room, self.pace.chosen) + 1)
        wanted = (ahead for ahead in steps if any(each.wants(place.step + ahead) for each in self.inspectors))
        return min(room, max(1, next(wanted, room + 1) - 1))

    def _steps_left(self) -> int | None:
        config, per_epoch = self.config, self.state.steps_per_epoch
        total = config.steps if config.steps is not None else per_epoch and per_epoch * config.epochs
        return total and total - self.place.step

    def _wishes(self) -> Wish:
        asked = any([hook(self.place.batch - 1) for hook in self.after_step])
        wishes = self.ears.wish | (Wish.END if asked else NONE)
        if self.crew.chief and self.folder.time_is_up():
            wishes |= Wish.SAVE
        return wishes

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
        heard = self.crew.vote(self.ears.wish | (Wish.END if reason else NONE))
        if heard & Wish.END and not self.stopped:
            self.stopped = "early"
            self.progress.say(f"stopped after epoch {place.epoch}: {reason or 'another worker asked to'}")
        self._write_logs()  # before the watchers, of which some keep a copy
        if self.stopped:
            for watcher in self.called:
                watcher.end()
        if self.folder.path is not None:
            self._save(at_epoch_end=True)
        self.heard = heard
        if heard & LEAVE and not self.stopped:
            self._interrupt(heard)

    # The best epoch

    def _note_best(self, figures: Figures) -> bool:
        if self.config.monitor is None:
            return False
        name, mode = self.config.monitor
        if name not in figures and (name in self.history or self.measuring):
            return False  # what is measured may first appear in a later epoch
        if name not in figures:
            checks.refuse(f"monitor must name one of {tuple(figures)}, the figures of the first epoch", name)
        best, loss = self.best, figures.get("val_loss")
        breaks_tie = best and figures[name] == best.value and better(loss or math.nan, best.loss, "min")
        if not better(figures[name], best.value if best else None, mode) and not breaks_tie:
            return False
        self.best = Best(figures[name], self.place.epoch + 1, loss)
        self.best_file = self.folder.keep_best(self.place.step)
        return True

    def restore_best(self) -> bool:
        """Gives the model the weights of its best epoch, if there is one and the settings want it."""
        if self.best is None or not self.config.restore_best:
            return False
        self.folder.restore_best(self.best_file)
        return True

    def _give_up(self, problem: str) -> NoReturn:
        advice = "Lower the learning rate, or pass clip_norm=; at a first step, look for NaN in the data."
        if self.restore_best():
            advice = f"The model holds the weights of its best epoch, {self.best.epoch}. {advice}"
        raise TrainingError(f"{problem}. {advice}")

    # Checkpoints

    def _save(self, at_epoch_end: bool = False) -> None:
        if not at_epoch_end:
            self.numbers.check(self._give_up)  # a checkpoint never holds what a failed step left
        note = {
            "place": dataclasses.asdict(self.place),
            "history": self.history,
            "best": self.best,
            "best_file": self.best_file,
            "stopped": self.stopped,
            "seconds": self._seconds(),
            "last_finite": self.numbers.last,
            "watchers": [watcher.saved() for watcher in self.watchers],
        }
        self.folder.save(self.place.step, note)

    def _take_up(self, saved: Mapping[str, Any]) -> None:
        self.place = _Place(**saved["place"])
        self.history, self.seconds = saved["history"], saved["seconds"]
        self.stopped = saved["stopped"] if self._is_over(saved) else None
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

    def _interrupt(self, heard: Wish) -> NoReturn:
        if self.folder.path is None:
            how = "nothing was saved; pass folder= to be able to go on"
        elif self.place.batch and not self.folder.keeps_places:
            how = f"kept in {self.folder.path}; the same call goes on from the start of this epoch"
        else:
            if self.place.batch:
                self._save()
            how = f"saved in {self.folder.path}; the same call goes on from here"
        self.progress.say(f"interrupted after step {self.place.step}: {how}")
        raise Preempted if heard & Wish.PREEMPT else KeyboardInterrupt

    def _write_logs(self) -> None:
        best_epoch = self.best.epoch if self.best else None
        self.folder.write_logs(self.place.step, self.history, best_epoch, final=bool(self.stopped))

    # The result

    def _seconds(self) -> float:
        return self.seconds + time.monotonic() - self.started

    def result(self) -> Run:
        """Returns the Run."""
        seconds = self._seconds()
        path = self.folder.path
        return Run(
            self.state.model, self.history, self.best, seconds, self.place.step, path, self.resumed, self.stopped
        )


def _read(values: Mapping[str, Any]) -> Mapping[str, Any]:
    for value in values.values():  # a step is over once its values can be read
        np.asarray(value)
    return values
