"""Plan of a call of `fit`: model, data, loss and settings, checked against each other before training."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.registry.tasks import Task, get_task
from kerasdl.data import Dataset, as_dataset
from kerasdl.data.model_fit import check_dataset_fits, warn_of_raw_pixels
from kerasdl.data.pipelines import batches_of_pass, is_endless, refuse_endless

from ..config import CLIPPING, RunConfig
from ..distribute import strategies
from ..distribute.placement import optimizers_of
from ..distribute.replicas import TrainingWarning
from ..objectives.class_checks import check_same_classes, class_remarks, rare_classes_note, refuse_without_loss
from ..objectives.input_checks import check_inputs
from ..objectives.label_checks import check_labelled, check_labels
from ..objectives.label_forms import output_shape, resolved_crossentropy
from ..objectives.loss_and_metrics import (
    check_outputs,
    check_scales,
    check_split_batches,
    monitor_of,
    objective_of,
    task_of,
    with_soft_labels,
)
from ..objectives.model_outputs import outputs_of
from ..objectives.single_output import unwrapped
from ..objectives.weight_checks import fitting_weights
from ..optim.sharpness_aware import sharpness_of
from ..trainer import Trainer, functional_model, has_call, has_own_train_step
from .compilation import UserCompile, compile_notes, is_compiled_by_fit, user_compile, with_optimizer

DEFAULTS = RunConfig()
OPTIMIZER_SETTINGS = ("optimizer", "learning_rate", "momentum", "weight_decay", "schedule", "decay_exempt", *CLIPPING)
"""Settings without effect on a compiled model with its own `train_step`, whose optimizers have their own values."""


@dataclass(frozen=True)
class FitPlan:
    """Checked arguments of a call of `fit`."""

    model: keras.Model
    """The model in training: the model of the call, or the trainer that its task builds around it."""
    train: Dataset
    validation: Dataset | None
    loss: Any
    """As in `compile`; None where the model computes its own."""
    metrics: Any
    config: RunConfig
    """The settings, including the figure that selects the best epoch."""
    strategy: tf.distribute.Strategy
    as_compiled: bool
    """True if the model trains as its user compiled it."""
    own_train_step: bool
    """True if the class of the model overrides `train_step`."""
    length: int | None
    """Updates in an epoch; None where unknown."""
    compiled_with: Mapping[str, Any]
    """Further arguments of `compile`, from that of the user: `loss_weights`, `weighted_metrics`."""
    notes: tuple[str, ...]
    """Lines for the start of the run on what the plan chose."""

    @property
    def updates(self) -> int | None:
        """Updates of the run; None where unknown."""
        return self.config.steps or (self.length and self.length * self.config.epochs)


def make_plan(
    model: keras.Model, train: Any, validation: Any, loss: Any, metrics: Any, task: Task | str | None, config: RunConfig
) -> FitPlan:
    """Returns the plan of a call of `fit`, from the arguments of that call.

    Raises:
        ArgumentError: the arguments do not fit together.
        DataError: the data are empty, not finite, or hold labels that the loss does not take.
    """
    train, validation = as_dataset(train), None if validation is None else as_dataset(validation)
    config = _with_validation_steps(config, validation)
    model = _as_trainer(model, task, train, loss)
    own_train_step, own_objective = has_own_train_step(model), isinstance(model, Trainer) and model.objective_is_own
    net = model.main if isinstance(model, Trainer) and model.feeds_main else model  # the model that receives the inputs
    _check_data(model, net, train, validation, own_train_step or own_objective)
    model_outputs = model if own_train_step or own_objective else outputs_of(net, train)
    own_loss = own_train_step or own_objective or type(net).compute_loss is not keras.Model.compute_loss
    if not own_loss:
        train, validation = (data if data is None else unwrapped(data, model_outputs) for data in (train, validation))
    as_compiled = _trains_as_compiled(model, config, loss, metrics)
    own_compile = None if as_compiled else user_compile(model)
    notes = compile_notes(own_compile, config, *(task if each is None else each for each in (loss, metrics)))
    loss, metrics, compiled_with = _with_compiled(own_compile if task is None else None, loss, metrics)
    config = with_optimizer(config, own_compile)
    task = task_of(task, train, loss, model_outputs)
    if loss is None and task is None and not own_loss:
        refuse_without_loss(train)
    length, strategy = _steps_per_epoch(train, config), strategies.strategy_for(model, config.strategy)
    if as_compiled:
        _check_loss_scaling(model, config)
    if as_compiled or (own_objective and loss is None):
        metrics = metrics or []
        _check_no_smoothing(model, config)
    else:
        sample, loss_is_given = train.spec[0], loss is not None
        loss, metrics = objective_of(task, net, loss, metrics, config.label_smoothing, sample)
        loss = with_soft_labels(loss) if config.mix else loss
        loss = resolved_crossentropy(loss, output_shape(model_outputs), keras.tree.flatten(train.spec[1])[0])
        check_outputs(loss, metrics, model_outputs)
        check_scales(loss, metrics, net, model_outputs, sample)
        fit_weights = partial(fitting_weights, loss=None if own_loss else loss, model_outputs=model_outputs)
        train, validation = fit_weights(train), None if validation is None else fit_weights(validation)
        notes += _on_classes(model_outputs, train, loss, loss_is_given)
    check_split_batches(loss, strategy, config, None if as_compiled or own_objective else model_outputs)
    if own_train_step:
        _check_own_step(model, config, loss, validation)
    elif not own_objective:
        train = check_labels(loss, metrics, model, train, mixed=config.mix is not None)
        validation = None if validation is None else check_labels(loss, metrics, model, validation)
    monitor = monitor_of(config, task, model.metrics if own_objective else metrics, validation)
    if not model.trainable_weights and model.built:
        checks.refuse("a model to train must have trainable weights", model.name, "Set layer.trainable = True.")
    return FitPlan(
        model,
        train,
        validation,
        loss,
        metrics,
        dataclasses.replace(config, monitor=monitor),
        strategy,
        as_compiled,
        own_train_step,
        length,
        compiled_with,
        tuple(notes),
    )


def _as_trainer(model: keras.Model, task: Task | str | None, train: Dataset, loss: Any) -> keras.Model:
    """Returns the trainer that the task of the call, or else that of the data, builds around a plain model."""
    if isinstance(model, Trainer):
        return model
    if task is None:
        plain = type(model) in (keras.Sequential, functional_model()) and not model.compiled and loss is None
        task = train.task if plain and train.task != "unknown" else None
    trainer = None if task is None else get_task(task).trainer
    return model if trainer is None else trainer({"model": model})


def _with_compiled(own_compile: UserCompile | None, loss: Any, metrics: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Returns loss and metrics of a call, else those of the user's compile, and the further arguments of that."""
    further = {}
    if own_compile is not None and loss is None:
        loss = own_compile.loss
        further |= {} if own_compile.loss_weights is None else {"loss_weights": own_compile.loss_weights}
    if own_compile is not None and metrics is None and (own_compile.metrics or own_compile.weighted_metrics):
        metrics = own_compile.metrics or []
        further |= {} if not own_compile.weighted_metrics else {"weighted_metrics": own_compile.weighted_metrics}
    return loss, metrics, further


