"""Learning-rate schedules in Keras's form: those that Keras lacks, or computes inexactly.

Steps are counted from 0, like the iterations of an optimizer before an update. They are cast to float32, which is exact
up to step 16 million; float64 stays float64.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

LearningRateSchedule = keras.optimizers.schedules.LearningRateSchedule


@keras.saving.register_keras_serializable("kerasdl")
class WarmedRate(LearningRateSchedule):
    """Linear warm-up to the first rate of another schedule, then that schedule.

    Args:
        then: a learning rate or a Keras schedule, whose steps are counted from the end of the warm-up.
        rising: steps of the warm-up, 0 or more.
    """

    def __init__(self, then: float | LearningRateSchedule, rising: int):
        self.then, self.rising = then, rising

    def __call__(self, step):
        step = ops.convert_to_tensor(step)
        number = _float(step)
        highest, later = self.after(ops.zeros_like(step), number.dtype), ops.maximum(step - self.rising, 0)
        risen = highest * (number + 1) / (self.rising + 1)
        return ops.where(step < self.rising, risen, self.after(later, number.dtype))

    def after(self, step: Any, dtype: str) -> Any:
        """Returns the rate of a step counted from the end of the warm-up."""
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
    """Another schedule, started at one of its later steps.

    Args:
        whole: a Keras schedule.
        begin: step of `whole` that is step 0 here.
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
    """Cosine decay with warm restarts, each at an exact step.

    `keras.optimizers.schedules.CosineDecayRestarts` computes the cycle from a float32 logarithm, so that some restarts
    come a step late; here the first step of each cycle is given.

    Args:
        learning_rate: rate of the first step of the first cycle.
        starts: the first step of each cycle; 0, then rising.
        steps: end of the last cycle.
        shrink: factor of the highest rate from one cycle to the next.
        floor: last rate of each cycle as a share of its first.
    """

    def __init__(self, learning_rate: float, starts: Sequence[int], steps: int, shrink: float, floor: float):
        self.learning_rate, self.starts, self.steps = learning_rate, list(starts), steps
        self.shrink, self.floor = shrink, floor

    def __call__(self, step):
        step = ops.convert_to_tensor(step)
        number = _float(step)
        later = [ops.cast(step >= start, "int32") for start in self.starts[1:]]
        cycle = sum(later, ops.zeros((), "int32"))
        ends = [*self.starts[1:], self.steps]
        lengths = [max(1, end - start) for start, end in zip(self.starts, ends, strict=True)]
        highest = [self.learning_rate * self.shrink**number for number in range(len(ends))]
        end, length, rate = (ops.take(ops.array(row, number.dtype), cycle) for row in (ends, lengths, highest))
        return rate * (self.floor + (1 - self.floor) * _half_cosine((end - number) / length))

    def get_config(self) -> dict[str, Any]:
        names = ("learning_rate", "starts", "steps", "shrink", "floor")
        return {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable("kerasdl")
class NoamRate(LearningRateSchedule):
    """Noam schedule: `width ** -0.5 * min(n ** -0.5, n * warmup ** -1.5)` at the n-th step, counted from 1.

    Args:
        width: width of the model.
        warmup: steps of the warm-up.
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
    """One-cycle schedule: half a cosine up, then a longer half down.

    Args:
        first: learning rate of step 0.
        highest: learning rate at the peak.
        last: learning rate of the last step, and of all after it.
        peak: steps from the first to the peak, whole or not.
        end: the last step, counted from 0.
    """

    def __init__(self, first: float, highest: float, last: float, peak: float, end: int):
        self.first, self.highest, self.last, self.peak, self.end = first, highest, last, peak, end

    def __call__(self, step):
        number = _float(step)
        down = _half_cosine((self.end - number) / max(self.end - self.peak, 1))
        falling = self.highest * down + self.last * (1 - down)
        if self.peak <= 0:
            return falling
        down = _half_cosine((self.peak - number) / self.peak)
        rising = self.first * down + self.highest * (1 - down)
        return ops.where(number <= self.peak, rising, falling)

    def get_config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("first", "highest", "last", "peak", "end")}


def _float(step: Any) -> Any:
    return ops.cast(step, "float64" if keras.config.floatx() == "float64" else "float32")


def _half_cosine(remaining: Any) -> Any:
    """Returns half a cosine of the remaining share, from 1 at the start (1) to 0 at the end (0).

    Computed as the square of a sine, since 1 + cos loses all digits near the end.
    """
    return ops.square(ops.sin(math.pi / 2 * ops.clip(remaining, 0, 1)))
