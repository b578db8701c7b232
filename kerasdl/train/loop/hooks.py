"""Hooks of a run and early stopping."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.core import checks


@dataclass(frozen=True)
class Occasion:
    """What a run is, as a watcher gets to know it."""

    model: Any
    """What is trained."""
    settings: Mapping[str, Any]
    """The settings and the identity of the run, as plain values for JSON."""
    folder: Path | None
    """Where the run is kept, if it is."""
    say: Any
    """Called with a line to show it, in step with the progress display."""


@dataclass(frozen=True)
class Inspection:
    """One update, looked at closely."""

    step: int
    """Which update, counted from 1."""
    inputs: Any
    """The inputs of its batch (those of the first replica), as tensors nested as the model takes them."""
    gradients: Mapping[str, np.ndarray]
    """The gradient of each trainable weight by its path, over the whole batch and before clipping."""
    before: Mapping[str, np.ndarray]
    """Each trainable weight by its path, before the update."""
    after: Mapping[str, np.ndarray]
    """Each trainable weight by its path, after the update."""


class Watcher:
    """Hooks of a run; a subclass overrides what it needs, and the loop calls no others.

    `fit` takes watchers among its callbacks. Of several workers each has its own; what it writes belongs on the chief
    alone, which `writes` says.
    """

    writes = False
    """Whether the hooks write files or talk to a server: of several workers, they are called on the chief alone."""

    def meet(self, occasion: Occasion) -> None:
        """Called once, before all else."""

    def wants(self, step: int) -> bool:
        """Called before an update, counted from 1, where `inspect` is overridden: whether to inspect that one."""
        return False

    def inspect(self, seen: Inspection) -> None:
        """Called after an update that was wanted."""

    def begin(self) -> None:
        """Called before the first epoch, or before a resumed run goes on."""

    def begin_epoch(self, epoch: int) -> None:
        """Called before an epoch, counted from 0, and again when a run is resumed inside it."""

    def begin_step(self, batch: int) -> None:
        """Called before a step on batch `batch` of the epoch, counted from 0."""

    def end_step(self, batch: int) -> bool:
        """Called after a step; a true answer stops the run."""
        return False

    def measure(self, epoch: int) -> Mapping[str, float]:
        """Returns figures of an epoch that no metric can give, such as an FID or the return of an agent.

        Called after validation, before the best epoch is noted, under the weights that are validated (averages, say).
        They stand beside the figures of the epoch, may be monitored, and may be missing in some epochs: those have NaN
        in the history. Of several workers all call it (with `writes` the chief alone), and all take the chief's.
        """
        return {}

    def end_epoch(self, epoch: int, figures: dict[str, float]) -> str | None:
        """Called with the figures of an epoch; an answer stops the run, and says why."""

    def end(self) -> None:
        """Called after the last epoch."""

    def fail(self, error: BaseException) -> None:
        """Called where a run ends by an error, Ctrl-C and SIGTERM included."""

    def saved(self) -> dict[str, Any]:
        """Returns what a checkpoint must hold of this watcher, as plain values."""
        return {}

    def restore(self, saved: dict[str, Any]) -> None:
        """Takes back what `saved` returned."""


def overrides(watcher: Watcher, hook: str) -> bool:
    """Returns whether a watcher has a hook of its own, so that the others cost nothing in a step."""
    return getattr(type(watcher), hook) is not getattr(Watcher, hook)


def figures_of(watcher: Watcher, epoch: int, known: Collection[str]) -> dict[str, float]:
    """Returns what a watcher measures in an epoch.

    Args:
        watcher: one that overrides `measure`.
        epoch: counted from 0.
        known: the names of figures that the epoch has already.

    Raises:
        ArgumentError: it gives something else than numbers by name, or a name that is taken.
    """
    name, measured = type(watcher).__name__, watcher.measure(epoch)
    rule = f"measure of {name} must return a dict of numbers by name"
    if not isinstance(measured, Mapping):
        checks.refuse(rule, measured, "Return {} where an epoch has none.")
    figures = {}
    for key, value in measured.items():
        single = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iuf"
        if not isinstance(key, str) or not single:
            checks.refuse(rule, f"{key!r}: {value!r}")
        if key in known:
            checks.refuse(f"measure of {name} must give its figures names of their own", key, f"Taken: {tuple(known)}.")
        figures[key] = float(value)
    return figures


def better(value: float, best: float | None, mode: str, min_delta: float = 0.0) -> bool:
    """Returns whether `value` improves on `best` by more than `min_delta`; no number never does."""
    if value != value:
        return False
    if best is None:
        return True
    return value > best + min_delta if mode == "max" else value < best - min_delta


class Patience(Watcher):
    """Counts epochs without improvement."""

    def __init__(self, monitor: tuple[str, str], patience: int, min_delta: float):
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.best, self.waited = None, 0

    def exhausted(self, figures: dict[str, float]) -> bool:
        """Takes in the figures of an epoch; returns whether `patience` epochs have gone by without improvement.

        An epoch without the figure does not count.
        """
        name, mode = self.monitor
        if name not in figures:
            return False
        if better(figures[name], self.best, mode, self.min_delta):
            self.best, self.waited = figures[name], 0
        else:
            self.waited += 1
        return self.waited >= self.patience

    def saved(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def restore(self, saved: dict[str, Any]) -> None:
        self.best, self.waited = saved["best"], saved["waited"]


class EarlyStopping(Patience):
    """Stops a run that no longer improves."""

    def end_epoch(self, epoch: int, figures: dict[str, float]) -> str | None:
        if self.exhausted(figures):
            return f"{self.monitor[0]} has not improved for {self.patience} epochs"
