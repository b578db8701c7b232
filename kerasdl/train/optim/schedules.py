"""Learning-rate schedules over a run: closed forms as Keras schedules, and the plateau, which depends on the run.

Each schedule is a frozen dataclass in shares of the run, so that one setting fits a run of any length;
`schedule.over(learning_rate, steps)` returns the rate or Keras schedule for an optimizer.
"""

from dataclasses import dataclass
from typing import Any

import keras

from kerasdl.core import checks

from . import keras_schedules

Rate = float | keras.optimizers.schedules.LearningRateSchedule


@dataclass(frozen=True)
class Constant:
    """Constant learning rate."""

    def over(self, learning_rate: float, steps: int | None) -> Rate:
        """Returns `learning_rate`."""
        return learning_rate


@dataclass(frozen=True)
class Cosine:
    """Cosine decay after an optional linear warm-up (Loshchilov and Hutter 2017, section 3, without restarts).

    With w = warmup * steps: `rate * (step + 1) / (w + 1)` while step < w, then
    `rate * (floor + (1 - floor) * (1 + cos(pi * (step - w) / (steps - w))) / 2)`.

    Example:
        >>> schedule = Cosine(warmup=0.1).over(1e-3, steps=1000)
        >>> round(float(schedule(100)), 6)
        0.001
    """

    warmup: float = 0.0
    """Share of the run for the warm-up, from 0 to below 1."""
    floor: float = 0.0
    """Learning rate at the end as a share of the highest, from 0 to 1."""

    def __post_init__(self):
        checks.within("warmup", self.warmup, 0.0, 0.999)
        checks.within("floor", self.floor, 0.0, 1.0)

    def over(self, learning_rate: float, steps: int | None) -> Rate:
        """Returns a `keras.optimizers.schedules.CosineDecay` for a run of `steps` steps."""
        rising = round(self.warmup * _known(steps, "cosine"))
        falling = max(1, steps - rising)
        if not rising:
            return keras.optimizers.schedules.CosineDecay(learning_rate, falling, alpha=self.floor)
        return keras.optimizers.schedules.CosineDecay(
            learning_rate / (rising + 1), falling, alpha=self.floor, warmup_target=learning_rate, warmup_steps=rising
        )


@dataclass(frozen=True)
class Step:
    """Step decay: a drop by a factor at given points, `rate * factor ** (number of points reached)`."""

    at: tuple[float, ...] = (0.5, 0.75)
    """Points of the drops, as rising shares of the run between 0 and 1."""
    factor: float = 0.1
    """Factor of the rate at each drop, from 0 to 1."""

    def __post_init__(self):
        checks.within("factor", self.factor, 0.0, 1.0)
        if not self.at or not all(0 < share < 1 for share in self.at) or list(self.at) != sorted(set(self.at)):
            checks.refuse("at must be rising shares of the run between 0 and 1", self.at)

    def over(self, learning_rate: float, steps: int | None) -> Rate:
        """Returns a `keras.optimizers.schedules.PiecewiseConstantDecay` for a run of `steps` steps."""
        # Keras keeps a value up to and including its boundary; here the step at the boundary has the lower rate.
        last = [max(0, round(share * _known(steps, "step")) - 1) for share in self.at]
        values = [learning_rate * self.factor**count for count in range(len(last) + 1)]
        return keras.optimizers.schedules.PiecewiseConstantDecay(last, values)


@dataclass(frozen=True)
class Polynomial:
    """Polynomial decay: `rate * (floor + (1 - floor) * (1 - step / steps) ** power)`.

    Power 1 is linear.

    Example:
        >>> schedule = Polynomial(floor=0.1).over(1.0, steps=100)
        >>> round(float(schedule(50)), 6)
        0.55
    """

    power: float = 1.0
    """The power, from 0 (no decay) to 100."""
    floor: float = 0.0
    """Learning rate at the end as a share of the first, from 0 to 1."""

    def __post_init__(self):
        checks.within("power", self.power, 0.0, 100.0)
        checks.within("floor", self.floor, 0.0, 1.0)

    def over(self, learning_rate: float, steps: int | None) -> Rate:
        """Returns a `keras.optimizers.schedules.PolynomialDecay` for a run of `steps` steps."""
        return keras.optimizers.schedules.PolynomialDecay(
            learning_rate, _known(steps, "polynomial"), self.floor * learning_rate, float(self.power)
        )


@dataclass(frozen=True)
class Exponential:
    """Exponential decay, by the same factor at every step: `rate * floor ** (step / steps)`.

    Example:
        >>> schedule = Exponential(floor=0.01).over(1.0, steps=100)
        >>> round(float(schedule(50)), 6)
        0.1
    """

    floor: float = 0.01
    """Learning rate at the end as a share of the first, above 0 to 1."""

    def __post_init__(self):
        checks.within("floor", self.floor, 1e-12, 1.0)

    def over(self, learning_rate: float, steps: int | None) -> Rate:
        """Returns a `keras.optimizers.schedules.ExponentialDecay` for a run of `steps` steps."""
        steps = _known(steps, "exponential")
        return keras.optimizers.schedules.ExponentialDecay(learning_rate, steps, float(self.floor))


