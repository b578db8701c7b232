"""What a loop is given, and what it hands back."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .coordination import Crew
from .hooks import Inspection, Watcher

Figures = dict[str, float]


@dataclass(eq=False, repr=False)
class State:
    """What a loop needs of the thing it trains: an interface with defaults, and the plain record that implements it.

    Whoever has all of it at hand makes one from its parts. A class with a state of its own, as that of `fit`, derives
    from it, sets the values that have no default and defines the functions as methods; it has a constructor of its own.
    """

    model: Any
    """What is trained; handed back in `Run.model`."""
    weights: Mapping[str, Any]
    """Variables that a best checkpoint holds, by a stable name; each has a `shape`, `numpy()` and `assign()`."""
    extras: Mapping[str, Any]
    """Variables that a run needs besides, to go on: of optimizers, metrics, generators of random numbers."""
    stream: Callable[[int, int], Any]
    """Called with an epoch and a batch of it, both from 0: gives what the step takes, from there on."""
    steps_per_epoch: int | None
    """Steps in an epoch; None where only the stream's end tells."""
    seekable: bool = True
    """Whether a stream can start inside an epoch; if not, a run resumes where an epoch starts."""
    batch_size: int | None = None
    """Examples in a step, for the speed shown."""
    reset: Callable[[], None] = lambda: None
    """Called where an epoch starts, to clear what `figures` accumulates."""
    figures: Callable[[], Figures] = dict
    """Gives the figures of the epoch so far."""
    glance: Callable[[], Figures] | None = None
    """Gives the figures shown inside an epoch; None for `figures`. Workers must not wait for each other in it."""
    evaluate: Callable[[], Figures] = dict
    """Gives the figures of validation; called once an epoch, after `figures`."""
    learning_rate: Callable[[int], float] = lambda step: math.nan
    """Gives the learning rate of a step, counted from 1."""
    watched: Sequence[str] = ("loss",)
    """What must stay finite in the values that the step returns."""
    watchers: Sequence[Watcher] = ()
    """What else looks on, in the order in which it is called."""
    several: Callable[[Any, int], Mapping[str, Any]] | None = None
    """Makes so many updates from a stream in one call; returns the values of all, stacked."""
    tracing_seconds: float = 0.0
    """Time that it takes to make `several` ready."""
    inspected: Callable[[Any, int], tuple[Mapping[str, Any], Inspection]] | None = None
    """Makes one update (counted from 1) and gives a close look at it, where watchers want one."""
    judged: Callable[[], AbstractContextManager] = nullcontext
    """Inside what it gives, the weights are those to validate and to keep as best, such as averages."""
    settle: Callable[[bool], None] = lambda restored: None
    """Called at the end of a run, with whether the weights of the best epoch were restored."""
    notes: Sequence[str] = ()
    """Lines shown before the first step: what was chosen for this run, and why."""
    large: Mapping[str, Any] = field(default_factory=dict)
    """Variables too large to be written every few minutes or held twice in memory, such as a replay buffer: written one
    by one, where an epoch ends and nowhere else. A run with such is saved at the ends of epochs alone, and goes on from
    there. Each has a `shape`, `numpy()` and `assign()`; neither the best epoch nor `weights` holds them."""
    crew: Crew = field(default_factory=Crew)
    """The processes that train together."""
    identity: Mapping[str, Any] = field(default_factory=dict)
    """Plain values that tell this run from others; a folder with another identity is refused."""


class Best(NamedTuple):
    """The best epoch of a run."""

    value: float
    """The monitored figure."""
    epoch: int
    """The epoch, counted from 1."""
    loss: float | None = None
    """Its validation loss, which breaks ties: few examples give equal accuracies."""


@dataclass(frozen=True)
class Run:
    """What a run came to."""

    model: Any
    """What was trained, with the weights of the best epoch where the run restores them."""
    history: dict[str, list[float]]
    """The figures of each epoch."""
    best: Best | None
    """The best epoch by the monitored figure; None where nothing was monitored."""
    seconds: float
    """Time spent training, that before a resume included."""
    steps: int
    """Updates made in all."""
    folder: Path | None
    """Where the run is kept."""
    resumed: bool
    """Whether this call went on from a checkpoint, or found the run finished."""
    stopped: str
    """`"finished"`, or `"early"` where patience or a callback ended it."""
    trainer: Any = None
    """The trainer where one trained the model, its main network; it gives access to the others."""
