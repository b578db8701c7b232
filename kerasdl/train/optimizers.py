"""Optimizers by name, with the settings of a run."""

from collections.abc import Mapping
from typing import Any

import keras

from kerasdl.core import checks

OPTIMIZERS = {
    "adadelta": keras.optimizers.Adadelta,
    "adagrad": keras.optimizers.Adagrad,
    "adam": keras.optimizers.Adam,
    "adamax": keras.optimizers.Adamax,
    "adamw": keras.optimizers.AdamW,
    "lamb": keras.optimizers.Lamb,
    "lion": keras.optimizers.Lion,
    "nadam": keras.optimizers.Nadam,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}


def make_optimizer(source: str | keras.optimizers.Optimizer, settings: Mapping[str, Any]) -> keras.optimizers.Optimizer:
    """Returns a fresh optimizer.

    Args:
        source: a name in `OPTIMIZERS`, or an optimizer whose settings are taken over.
        settings: constructor arguments that replace its own; those that are None do not.

    Raises:
        ArgumentError: the optimizer has no such setting, or keeps an average of the weights.
    """
    pattern = OPTIMIZERS[source]() if isinstance(source, str) else source
    if isinstance(pattern, keras.optimizers.LossScaleOptimizer):
        checks.refuse(
            "optimizer must be a plain one", type(pattern).__name__, 'Pass the inner one and mixed_precision="float16".'
        )
    config = pattern.get_config()
    for name, value in settings.items():
        if value is None:
            continue
        if name not in config:
            checks.refuse(f"{name} must be None for {type(pattern).__name__}, which has no such setting", value)
        config[name] = value
    if config.get("use_ema"):
        checks.refuse("an optimizer for fit must have use_ema=False", True, "Use keras.callbacks.SwapEMAWeights.")
    return type(pattern).from_config(config)


def schedule_of(model_or_optimizer: Any) -> keras.optimizers.schedules.LearningRateSchedule | None:
    """Returns the schedule in an optimizer, or in that of a compiled model; None where the rate is a number."""
    optimizer = getattr(model_or_optimizer, "optimizer", model_or_optimizer)
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return None
    rate = optimizer.get_config()["learning_rate"]
    return keras.optimizers.schedules.deserialize(rate) if isinstance(rate, dict) else None
