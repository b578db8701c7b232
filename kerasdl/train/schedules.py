"""How the learning rate goes over a run: the closed forms as Keras schedules, and the plateau, which watches the run.

Each schedule is a frozen dataclass in shares of the run, so that one setting fits a run of any length;
`schedule.over(learning_rate, steps)` gives what a Keras optimizer takes.
"""

from dataclasses import dataclass
from typing import Any

import keras

from kerasdl.core import checks

Rate = float | keras.optimizers.schedules.LearningRateSchedule


@dataclass(frozen=True)
class Constant:
    """The same learning rate from first to last."""

    def over(self, learning_rate: float, steps: int | None) -> Rate:
        """Returns `learning_rate`."""
        return learning_rate


@dataclass(frozen=True)
class Cosine:
    """A straight rise, then half a cosine down (Loshchilov and Hutter 2017, section 3, without restarts).

    With w = warmup * steps: `rate * (step + 1) / (w + 1)` while step < w, then
    `rate * (floor + (1 - floor) * (1 + cos(pi * (step - w) / (steps - w))) / 2)`.

    Example:
        >>> schedule = Cosine(warmup=0.1).over(1e-3, steps=1000)
        >>> float(schedule(100))
        0.001
    """

    warmup: float = 0.0
    """Share of the run that rises, from 0 to below 1."""
    floor: float = 0.0
    """Learning rate at the end as a share of the highest, from 0 to 1."""

    def __post_init__(self):
        checks.within("warmup", self.warmup, 0.0, 0.999)
        checks.within("floor", self.floor, 0.0, 1.0)

    def over(self, learning_rate: float, steps: int | None) -> Rate:
        """Returns a `keras.optimizers.schedules.CosineDecay` for a run of so many steps."""
        rising = round(self.warmup * _known(steps, "cosine"))
        falling = max(1, steps - rising)
        if not rising:
            return keras.optimizers.schedules.CosineDecay(learning_rate, falling, alpha=self.floor)
        return keras.optimizers.schedules.CosineDecay(
            learning_rate / (rising + 1), falling, alpha=self.floor, warmup_target=learning_rate, warmup_steps=rising
        )


@dataclass(frozen=True)
class Step:
    """A drop by a factor at each of some places: `rate * factor ** (number of places reached)`."""

    at: tuple[float, ...] = (0.5, 0.75)
    """Where it drops, as rising shares of the run between 0 and 1."""
    factor: float = 0.1
    """What it is multiplied by, from 0 to 1."""

    def __post_init__(self):
        checks.within("factor", self.factor, 0.0, 1.0)
        if not self.at or not all(0 < share < 1 for share in self.at) or list(self.at) != sorted(set(self.at)):
            checks.refuse("at must be rising shares of the run between 0 and 1", self.at)

    def over(self, learning_rate: float, steps: int | None) -> Rate:
        """Returns a `keras.optimizers.schedules.PiecewiseConstantDecay` for a run of so many steps."""
        # Keras holds a value up to and including its boundary; the drop belongs to the step at the boundary.
        last = [max(0, round(share * _known(steps, "step")) - 1) for share in self.at]
        values = [learning_rate * self.factor**count for count in range(len(last) + 1)]
        return keras.optimizers.schedules.PiecewiseConstantDecay(last, values)


@dataclass(frozen=True)
class Plateau:
    """A drop by a factor whenever the monitored figure has not improved for some epochs."""

    factor: float = 0.5
    """What the learning rate is multiplied by, from 0 to 1."""
    patience: int = 3
    """Epochs without improvement before a drop."""
    min_delta: float = 0.0
    """Smallest change that counts as improvement."""
    floor: float = 0.0
    """The learning rate goes no lower than this."""

    def __post_init__(self):
        checks.within("factor", self.factor, 0.0, 1.0)
        checks.at_least("patience", self.patience, 1)
        checks.within("min_delta", self.min_delta, 0.0, 1e12)
        checks.within("floor", self.floor, 0.0, 1e6)

    def over(self, learning_rate: float, steps: int | None) -> Rate:
        """Returns `learning_rate`, where the run begins."""
        return learning_rate


SCHEDULES = {"constant": Constant, "cosine": Cosine, "step": Step, "plateau": Plateau}


@dataclass(frozen=True)
class _Given:
    rate: keras.optimizers.schedules.LearningRateSchedule

    def over(self, learning_rate: float, steps: int | None) -> Rate:
        return self.rate


def as_schedule(source: Any) -> Any:
    """Returns the schedule that a name, an object of this module or a Keras schedule stands for."""
    if isinstance(source, str):
        return SCHEDULES[checks.known_name("schedule", source, SCHEDULES)]()
    if isinstance(source, keras.optimizers.schedules.LearningRateSchedule):
        return _Given(source)
    if not isinstance(source, tuple(SCHEDULES.values())):
        checks.refuse(f"schedule must be one of {tuple(SCHEDULES)}, an object of train.schedules or of Keras", source)
    return source


def _known(steps: int | None, name: str) -> int:
    if steps is None:
        checks.refuse(f"schedule {name!r} needs the length of the run", steps, "Pass steps= or steps_per_epoch=.")
    return steps
