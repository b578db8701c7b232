"""Keras callbacks on the training loop: called in Keras's order, with their counters saved in checkpoints."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.core import checks

from ..config import RunConfig
from ..loop.hooks import RunCallback

BASE = keras.callbacks.Callback
WRITERS = (
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.BackupAndRestore,
    keras.callbacks.CSVLogger,
    keras.callbacks.TensorBoard,
)


class KerasCallbacks(RunCallback):
    """Adapter that calls Keras callbacks from the hooks of a run.

    Checkpoints hold their plain numbers, such as `EarlyStopping.wait`, but not the weights that they hold; so a
    callback with `restore_best_weights` is refused in a run with a folder.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        model: keras.Model,
        config: RunConfig,
        length: int | None,
        figures: Callable[[], dict[str, float]],
        writes: bool = True,
    ):
        self.callbacks, self.model, self.figures = list(callbacks), model, figures
        for callback in self.callbacks:
            if not isinstance(callback, BASE):
                checks.refuse("callbacks must be Keras callbacks", callback)
            if config.folder is not None and getattr(callback, "restore_best_weights", False):
                checks.refuse(
                    "restore_best_weights must be off in a run with a folder, whose checkpoints do not hold them",
                    type(callback).__name__,
                    "RunConfig(patience=..., restore_best=True) does the same and resumes.",
                )
        settings = {"epochs": config.epochs, "steps": length, "verbose": 0}
        called = [each for each in self.callbacks if writes or not isinstance(each, WRITERS)]
        self.list = keras.callbacks.CallbackList(called, model=model, **settings)
        self.test_steps = _some_override(callbacks, "on_test_batch_begin", "on_test_batch_end")
        self.last: dict[str, float] = {}

    def begin(self) -> None:
        self.model.stop_training = False
        self.list.on_train_begin()

    def begin_epoch(self, epoch: int) -> None:
        self.list.on_epoch_begin(epoch)

    def end_epoch(self, epoch: int, figures: dict[str, float]) -> str | None:
        self.last = figures
        self.list.on_epoch_end(epoch, dict(figures))
        return "a callback asked to" if self.model.stop_training else None

    def end(self) -> None:
        self.list.on_train_end(self.last)

    def begin_test(self) -> None:
        """Called before validation."""
        self.list.on_test_begin()

    def begin_test_step(self, batch: int) -> None:
        """Called before a batch of validation."""
        if self.test_steps:
            self.list.on_test_batch_begin(batch)

    def end_test_step(self, batch: int, figures: Callable[[], dict[str, float]]) -> None:
        """Called after a batch of validation."""
        if self.test_steps:
            self.list.on_test_batch_end(batch, figures())

    def end_test(self, figures: dict[str, float]) -> None:
        """Called after validation."""
        self.list.on_test_end(figures)

    def saved(self) -> dict[str, Any]:
        return {"numbers": [_numbers_of(callback) for callback in self.callbacks], "last": self.last}

    def restore(self, saved: dict[str, Any]) -> None:
        self.last = saved["last"]
        for callback, values in zip(self.callbacks, saved["numbers"], strict=True):
            for name, value in values.items():
                if _is_number(getattr(callback, name, None)):
                    setattr(callback, name, value)


class KerasCallbacksWithSteps(KerasCallbacks):
    """Adapter for Keras callbacks with hooks on single steps, for which the figures are read at every step."""

    def begin_step(self, batch: int) -> None:
        self.list.on_train_batch_begin(batch)

    def end_step(self, batch: int) -> bool:
        self.list.on_train_batch_end(batch, self.figures())
        return self.model.stop_training


def keras_callbacks(
    callbacks: Sequence[keras.callbacks.Callback],
    model: keras.Model,
    config: RunConfig,
    length: int | None,
    figures: Callable[[], dict[str, float]],
    writes: bool = True,
) -> KerasCallbacks:
    """Returns the adapter of the Keras callbacks among these, with step hooks only where one of them has such hooks.

    With several workers, only the chief calls callbacks that write files.
    """
    callbacks = [each for each in callbacks if not isinstance(each, RunCallback)]
    in_steps = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
    kind = KerasCallbacksWithSteps if _some_override(callbacks, *in_steps) else KerasCallbacks
    return kind(callbacks, model, config, length, figures, writes)


def _some_override(callbacks: Sequence[keras.callbacks.Callback], *hooks: str) -> bool:
    return any(getattr(type(each), hook, None) is not getattr(BASE, hook) for each in callbacks for hook in hooks)


def _numbers_of(callback: keras.callbacks.Callback) -> dict[str, float | None]:
    # Constructor arguments come from the caller on every call; Keras changes the sign of min_delta in between.
    parameters = inspect.signature(type(callback)).parameters
    numbers = {name: value for name, value in vars(callback).items() if _is_number(value) and name not in parameters}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in numbers.items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float, np.number, np.bool_, type(None)))
