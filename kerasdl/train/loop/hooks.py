"""Callbacks of a run: hooks, the run and update records that they receive, and early stopping."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.core import checks


@dataclass(frozen=True)
class RunInfo:
    """Description of a run, given to its callbacks before it starts."""

    model: Any
    """The model in training."""
    settings: Mapping[str, Any]
    """The settings and the identity of the run, as plain values for JSON."""
    folder: Path | None
    """The folder of the run; None where it has none."""
    say: Any
    """Function that prints a line without disturbing the progress display."""


@dataclass(frozen=True)
class UpdateTrace:
    """Inputs, gradients and weights of one update."""

    step: int
    """Number of the update, counted from 1."""
    inputs: Any
    """The inputs of its batch (those of the first replica), as tensors nested as the model takes them."""
    gradients: Mapping[str, np.ndarray]
    """The gradient of each trainable weight by its path, over the whole batch and before clipping."""
    before: Mapping[str, np.ndarray]
    """Each trainable weight by its path, before the update."""
    after: Mapping[str, np.ndarray]
    """Each trainable weight by its path, after the update."""


class RunCallback:
    """Callback of a run, with hooks that a subclass overrides; the loop calls only the overridden ones inside a step.

    `fit` takes these among its callbacks, beside those of Keras. With several workers each process has its own; set
    `writes` where the hooks write files, so that only the chief calls them.
    """

    writes = False
    """True if the hooks write files or send data; with several workers, only the chief then calls them."""

    def setup(self, run_info: RunInfo) -> None:
        """Called once, before all other hooks."""

    def wants(self, step: int) -> bool:
        """Returns whether to trace update `step`, counted from 1; called before it where `inspect` is overridden."""
        return False

    def inspect(self, trace: UpdateTrace) -> None:
        """Called after an update for which `wants` returned True."""

    def begin(self) -> None:
        """Called before the first epoch, or before a resumed run continues."""

    def begin_epoch(self, epoch: int) -> None:
        """Called before an epoch, counted from 0, and again when a run is resumed inside it."""

    def begin_step(self, batch: int) -> None:
        """Called before a step on batch `batch` of the epoch, counted from 0."""

    def end_step(self, batch: int) -> bool:
        """Called after a step; returning True stops the run."""
        return False

    def measure(self, epoch: int) -> Mapping[str, float]:
        """Returns figures of an epoch that no Keras metric computes, such as an FID or the return of an agent.

        Called after validation and before the best epoch is chosen, while the model holds its evaluation weights
        (for example an average). The figures join those of the epoch and may be monitored. Epochs without a figure
        have NaN in the history. With several workers all call it (with `writes`, only the chief), and all use the
        chief's figures.
        """
        return {}

    def end_epoch(self, epoch: int, figures: dict[str, float]) -> str | None:
        """Called with the figures of an epoch; returning a text stops the run, and the text is the reason."""

    def end(self) -> None:
        """Called after the last epoch."""

    def fail(self, error: BaseException) -> None:
        """Called when a run ends by an error, Ctrl-C or SIGTERM."""

    def saved(self) -> dict[str, Any]:
        """Returns the state of this callback for a checkpoint, as plain values."""
        return {}

    def restore(self, saved: dict[str, Any]) -> None:
        """Restores the state that `saved` returned."""


def overrides(callback: RunCallback, hook: str) -> bool:
    """Returns whether the class of a callback overrides a hook."""
    return getattr(type(callback), hook) is not getattr(RunCallback, hook)


def measured_figures(callback: RunCallback, epoch: int, known: Collection[str]) -> dict[str, float]:
    """Returns the figures that a callback measures in an epoch.

    Args:
        callback: a callback that overrides `measure`.
        epoch: counted from 0.
        known: the names of figures that the epoch has already.

    Raises:
        ArgumentError: `measure` returns something other than numbers by name, or a name already taken.
    """
    name, measured = type(callback).__name__, callback.measure(epoch)
    rule = f"measure of {name} must return a dict of numbers by name"
    if not isinstance(measured, Mapping):
        checks.refuse(rule, measured, "Return {} for an epoch without figures.")
    figures = {}
    for key, value in measured.items():
        is_number = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iuf"
        if not isinstance(key, str) or not is_number:
            checks.refuse(rule, f"{key!r}: {value!r}")
        if key in known:
            checks.refuse(f"measure of {name} must return names that are not taken", key, f"Taken: {tuple(known)}.")
        figures[key] = float(value)
    return figures


def is_improvement(value: float, best: float | None, mode: str, min_delta: float = 0.0) -> bool:
    """Returns whether `value` improves on `best` by more than `min_delta`; NaN never does."""
    if value != value:
        return False
    if best is None:
        return True
    return value > best + min_delta if mode == "max" else value < best - min_delta


class Patience(RunCallback):
    """Base class of callbacks that count epochs without improvement."""

    def __init__(self, monitor: tuple[str, str], patience: int, min_delta: float):
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.best, self.waited = None, 0

    def exhausted(self, figures: dict[str, float]) -> bool:
        """Returns whether `patience` epochs have passed without improvement, this epoch included.

        An epoch without the figure does not count.
        """
        name, mode = self.monitor
        if name not in figures:
            return False
        if is_improvement(figures[name], self.best, mode, self.min_delta):
            self.best, self.waited = figures[name], 0
        else:
            self.waited += 1
        return self.waited >= self.patience

    def saved(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def restore(self, saved: dict[str, Any]) -> None:
        self.best, self.waited = saved["best"], saved["waited"]


class EarlyStopping(Patience):
    """Early stopping: ends a run whose monitored figure no longer improves."""

    def end_epoch(self, epoch: int, figures: dict[str, float]) -> str | None:
        if self.exhausted(figures):
            return f"{self.monitor[0]} has not improved for {self.patience} epochs"
