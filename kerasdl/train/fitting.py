"""`fit`: trains a Keras model on the loop, from the settings of a run."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import DataError
from kerasdl.core.task import Task
from kerasdl.data import Dataset, as_dataset
from kerasdl.losses import SmoothedCrossEntropy

from . import schedules, steps
from .callbacks import keras_callbacks
from .config import RunConfig
from .identity import identity_of
from .loop import run_steps
from .optimizers import make_optimizer, schedule_of
from .precision import computing_in
from .state import Figures, Run, State
from .targets import class_weight_table, objective_of, task_of
from .watchers import LowerOnPlateau, Watcher

DEFAULTS = RunConfig()


def fit(
    model: keras.Model,
    train: Any,
    *,
    validation: Any = None,
    loss: Any = None,
    metrics: Sequence | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
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
        metrics: as in `compile`; None takes those of the task.
        callbacks: Keras callbacks.
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
    with computing_in(model, config.mixed_precision):
        if not (steps.has_own_train_step(model) and model.compiled and loss is None):
            loss, metrics = objective_of(task, loss, metrics, config.label_smoothing)
            model.compile(_optimizer(config, total), loss=loss, metrics=metrics)
        _check_labels(model, train)
        config = dataclasses.replace(config, monitor=_monitor(config, task, metrics, validation))
        if not model.trainable_weights and model.built:
            checks.refuse("a model to train must have trainable weights", model.name, "Set layer.trainable = True.")
        return _Fitting(model, train, validation, config).run(callbacks, length)


class _Fitting:
    """One call of `fit`: the model and its data as the State of a loop."""

    def __init__(self, model: keras.Model, train: Dataset, validation: Dataset | None, config: RunConfig):
        self.model, self.train, self.validation, self.config = model, train, validation, config
        self.measured = None if validation is None else validation.batches(config.batch_size)
        self.train_step = steps.make_train_step(model, class_weight_table(config.class_weights, train))
        self.test_step = steps.make_test_step(model)
        self.results = tf.function(model.get_metrics_result, autograph=False)
        self.own_step = steps.has_own_train_step(model)
        self.schedule = schedule_of(model)
        self.last: Mapping[str, Any] = {}

    def run(self, callbacks: Sequence[keras.callbacks.Callback], length: int | None) -> Run:
        model, train, config = self.model, self.train, self.config
        # Tracing makes every variable that the step changes, without a step; a checkpoint restores into them.
        traced = self.train_step.get_concrete_function(tf.data.IteratorSpec(self.batches(0, 0).element_spec))
        weights = list(model.variables)
        self.callbacks = keras_callbacks(callbacks, model, config, length, self.metrics)
        state = State(
            model=model,
            weights=_numbered("model", weights),
            extras=_numbered("other", _other_variables(model, weights)),
            stream=lambda epoch, batch: iter(self.batches(epoch, batch)),
            steps_per_epoch=length,
            seekable=train.seekable,
            batch_size=None if _is_foreign(train) else config.batch_size,
            reset=model.reset_metrics,
            figures=self.figures,
            evaluate=self.evaluate,
            learning_rate=self.learning_rate,
            watched=self.watched(traced.structured_outputs),
            watchers=self.watchers(),
            identity=identity_of(model, train, self.validation, callbacks),
        )
        return run_steps(self.remembered_step if self.own_step else self.train_step, state, config)

    def batches(self, epoch: int, start: int) -> tf.data.Dataset:
        config = self.config
        return self.train.batches(
            config.batch_size,
            shuffle=config.shuffle,
            seed=config.seed,
            epoch=epoch,
            start=start,
            augment=config.augment,
        )

    def remembered_step(self, stream: Any) -> Mapping[str, Any]:
        self.last = self.train_step(stream)
        return self.last

    def metrics(self) -> Figures:
        # What a model's own train_step returns counts: it need not keep metrics.
        return _scalars(self.last or self.results())

    def figures(self) -> Figures:
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is None:
            return self.metrics()
        return {**self.metrics(), "learning_rate": self.learning_rate(int(optimizer.iterations))}

    def evaluate(self) -> Figures:
        if self.measured is None:
            return {}
        self.model.reset_metrics()
        self.callbacks.begin_test()
        values: Mapping[str, Any] = {}

        def so_far() -> Figures:
            return _scalars(values or self.results())

        stream, batch, length = iter(self.measured), 0, self.validation.steps(self.config.batch_size)
        while batch != length:
            self.callbacks.begin_test_step(batch)
            try:
                values = self.test_step(stream)
            except tf.errors.OutOfRangeError:
                break
            self.callbacks.end_test_step(batch, so_far)
            batch += 1
        if batch == 0:
            raise DataError("the validation data hold no batches. Check their size, and filters in the pipeline.")
        figures = so_far()
        self.callbacks.end_test(figures)
        return {f"val_{name}": value for name, value in figures.items()}

    def learning_rate(self, step: int) -> float:
        if self.schedule is not None:
            return float(self.schedule(step - 1))
        optimizer = getattr(self.model, "optimizer", None)
        return math.nan if optimizer is None else float(optimizer.learning_rate)

    def watched(self, returned: Mapping[str, Any]) -> list[str]:
        if self.own_step:
            return [name for name in returned if "loss" in name]
        # Under loss scaling, gradients that overflow are expected and their step is left out.
        scaled = isinstance(self.model.optimizer, keras.optimizers.LossScaleOptimizer)
        return ["loss"] if scaled else ["loss", "gradient_norm"]

    def watchers(self) -> list[Watcher]:
        plateau, monitor = schedules.as_schedule(self.config.schedule), self.config.monitor
        if not isinstance(plateau, schedules.Plateau):
            return [self.callbacks]
        if monitor is None:
            checks.refuse(
                "schedule 'plateau' needs a figure to watch", None, 'Give validation=, or monitor=("loss", "min").'
            )
        return [self.callbacks, LowerOnPlateau(monitor, self.model.optimizer, plateau)]


def _is_foreign(data: Dataset) -> bool:
    return isinstance(data.source, tf.data.Dataset)


def _scalars(values: Mapping[str, Any]) -> Figures:
    return {name: float(value) for name, value in values.items() if not len(getattr(value, "shape", ()))}


def _numbered(part: str, variables: Sequence[Any]) -> dict[str, Any]:
    # Numbers, not paths: a model built twice in one process has other automatic names.
    return {f"{part}/{index:04d}": variable for index, variable in enumerate(variables)}


def _other_variables(model: keras.Model, known: Sequence[Any]) -> list[Any]:
    optimizers = [value for value in vars(model).values() if isinstance(value, keras.optimizers.Optimizer)]
    found = [variable for each in [*optimizers, *model.metrics] for variable in each.variables]
    unique = {id(variable): variable for variable in found}
    for variable in known:
        unique.pop(id(variable), None)
    return list(unique.values())


def _steps_per_epoch(train: Dataset, config: RunConfig) -> int | None:
    length = train.steps(config.batch_size)
    if length is not None:
        return min(length, config.steps_per_epoch or length)
    endless = _is_foreign(train) and train.source.cardinality() == tf.data.INFINITE_CARDINALITY
    if endless and config.steps_per_epoch is None and config.steps is None:
        checks.refuse("endless data need steps_per_epoch or steps", None)
    return config.steps_per_epoch


def _check_labels(model: keras.Model, train: Dataset) -> None:
    labels = getattr(train.source, "labels", None)
    loss = getattr(model, "loss", None)  # a model's own compile() need not set it
    if labels is None or not isinstance(loss, (keras.losses.SparseCategoricalCrossentropy, SmoothedCrossEntropy)):
        return
    outputs = model.outputs[0].shape[-1] if getattr(model, "outputs", None) else None
    if outputs is not None and not 0 <= labels.min() <= labels.max() < outputs:
        rule = f"labels must be whole numbers from 0 to {outputs - 1}, as the model has {outputs} outputs"
        checks.refuse(rule, [int(labels.min()), int(labels.max())])


def _optimizer(config: RunConfig, steps_in_all: int | None) -> keras.optimizers.Optimizer:
    plain = make_optimizer(config.optimizer, {"learning_rate": config.learning_rate})
    schedule = schedules.as_schedule(config.schedule)
    rate = None
    if not isinstance(schedule, schedules.Constant):
        if schedule_of(plain) is not None:
            checks.refuse("an optimizer with a schedule of its own needs schedule='constant'", config.schedule)
        rate = schedule.over(config.learning_rate or float(plain.learning_rate), steps_in_all)
    own = {"global_clipnorm": config.clip_norm, "weight_decay": config.weight_decay, "momentum": config.momentum}
    return make_optimizer(plain, {"learning_rate": rate, **own})


def _monitor(
    config: RunConfig, task: Task | None, metrics: Sequence | None, validation: Dataset | None
) -> tuple[str, str] | None:
    if config.monitor is not None or validation is None:
        return config.monitor
    names = {f"val_{metric if isinstance(metric, str) else metric.name}" for metric in metrics or ()}
    known = task is not None and task.monitor[0] in names
    return task.monitor if known else ("val_loss", "min")
