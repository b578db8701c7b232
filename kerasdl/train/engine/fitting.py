"""`fit`: trains a Keras model on the loop, from the settings of a run."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.task import Task
from kerasdl.data import Dataset, as_dataset
from kerasdl.losses import Focal, SmoothedCrossEntropy

from ..distribute import strategies
from ..distribute.placement import copy_optimizers, optimizers_of, placed
from ..loop.hooks import Watcher
from ..loop.state import Run
from ..optim import schedules
from ..optim.optimizers import exempt_from_decay, make_optimizer, schedule_of
from ..optim.sharpness_aware import sharpness_of
from . import train_steps
from .config import RunConfig
from .fit_state import Training, is_foreign
from .mixed_precision import computing_in
from .objectives import objective_of, taking_shares, task_of

DEFAULTS = RunConfig()


def fit(
    model: keras.Model,
    train: Any,
    *,
    validation: Any = None,
    loss: Any = None,
    metrics: Sequence | None = None,
    callbacks: Sequence[keras.callbacks.Callback | Watcher] = (),
    task: Task | str | None = None,
    config: RunConfig = DEFAULTS,
) -> Run:
    """Trains a model in place and returns the run.

    With `config.folder` the run is kept: killed at any moment, the same call goes on and ends with the very weights
    of an undisturbed run. A model whose class has its own `train_step` trains by it; if it is compiled already and no
    loss is given, it keeps its own losses and optimizers.

    Args:
        model: a Keras model; it is left compiled with what it was trained with.
        train: a `kerasdl.data.Dataset`, a pair of arrays (x, y), or a `tf.data.Dataset` of batched pairs.
        validation: the same, measured after each epoch.
        loss: as in `compile`; None takes that of the task.
        metrics: a list, as in `compile`; None takes those of the task.
        callbacks: Keras callbacks and watchers (trackers, `GradientMonitor`).
        task: a `kerasdl.core.task.Task` or its name; None takes that of the training data.
        config: all other settings.

    Returns:
        The Run, with history, best epoch and the model.

    Raises:
        ArgumentError: settings, model and data do not fit together, or the folder holds another run.
        TrainingError: the loss or its gradient is not finite any more.

    Example:
        >>> run = fit(model, (x, y), validation=(x_val, y_val), config=RunConfig(epochs=2, progress="off"))
        >>> len(run.history["val_loss"])
        2
    """
    train, validation = as_dataset(train), None if validation is None else as_dataset(validation)
    task = task_of(task, train)
    length = _steps_per_epoch(train, config)
    total = config.steps or (length and length * config.epochs)
    strategy = strategies.strategy_for(model, config.strategy)
    own = train_steps.has_own_train_step(model) and model.compiled and loss is None
    if own:
        _check_own(config)
    else:
        loss, metrics = objective_of(task, loss, metrics, config.label_smoothing)
        loss = taking_shares(loss) if config.mix else loss
        _check_outputs(loss, model)
    _check_labels(loss, model, train)
    _check_parts(loss, strategy, config)
    if train_steps.has_own_train_step(model):
        _check_own_step(model, config)
    config = dataclasses.replace(config, monitor=_monitor(config, task, metrics, validation))
    if not model.trainable_weights and model.built:
        checks.refuse("a model to train must have trainable weights", model.name, "Set layer.trainable = True.")
    with placed(model, strategy, compiled=own) as inner, computing_in(inner, config.mixed_precision):
        if not own:
            with strategy.scope():
                inner.compile(_optimizer(config, total, inner), loss=loss, metrics=_here(metrics, strategy))
        try:
            run = Training(inner, train, validation, config, strategy).run(callbacks, length)
        finally:
            if inner is not model and not own:
                _compile_as(inner, model, loss, metrics, config)
    return dataclasses.replace(run, model=model)


def _steps_per_epoch(train: Dataset, config: RunConfig) -> int | None:
    length = train.steps(config.batch_size)
    if length is not None:
        return min(length, config.steps_per_epoch or length)
    endless = is_foreign(train) and train.source.cardinality() == tf.data.INFINITE_CARDINALITY
    if endless and config.steps_per_epoch is None and config.steps is None:
        checks.refuse("endless data need steps_per_epoch or steps", None)
    return config.steps_per_epoch


def _compile_as(inner: keras.Model, model: keras.Model, loss: Any, metrics: Sequence, config: RunConfig) -> None:
    optimizer = type(inner.optimizer).from_config(inner.optimizer.get_config())
    model.compile(optimizer, loss=loss, metrics=metrics)
    if config.decay_exempt:
        exempt_from_decay(optimizer, model)
    copy_optimizers(inner, model)


def _check_own(config: RunConfig) -> None:
    given = [name for name in ("ema", "swa") if getattr(config, name)]
    if given:
        checks.refuse("a compiled model with its own train_step must leave these settings out", given)


def _check_own_step(model: keras.Model, config: RunConfig) -> None:
    optimizers = [config.optimizer, *optimizers_of(model).values()]
    sharp = any(sharpness_of(each) is not None for each in optimizers if not isinstance(each, str))
    if config.remat or sharp:
        refused = "remat" if config.remat else "SharpnessAware"
        checks.refuse(f"{refused} needs a model without its own train_step", type(model).__name__)


def _check_parts(loss: Any, strategy: tf.distribute.Strategy, config: RunConfig) -> None:
    """Refuses a loss that is no mean where a batch is computed in parts, whose means are put together."""
    if strategy.num_replicas_in_sync == 1 and config.accumulation == 1:
        return
    kinds = {getattr(each, "reduction", None) for each in keras.tree.flatten(loss)}
    if kinds & {"sum", "none"}:
        checks.refuse("a batch in parts needs a loss with reduction='sum_over_batch_size'", sorted(map(str, kinds)))


def _here(metrics: Sequence, strategy: tf.distribute.Strategy) -> Sequence:
    """Returns metrics with variables of their own in the scope that the caller is in."""
    if strategy is strategies.plain():
        return metrics
    is_metric = [isinstance(metric, keras.metrics.Metric) for metric in metrics]
    pairs = zip(metrics, is_metric, strict=True)
    return [type(metric).from_config(metric.get_config()) if own else metric for metric, own in pairs]


def _check_outputs(loss: Any, model: keras.Model) -> None:
    outputs = len(getattr(model, "outputs", None) or [None])
    if outputs > 1 and not isinstance(loss, (list, tuple, dict)):
        hint = "Pass loss=[...], and targets alike."
        checks.refuse(f"a model of {outputs} outputs must have a loss for each", getattr(loss, "name", loss), hint)


def _check_labels(loss: Any, model: keras.Model, train: Dataset) -> None:
    labels = getattr(train.source, "labels", None)
    if labels is None or not isinstance(
        loss, (keras.losses.SparseCategoricalCrossentropy, SmoothedCrossEntropy, Focal)
    ):
        return
    outputs = model.outputs[0].shape[-1] if getattr(model, "outputs", None) else None
    if outputs is not None and not 0 <= labels.min() <= labels.max() < outputs:
        rule = f"labels must be whole numbers from 0 to {outputs - 1}, as the model has {outputs} outputs"
        checks.refuse(rule, [int(labels.min()), int(labels.max())])


def _optimizer(config: RunConfig, steps_in_all: int | None, model: keras.Model) -> keras.optimizers.Optimizer:
    plain = make_optimizer(config.optimizer, {"learning_rate": config.learning_rate})
    schedule = schedules.as_schedule(config.schedule)
    rate = None
    if not isinstance(schedule, schedules.Constant):
        if schedule_of(plain) is not None:
            checks.refuse("an optimizer with a schedule of its own needs schedule='constant'", config.schedule)
        rate = schedule.over(
            config.learning_rate or float(keras.ops.convert_to_numpy(plain.learning_rate)), steps_in_all
        )
    clipping = {"global_clipnorm": config.clip_norm, "clipnorm": config.clip_each_norm, "clipvalue": config.clip_value}
    own = {"weight_decay": config.weight_decay, "momentum": config.momentum}
    averaging = {"use_ema": True, "ema_momentum": config.ema} if config.ema else {}
    optimizer = make_optimizer(plain, {"learning_rate": rate, **clipping, **own, **averaging})
    if config.decay_exempt:
        exempt_from_decay(optimizer, model)
    return optimizer


def _monitor(
    config: RunConfig, task: Task | None, metrics: Sequence | None, validation: Dataset | None
) -> tuple[str, str] | None:
    if config.monitor is not None or validation is None:
        return config.monitor
    names = {f"val_{metric if isinstance(metric, str) else metric.name}" for metric in metrics or ()}
    known = task is not None and task.monitor[0] in names
    return task.monitor if known else ("val_loss", "min")
