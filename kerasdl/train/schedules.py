"""Learning-rate schedules under their public name, `kerasdl.train.schedules`, from `kerasdl.train.optim.schedules`."""

from .optim.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    Noam,
    OneCycle,
    Plateau,
    Polynomial,
    Step,
    Stretch,
    Warmup,
    as_schedule,
)

__all__ = [
    "SCHEDULES",
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Exponential",
    "Noam",
    "OneCycle",
    "Plateau",
    "Polynomial",
    "Step",
    "Stretch",
    "Warmup",
    "as_schedule",
]