def _on_classes(model_outputs: Any, train: Dataset, loss: Any, loss_is_given: bool) -> list[str]:
    """Warns of labels and outputs that look like a mistake; returns lines on rare classes and a loss not given."""
    for remark in class_remarks(model_outputs, train, loss):
        checks.warn(remark, TrainingWarning)
    notes = rare_classes_note(train)
    if loss_is_given or not train.foreign or loss is None:
        return notes
    classes = output_shape(model_outputs)[-1]
    return [f"loss: {loss.name}, since labels are whole numbers and {model_outputs.name!r} has {classes} outputs"]


def _with_validation_steps(config: RunConfig, validation: Dataset | None) -> RunConfig:
    """Returns settings that validate on one pass of repeated data; refuses other endless validation data."""
    if config.validation_steps is None and validation is not None and is_endless(validation):
        config = dataclasses.replace(config, validation_steps=batches_of_pass(validation))
    if config.validation_steps is None:
        refuse_endless("validation data", validation, "Pass RunConfig(validation_steps=...), or data.take(n).")
    return config


def _check_data(
    model: keras.Model, net: keras.Model, train: Dataset, validation: Dataset | None, own_objective: bool
) -> None:
    """Refuses data that do not fit the model, or lack the labels that the loss needs."""
    check_dataset_fits(net, train)  # NaN in the data stops the run, which names the step
    warn_of_raw_pixels(net, train)
    check_same_classes(train, validation)
    if validation is not None:
        check_inputs(net, dataclasses.replace(validation, name=f"validation {validation.name}"))
    own_loss = own_objective or type(model).compute_loss is not keras.Model.compute_loss
    for data in (train, *([] if validation is None else [validation])):
        check_labelled(data, model, own_loss)
        if isinstance(model, Trainer):
            model.check_data(data)