@dataclass(frozen=True)
class CosineRestarts:
    """Cosine decay with warm restarts, each cycle longer than the one before (SGDR).

    Cycle c, from step s, lasts T steps: `r * (floor + (1 - floor) * (1 + cos(pi * (step - s) / T)) / 2)` with
    `r = rate * shrink ** c`. The cycles fill the run, so that it ends with the lowest rate of the last one.

    Source: https://arxiv.org/abs/1608.03983, section 3.

    Example:
        >>> schedule = CosineRestarts(cycles=2, growth=1.0).over(1.0, steps=100)
        >>> [round(float(schedule(step)), 3) for step in (0, 25, 49, 50)]
        [1.0, 0.5, 0.001, 1.0]
    """

    cycles: int = 3
    """Cycles in the run."""
    growth: float = 2.0
    """Length of each cycle as a multiple of the one before, from 1 to 100."""
    shrink: float = 1.0
    """Factor of the highest rate from one cycle to the next, from 0 to 1."""
    floor: float = 0.0
    """Last rate of each cycle as a share of its first, from 0 to 1."""

    def __post_init__(self):
        checks.at_least("cycles", self.cycles, 1)
        checks.within("cycles", self.cycles, 1, 100)
        checks.within("growth", self.growth, 1.0, 100.0)
        checks.within("shrink", self.shrink, 0.0, 1.0)
        checks.within("floor", self.floor, 0.0, 1.0)

    def over(self, learning_rate: float, steps: int | None) -> Rate:
        """Returns a `RestartingCosineRate` for a run of `steps` steps."""
        steps = _known(steps, "cosine_restarts")
        lengths = [float(self.growth) ** (cycle - self.cycles) for cycle in range(self.cycles)]
        starts = [round(steps * sum(lengths[:cycle]) / sum(lengths)) for cycle in range(self.cycles)]
        return keras_schedules.RestartingCosineRate(learning_rate, starts, steps, float(self.shrink), float(self.floor))


@dataclass(frozen=True)
class OneCycle:
    """One-cycle schedule: up once, then down to far below the start (1cycle).

    Half a cosine from rate / start up to the rate, then half a cosine down to rate / start / end, which is the rate of
    the last step. The peak is at step peak * steps - 1.

    Source: https://arxiv.org/abs/1708.07120, section 4; with the shape and the numbers of PyTorch's `OneCycleLR`, whose
    change of momentum is left out.

    Example:
        >>> schedule = OneCycle().over(1.0, steps=100)
        >>> [round(float(schedule(step)), 6) for step in (0, 29, 99)]
        [0.04, 1.0, 4e-06]
    """

    peak: float = 0.3
    """Share of the run for the warm-up, from 0 to below 1."""
    start: float = 25.0
    """Highest rate divided by the first rate, 1 or more."""
    end: float = 1e4
    """First rate divided by the last rate, 1 or more."""

    def __post_init__(self):
        checks.within("peak", self.peak, 0.0, 0.999)
        checks.within("start", self.start, 1.0, 1e12)
        checks.within("end", self.end, 1.0, 1e12)

    def over(self, learning_rate: float, steps: int | None) -> Rate:
        """Returns a `OneCycleRate` for a run of `steps` steps."""
        steps = _known(steps, "one_cycle")
        first = learning_rate / self.start
        peak = max(0.0, self.peak * steps - 1)
        return keras_schedules.OneCycleRate(first, learning_rate, first / self.end, peak, steps - 1)


@dataclass(frozen=True)
class Noam:
    """Noam schedule of the Transformer: linear warm-up, then decay by the inverse square root of the step.

    At the n-th step, counted from 1: `width ** -0.5 * min(n ** -0.5, n * warmup ** -1.5)`. It replaces the
    learning rate of the run; the highest is `(width * warmup) ** -0.5`. The paper trains with Adam(beta_2=0.98).

    Source: https://arxiv.org/abs/1706.03762, section 5.3.

    Example:
        >>> schedule = Noam(width=512, warmup=4000).over(1.0, steps=None)
        >>> round(float(schedule(3999)), 6)
        0.000699
    """

    width: int = 512
    """Width of the model, D."""
    warmup: int = 4000
    """Steps of the warm-up."""

    def __post_init__(self):
        checks.at_least("width", self.width, 1)
        checks.at_least("warmup", self.warmup, 1)

    def over(self, learning_rate: float, steps: int | None) -> Rate:
        """Returns a `NoamRate`, which depends neither on the learning rate nor on the length of the run."""
        return keras_schedules.NoamRate(int(self.width), int(self.warmup))


