"""State and result of a training loop: the `State` that it takes and the `Run` that it returns."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from kerasdl.core.display.results import Displayed, figures_text, picture_of

from .coordination import Coordinator
from .hooks import RunCallback, UpdateTrace

Figures = dict[str, float]


@dataclass(eq=False, repr=False)
class State:
    """Interface between the training loop and the model, data and optimizer that it trains.

    Pass the parts to the constructor, or derive a class that sets the values without default and defines the functions
    as methods, as the one of `fit` does.
    """

    model: Any
    """The model in training; returned as `Run.model`."""
    weights: Mapping[str, Any]
    """Variables in the checkpoint of the best epoch, by a stable name; each has `shape`, `numpy()` and `assign()`."""
    extras: Mapping[str, Any]
    """Other variables that a resumed run needs: of optimizers, metrics and random generators."""
    stream: Callable[[int, int], Any]
    """Function from an epoch and a batch, both counted from 0, to the stream that the step reads from there on."""
    steps_per_epoch: int | None
    """Steps in an epoch; None where only the end of the stream shows it."""
    seekable: bool = True
    """True if a stream can start inside an epoch; otherwise a run resumes at the start of an epoch."""
    batch_size: int | None = None
    """Examples in a step, for the display of the speed."""
    reset: Callable[[], None] = lambda: None
    """Called at the start of an epoch to clear the values that `figures` accumulates."""
    figures: Callable[[], Figures] = dict
    """Returns the figures of the epoch so far."""
    quick_metrics: Callable[[], Figures] | None = None
    """Returns the figures shown inside an epoch; None takes `figures`. It must not contain collective operations."""
    evaluate: Callable[[], Figures] = dict
    """Returns the figures of validation; called once in each epoch, after `figures`."""
    learning_rate: Callable[[int], float] = lambda step: math.nan
    """Returns the learning rate of a step, counted from 1."""
    must_be_finite: Sequence[str] = ("loss",)
    """Names of the values returned by the step that must stay finite."""
    run_callbacks: Sequence[RunCallback] = ()
    """Callbacks of the run, in the order of their calls."""
    run_many: Callable[[Any, int], Mapping[str, Any]] | None = None
    """Makes a given number of updates from a stream in one call; returns the values of all, stacked."""
    tracing_seconds: float = 0.0
    """Time to compile `run_many`."""
    run_traced: Callable[[Any, int], tuple[Mapping[str, Any], UpdateTrace]] | None = None
    """Makes one update, counted from 1, and returns its values and trace; called where a callback `wants` it."""
    evaluation_weights: Callable[[], AbstractContextManager] = nullcontext
    """Returns a context manager under which the model holds its evaluation weights (for example EMA)."""
    on_finish: Callable[[bool], None] = lambda restored: None
    """Called at the end of a run; its argument says whether the weights of the best epoch were restored."""
    notes: Sequence[str] = ()
    """Lines shown before the first step: choices made for this run, and their reasons."""
    large: Mapping[str, Any] = field(default_factory=dict)
    """Variables too large to be written every few minutes or held twice in memory, such as a replay buffer. They are
    written one at a time at the end of an epoch; a run with such variables has checkpoints at the ends of epochs only.
    Each has `shape`, `numpy()` and `assign()`; neither `weights` nor the best epoch includes them."""
    coordinator: Coordinator = field(default_factory=Coordinator)
    """Coordination of the processes that train together."""
    identity: Mapping[str, Any] = field(default_factory=dict)
    """Plain values that distinguish this run from others; a folder with another identity is refused."""


class Best(NamedTuple):
    """The best epoch of a run."""

    value: float
    """The monitored figure."""
    epoch: int
    """The epoch, counted from 1."""
    loss: float | None = None
    """Its validation loss, which breaks ties: few examples give equal accuracies."""


@dataclass(frozen=True, repr=False)
class Run(Displayed):
    """Result of a run."""

    model: Any
    """The trained model, with the weights of the best epoch where the run restores them."""
    history: dict[str, list[float]]
    """The figures of each epoch."""
    best: Best | None
    """The best epoch by the monitored figure; None where nothing was monitored."""
    seconds: float
    """Training time, including the time before a resume."""
    steps: int
    """Number of updates."""
    folder: Path | None
    """Folder of the run; None where it has none."""
    resumed: bool
    """True if this call continued from a checkpoint, or found the run finished."""
    stopped: str
    """`"finished"`, or `"early"` where patience or a callback ended it."""
    trainer: Any = None
    """The `Trainer` of the run, which holds the other networks; None where the model trained without one."""

    def _shown(self) -> tuple[str, dict[str, Any]]:
        epochs = max(map(len, self.history.values()), default=0)
        best = self.best and f"epoch {self.best.epoch}, {self._monitored()} {self.best.value:.4g}"
        rows = {
            "best": best,
            "last": figures_text({name: values[-1] for name, values in self.history.items() if values}),
            "folder": f"{self.folder}{', continued there' * self.resumed}" if self.folder else None,
            "model": getattr(self.model, "name", None),
        }
        early = ", stopped early" if self.stopped == "early" else ""
        return f"Run: {epochs} epochs, {self.steps:,} updates, {self.seconds:.1f} s{early}", rows

    def _monitored(self) -> str:
        """Returns the name of the figure that selected the best epoch."""
        value, epoch = self.best[:2]
        return next((name for name, each in self.history.items() if each[epoch - 1 : epoch] == [value]), "figure")

    def _picture(self) -> Any:
        return picture_of("curves", self.history, self.best and self.best.epoch)