def _steps_per_epoch(train: Dataset, config: RunConfig) -> int | None:
    length = train.steps(config.batch_size)
    if length is not None:
        return min(length, config.steps_per_epoch or length)
    if is_endless(train) and config.steps_per_epoch is None and config.steps is None:
        checks.refuse("endless data need steps_per_epoch or steps", None)
    return config.steps_per_epoch


def _trains_as_compiled(model: keras.Model, config: RunConfig, loss: Any, metrics: Any) -> bool:
    """Returns whether a model trains as its user compiled it; refuses settings that would then have no effect."""
    is_trainer, own_train_step = isinstance(model, Trainer), has_own_train_step(model)
    if loss is not None and is_trainer and model.objective_is_own and not own_train_step:
        hint = "Leave loss= out, or set takes_loss = True in the class and call super().compute_loss."
        checks.refuse("a trainer that computes its own loss must not be given another loss", type(model).__name__, hint)
    if not model.compiled or loss is not None or not (own_train_step or (is_trainer and model.objective_is_own)):
        return False
    if is_trainer and is_compiled_by_fit(model):
        return False
    unused = ("ema", "swa", "label_smoothing", *(() if is_compiled_by_fit(model) else OPTIMIZER_SETTINGS))
    ineffective = [name for name in unused if getattr(config, name) != getattr(DEFAULTS, name)]
    ineffective += [] if metrics is None else ["metrics"]
    if ineffective:
        rule = "a compiled model with its own train_step must leave these settings out"
        checks.refuse(rule, ineffective, "Give them to its optimizers and to compile.")
    return True


def _check_no_smoothing(model: keras.Model, config: RunConfig) -> None:
    if config.label_smoothing:
        rule = "a model that computes its own loss must leave label_smoothing at 0"
        checks.refuse(rule, config.label_smoothing, f"Smooth labels inside {type(model).__name__}.")


def _check_loss_scaling(model: keras.Model, config: RunConfig) -> None:
    """Refuses float16 where an optimizer of the user does not scale the loss: small gradients would become zero."""
    plain = [
        role
        for role, optimizer in optimizers_of(model).items()
        if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    ]
    if config.mixed_precision == "float16" and plain:
        hint = "Wrap each in keras.optimizers.LossScaleOptimizer in compile, or pass mixed_precision='bfloat16'."
        checks.refuse("mixed_precision 'float16' needs optimizers that scale the loss", plain, hint)


def _check_own_step(model: keras.Model, config: RunConfig, loss: Any, validation: Dataset | None) -> None:
    optimizers = [config.optimizer, *optimizers_of(model).values()]
    sharp = any(sharpness_of(each) is not None for each in optimizers if not isinstance(each, str))
    if config.remat or sharp:
        refused = "remat" if config.remat else "SharpnessAware"
        checks.refuse(f"{refused} needs a model without its own train_step", type(model).__name__)
    measures = type(model).test_step is not keras.Model.test_step
    if config.swa is not None and isinstance(model, Trainer):
        checks.refuse("swa needs a trainer that leaves train_step to Keras", type(model).__name__, "Pass ema=.")
    measures |= type(model).compute_loss is not keras.Model.compute_loss and has_call(model)
    own_objective = isinstance(model, Trainer) and loss is None and model.loss is None
    if validation is not None and not measures and (own_objective or not has_call(model)):
        rule = "a model that trains by its own train_step must have a test_step of its own to validate"
        checks.refuse(rule, type(model).__name__, "Or leave validation= out.")