@dataclass(frozen=True)
class Plateau:
    """Drop by a factor each time the monitored figure has not improved for some epochs."""

    factor: float = 0.5
    """Factor of the learning rate at each drop, from 0 to 1."""
    patience: int = 3
    """Epochs without improvement before a drop."""
    min_delta: float = 0.0
    """Smallest change that counts as improvement."""
    floor: float = 0.0
    """Lowest learning rate."""

    def __post_init__(self):
        checks.within("factor", self.factor, 0.0, 1.0)
        checks.at_least("patience", self.patience, 1)
        checks.within("min_delta", self.min_delta, 0.0, 1e12)
        checks.within("floor", self.floor, 0.0, 1e6)

    def over(self, learning_rate: float, steps: int | None) -> Rate:
        """Returns `learning_rate`, the rate of the first epochs."""
        return learning_rate


@dataclass(frozen=True)
class Warmup:
    """Linear warm-up before any other schedule, which takes the rest of the run.

    With w = share * steps and h the first rate of the other schedule: `h * (step + 1) / (w + 1)` while step < w.

    Source: https://arxiv.org/abs/1706.02677, section 2.2.

    Example:
        >>> schedule = Warmup(0.1, "polynomial").over(1.0, steps=100)
        >>> [round(float(schedule(step)), 4) for step in (0, 9, 10, 55)]
        [0.0909, 0.9091, 1.0, 0.5]
    """

    share: float = 0.05
    """Share of the run for the warm-up, from 0 to below 1."""
    then: Any = "constant"
    """The schedule after the warm-up: a name, an object of this module or a Keras schedule, but no plateau."""

    def __post_init__(self):
        checks.within("share", self.share, 0.0, 0.999)
        if isinstance(as_schedule(self.then), Plateau):
            checks.refuse("Warmup must come before a schedule with a closed form", self.then)

    def over(self, learning_rate: float, steps: int | None) -> Rate:
        """Returns a `WarmedRate` for a run of `steps` steps, or the rate of `then` where the warm-up has no step."""
        rising = round(self.share * _known(steps, "warmup"))
        then = as_schedule(self.then).over(learning_rate, max(1, steps - rising))
        return keras_schedules.WarmedRate(then, rising) if rising else then


@dataclass(frozen=True)
class Stretch:
    """Section of a schedule, for training in stages: each stage continues where the one before ended.

    With n the steps of the whole run: `whole(step + begin * n)`.

    Example:
        >>> half = Stretch("polynomial", begin=0.5).over(1.0, steps=50)
        >>> [round(float(half(step)), 3) for step in (0, 25)]
        [0.5, 0.25]
    """

    whole: Any = "cosine"
    """The schedule of the whole run: a name, an object of this module or a Keras schedule, but no plateau."""
    begin: float = 0.0
    """Start of the section as a share of the whole run."""
    end: float = 1.0
    """End of the section as a share of the whole run."""

    def __post_init__(self):
        checks.within("begin", self.begin, 0.0, 1.0)
        checks.within("end", self.end, 0.0, 1.0)
        if self.begin >= self.end:
            checks.refuse("begin must lie before end", (self.begin, self.end))
        if isinstance(as_schedule(self.whole), Plateau):
            checks.refuse("Stretch must cut a schedule with a closed form", self.whole)

    def over(self, learning_rate: float, steps: int | None) -> Rate:
        """Returns a `ShiftedRate` for a section of `steps` steps."""
        whole_steps = round(_known(steps, "stretch") / (self.end - self.begin))
        whole = as_schedule(self.whole).over(learning_rate, whole_steps)
        begin = round(self.begin * whole_steps)
        return keras_schedules.ShiftedRate(whole, begin) if begin and callable(whole) else whole


SCHEDULES = {
    "constant": Constant,
    "cosine": Cosine,
    "cosine_restarts": CosineRestarts,
    "exponential": Exponential,
    "noam": Noam,
    "one_cycle": OneCycle,
    "plateau": Plateau,
    "polynomial": Polynomial,
    "step": Step,
}


@dataclass(frozen=True)
class _KerasSchedule:
    rate: keras.optimizers.schedules.LearningRateSchedule

    def over(self, learning_rate: float, steps: int | None) -> Rate:
        return self.rate


def as_schedule(source: Any) -> Any:
    """Returns the schedule for a name, an object of this module or a Keras schedule."""
    if isinstance(source, str):
        return SCHEDULES[checks.known_name("schedule", source, SCHEDULES)]()
    if isinstance(source, keras.optimizers.schedules.LearningRateSchedule):
        return _KerasSchedule(source)
    if not isinstance(source, (*SCHEDULES.values(), Stretch, Warmup, _KerasSchedule)):
        checks.refuse(f"schedule must be one of {tuple(SCHEDULES)}, an object of train.schedules or of Keras", source)
    return source


def follows_length(source: Any) -> bool:
    """Returns whether a schedule depends on the length of the run."""
    return not isinstance(as_schedule(source), (Constant, Noam, Plateau, _KerasSchedule))


def _known(steps: int | None, name: str) -> int:
    if steps is None:
        checks.refuse(f"schedule {name!r} needs the length of the run", steps, "Pass steps= or steps_per_epoch=.")
    return steps
