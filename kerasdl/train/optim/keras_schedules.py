"""Learning rates over the steps of a run that Keras has no class for, or none that is exact.

Steps count from 0, as the iterations of an optimizer do before an update. They are cast to float32, which holds every
step up to 16 million; float64 stays float64.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

LearningRateSchedule = keras.optimizers.schedules.LearningRateSchedule


@keras.saving.register_keras_serializable("kerasdl")
class WarmedRate(LearningRateSchedule):
    """A straight rise to where another schedule starts, then that schedule.

    Args:
        then: a learning rate or a Keras schedule, which counts its steps from the end of the rise.
        rising: steps of the rise, 0 or more.
    """

    def __init__(self, then: float | LearningRateSchedule, rising: int):
        self.then, self.rising = then, rising

    def __call__(self, step):
        step = ops.convert_to_tensor(step)
        gone = _float(step)
        highest, later = self.after(ops.zeros_like(step), gone.dtype), ops.maximum(step - self.rising, 0)
        risen = highest * (gone + 1) / (self.rising + 1)
        return ops.where(step < self.rising, risen, self.after(later, gone.dtype))

    def after(self, step: Any, dtype: str) -> Any:
        """Returns the rate of a step that is counted from the end of the rise."""
        return ops.cast(self.then(step), dtype) if callable(self.then) else ops.array(self.then, dtype)

    def get_config(self) -> dict[str, Any]:
        then = keras.optimizers.schedules.serialize(self.then) if callable(self.then) else self.then
        return {"then": then, "rising": self.rising}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "WarmedRate":
        then = config["then"]
        then = keras.optimizers.schedules.deserialize(then) if isinstance(then, dict) else then
        return cls(then, config["rising"])


@keras.saving.register_keras_serializable("kerasdl")
class ShiftedRate(LearningRateSchedule):
    """Another schedule from one of its steps on.

    Args:
        whole: a Keras schedule.
        begin: its step that is step 0 here.
    """

    def __init__(self, whole: LearningRateSchedule, begin: int):
        self.whole, self.begin = whole, begin

    def __call__(self, step):
        return self.whole(ops.convert_to_tensor(step) + self.begin)

    def get_config(self) -> dict[str, Any]:
        return {"whole": keras.optimizers.schedules.serialize(self.whole), "begin": self.begin}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ShiftedRate":
        return cls(keras.optimizers.schedules.deserialize(config["whole"]), config["begin"])


@keras.saving.register_keras_serializable("kerasdl")
class RestartingCosineRate(LearningRateSchedule):
    """Half a cosine down, again and again.

    `keras.optimizers.schedules.CosineDecayRestarts` finds the cycle by a float32 logarithm, which puts some restarts a
    step late; here each cycle has its first step.

    Args:
        learning_rate: of the first step of the first cycle.
        starts: the first step of each cycle; 0, then rising.
        steps: where the last cycle ends.
        shrink: what the rate of a restart is multiplied by, from one cycle to the next.
        floor: what each cycle falls to, as a share of what it started with.
    """

    def __init__(self, learning_rate: float, starts: Sequence[int], steps: int, shrink: float, floor: float):
        self.learning_rate, self.starts, self.steps = learning_rate, list(starts), steps
        self.shrink, self.floor = shrink, floor

    def __call__(self, step):
        step = ops.convert_to_tensor(step)
        gone = _float(step)
        later = [ops.cast(step >= start, "int32") for start in self.starts[1:]]
        cycle = sum(later, ops.zeros((), "int32"))
        ends = [*self.starts[1:], self.steps]
        lengths = [max(1, end - start) for start, end in zip(self.starts, ends, strict=True)]
        highest = [self.learning_rate * self.shrink**number for number in range(len(ends))]
        end, length, rate = (ops.take(ops.array(row, gone.dtype), cycle) for row in (ends, lengths, highest))
        return rate * (self.floor + (1 - self.floor) * _fallen((end - gone) / length))

    def get_config(self) -> dict[str, Any]:
        names = ("learning_rate", "starts", "steps", "shrink", "floor")
        return {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable("kerasdl")
class NoamRate(LearningRateSchedule):
    """`width ** -0.5 * min(n ** -0.5, n * warmup ** -1.5)` at the n-th step, counted from 1.

    Args:
        width: of the model.
        warmup: steps of the rise.
    """

    def __init__(self, width: int, warmup: int):
        self.width, self.warmup = width, warmup

    def __call__(self, step):
        number = _float(step) + 1
        return self.width**-0.5 * ops.minimum(1 / ops.sqrt(number), number * self.warmup**-1.5)

    def get_config(self) -> dict[str, Any]:
        return {"width": self.width, "warmup": self.warmup}


@keras.saving.register_keras_serializable("kerasdl")
class OneCycleRate(LearningRateSchedule):
    """Half a cosine up, then half a longer one down.

    Args:
        first: learning rate of step 0.
        highest: learning rate at the peak.
        last: learning rate of the last step, and of all after it.
        peak: steps from the first to the peak; it need not be whole.
        end: the last step, counted from 0.
    """

    def __init__(self, first: float, highest: float, last: float, peak: float, end: int):
        self.first, self.highest, self.last, self.peak, self.end = first, highest, last, peak, end

    def __call__(self, step):
        gone = _float(step)
        down = _fallen((self.end - gone) / max(self.end - self.peak, 1))
        falling = self.highest * down + self.last * (1 - down)
        if self.peak <= 0:
            return falling
        down = _fallen((self.peak - gone) / self.peak)
        rising = self.first * down + self.highest * (1 - down)
        return ops.where(gone <= self.peak, rising, falling)

    def get_config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("first", "highest", "last", "peak", "end")}


def _float(step: Any) -> Any:
    return ops.cast(step, "float64" if keras.config.floatx() == "float64" else "float32")


def _fallen(left: Any) -> Any:
    """Returns half a cosine, from 1 where all is left to 0 where nothing is.

    The square of a sine: 1 + cos keeps no digit near the end.
    """
    return ops.square(ops.sin(math.pi / 2 * ops.clip(left, 0, 1)))
