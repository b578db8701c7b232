"""What looks on while a run goes: the hooks, early stopping, and the learning rate on a plateau."""

from typing import Any

import keras

from . import schedules


class Watcher:
    """Hooks of a run; a subclass overrides what it needs, and the loop calls no others."""

    def begin(self) -> None:
        """Called before the first epoch, or before a resumed run goes on."""

    def begin_epoch(self, epoch: int) -> None:
        """Called before an epoch, counted from 0, and again when a run is resumed inside it."""

    def begin_step(self, batch: int) -> None:
        """Called before a step on batch `batch` of the epoch, counted from 0."""

    def end_step(self, batch: int) -> bool:
        """Called after a step; a true answer stops the run."""
        return False

    def end_epoch(self, epoch: int, figures: dict[str, float]) -> str | None:
        """Called with the figures of an epoch; an answer stops the run, and says why."""

    def end(self) -> None:
        """Called after the last epoch."""

    def saved(self) -> dict[str, Any]:
        """Returns what a checkpoint must hold of this watcher, as plain values."""
        return {}

    def restore(self, saved: dict[str, Any]) -> None:
        """Takes back what `saved` returned."""


def overrides(watcher: Watcher, hook: str) -> bool:
    """Returns whether a watcher has a hook of its own, so that the others cost nothing in a step."""
    return getattr(type(watcher), hook) is not getattr(Watcher, hook)


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
        """Takes in the figures of an epoch; returns whether `patience` epochs have gone by without improvement."""
        name, mode = self.monitor
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


class LowerOnPlateau(Patience):
    """Lowers the learning rate of an optimizer each time the run stops improving."""

    def __init__(self, monitor: tuple[str, str], optimizer: keras.optimizers.Optimizer, plateau: schedules.Plateau):
        super().__init__(monitor, plateau.patience, plateau.min_delta)
        self.optimizer, self.plateau = optimizer, plateau

    def end_epoch(self, epoch: int, figures: dict[str, float]) -> str | None:
        if self.exhausted(figures):
            rate = float(self.optimizer.learning_rate)
            self.optimizer.learning_rate = max(rate * self.plateau.factor, min(rate, self.plateau.floor))
            self.waited = 0
