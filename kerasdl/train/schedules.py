"""Learning-rate schedules under their public name, `kerasdl.train.schedules`; the room optim holds them."""

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
