"""Compilation of a model from the settings of a run: optimizer, and metrics in the scope of a strategy."""

import weakref
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks

from ..config import RunConfig
from ..distribute import strategies
from ..distribute.placement import copy_optimizers
from ..optim import schedules
from ..optim.optimizers import exempt_from_decay, make_optimizer, schedule_of

_COMPILED_BY_FIT: weakref.WeakSet = weakref.WeakSet()


def optimizer_of(config: RunConfig, steps_in_all: int | None, model: keras.Model) -> keras.optimizers.Optimizer:
    """Returns the optimizer that the settings of a run describe."""
    plain = make_optimizer(config.optimizer, {"learning_rate": config.learning_rate})
    schedule = schedules.as_schedule(config.schedule)
    rate = None
    if not isinstance(schedule, schedules.Constant):
        if schedule_of(plain) is not None:
            checks.refuse("an optimizer with a schedule of its own needs schedule='constant'", config.schedule)
        own = float(keras.ops.convert_to_numpy(plain.learning_rate))
        rate = schedule.over(own if config.learning_rate is None else config.learning_rate, steps_in_all)
    clipping = {"global_clipnorm": config.clip_norm, "clipnorm": config.clip_each_norm, "clipvalue": config.clip_value}
    own = {"weight_decay": config.weight_decay, "momentum": config.momentum}
    averaging = {"use_ema": True, "ema_momentum": config.ema} if config.ema else {}
    optimizer = make_optimizer(plain, {"learning_rate": rate, **clipping, **own, **averaging})
    if config.decay_exempt:
        exempt_from_decay(optimizer, model)
    _COMPILED_BY_FIT.add(optimizer)
    return optimizer


def is_compiled_by_fit(model: keras.Model) -> bool:
    """Returns whether an earlier call of `fit` compiled a model, rather than its user."""
    return getattr(model, "optimizer", None) in _COMPILED_BY_FIT


def metrics_in_scope(metrics: Sequence, strategy: tf.distribute.Strategy) -> Sequence:
    """Returns copies of metrics with new variables in the current scope."""
    if strategy is strategies.plain():
        return metrics

    def copied(metric):
        return type(metric).from_config(metric.get_config()) if isinstance(metric, keras.metrics.Metric) else metric

    return keras.tree.map_structure(copied, metrics)


def compile_like(inner: keras.Model, model: keras.Model, loss: Any, metrics: Sequence, config: RunConfig) -> None:
    """Compiles a model like its trained copy `inner`, with the state of the optimizer."""
    optimizer = type(inner.optimizer).from_config(inner.optimizer.get_config())
    _COMPILED_BY_FIT.add(optimizer)
    model.compile(optimizer, loss=loss, metrics=metrics)
    if config.decay_exempt:
        exempt_from_decay(optimizer, model)
    copy_optimizers(inner, model)
