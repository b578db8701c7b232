"""Plan of a call of `fit`: model, data, loss and settings, checked against one another before anything is computed."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.registry.tasks import Task, get_task
from kerasdl.data import Dataset, as_dataset
from kerasdl.data.model_fit import check_dataset_fits
from kerasdl.data.pipelines import batches_of_pass, is_endless, refuse_endless

from ..config import CLIPPING, RunConfig
from ..distribute import strategies
from ..distribute.placement import optimizers_of
from ..objectives.input_checks import check_inputs
from ..objectives.label_checks import check_labelled, check_labels
from ..objectives.label_forms import output_shape, spelled_out
from ..objectives.loss_and_metrics import (
    check_outputs,
    check_parts,
    check_scales,
    monitor_of,
    objective_of,
    taking_shares,
    task_of,
)
from ..objectives.model_outputs import outputs_of
from ..objectives.weight_checks import check_weights
from ..optim.sharpness_aware import sharpness_of
from ..trainer import Trainer, has_call, has_own_train_step
from .compilation import is_compiled_by_fit

DEFAULTS = RunConfig()
OF_OPTIMIZERS = ("optimizer", "learning_rate", "momentum", "weight_decay", "schedule", "decay_exempt", *CLIPPING)
"""Settings that a compiled model with its own `train_step` would leave unread: its optimizers have their own."""


@dataclass(frozen=True)
class Plan:
    """What `fit` does."""

    model: keras.Model
    """What is trained: the model, or the trainer that its task puts around it."""
    train: Dataset
    validation: Dataset | None
    loss: Any
    """As in `compile`; None where the model computes its own."""
    metrics: Any
    config: RunConfig
    """The settings, with the figure that picks the best epoch."""
    strategy: tf.distribute.Strategy
    own: bool
    """Whether the model trains as its user compiled it."""
    own_step: bool
    """Whether its class has its own `train_step`."""
    length: int | None
    """Updates in an epoch, where that is known."""

    @property
    def updates(self) -> int | None:
        """Updates of the run, where that is known."""
        return self.config.steps or (self.length and self.length * self.config.epochs)


def planned(
    model: keras.Model, train: Any, validation: Any, loss: Any, metrics: Any, task: Task | str | None, config: RunConfig
) -> Plan:
    """Returns the plan of a call of `fit`, whose arguments it takes.

    Raises:
        ArgumentError: they do not fit together.
        DataError: the data are empty, not finite, or hold labels that the loss does not take.
    """
    train, validation = as_dataset(train), None if validation is None else as_dataset(validation)
    config = _with_validation_steps(config, validation)
    if task is not None and get_task(task).trainer is not None and not isinstance(model, Trainer):
        model = get_task(task).trainer({"model": model})
    own_step, lossless = has_own_train_step(model), isinstance(model, Trainer) and model.objective_is_own
    net = model.main if isinstance(model, Trainer) and model.feeds_main else model  # what the data go into
    _check_data(model, net, train, validation, own_step or lossless)
    seen = model if own_step or lossless else outputs_of(net, train)
    task = task_of(task, train, loss, seen)
    length, strategy = _steps_per_epoch(train, config), strategies.strategy_for(model, config.strategy)
    own = _keeps_its_own(model, config, loss, metrics)
    if own:
        _check_loss_scaling(model, config)
    if own or (lossless and loss is None):
        metrics = metrics or []
    else:
        sample = train.spec[0]
        loss, metrics = objective_of(task, net, loss, metrics, config.label_smoothing, sample)
        loss = taking_shares(loss) if config.mix else loss
        loss = spelled_out(loss, output_shape(seen), keras.tree.flatten(train.spec[1])[0])
        check_outputs(loss, metrics, seen)
        check_scales(loss, metrics, net, seen, sample)
        for data in (train, *([] if validation is None else [validation])):
            check_weights(data, seen)
    check_parts(loss, strategy, config, None if own or lossless else seen)
    if own_step:
        _check_own_step(model, config, loss, validation)
    elif not lossless:
        train = check_labels(loss, metrics, model, train, mixed=config.mix is not None)
        validation = None if validation is None else check_labels(loss, metrics, model, validation)
    config = dataclasses.replace(config, monitor=monitor_of(config, task, metrics, validation))
    if not model.trainable_weights and model.built:
        checks.refuse("a model to train must have trainable weights", model.name, "Set layer.trainable = True.")
    return Plan(model, train, validation, loss, metrics, config, strategy, own, own_step, length)


def _with_validation_steps(config: RunConfig, validation: Dataset | None) -> RunConfig:
    """Returns settings that measure one pass of validation data that repeat it, and refuses other endless ones."""
    if config.validation_steps is None and validation is not None and is_endless(validation):
        config = dataclasses.replace(config, validation_steps=batches_of_pass(validation))
    if config.validation_steps is None:
        refuse_endless("validation data", validation, "Pass RunConfig(validation_steps=...), or data.take(n).")
    return config


def _check_data(
    model: keras.Model, net: keras.Model, train: Dataset, validation: Dataset | None, own_objective: bool
) -> None:
    """Refuses data that do not fit what they go into, or lack the labels that a loss compares."""
    check_dataset_fits(net, train)  # NaN in it stops the run, which names the step
    if validation is not None:
        check_inputs(net, dataclasses.replace(validation, name=f"validation {validation.name}"))
    own_loss = own_objective or type(model).compute_loss is not keras.Model.compute_loss
    for data in (train, *([] if validation is None else [validation])):
        check_labelled(data, model, own_loss)


def _steps_per_epoch(train: Dataset, config: RunConfig) -> int | None:
    length = train.steps(config.batch_size)
    if length is not None:
        return min(length, config.steps_per_epoch or length)
    if is_endless(train) and config.steps_per_epoch is None and config.steps is None:
        checks.refuse("endless data need steps_per_epoch or steps", None)
    return config.steps_per_epoch


def _keeps_its_own(model: keras.Model, config: RunConfig, loss: Any, metrics: Any) -> bool:
    """Returns whether a model trains as its user compiled it, and refuses settings that would then be unread."""
    is_trainer, own_step = isinstance(model, Trainer), has_own_train_step(model)
    if loss is not None and is_trainer and model.objective_is_own and not own_step:
        hint = "Leave loss= out, or set takes_loss = True in the class and call super().compute_loss."
        checks.refuse("a trainer that computes its own loss must not be given another", type(model).__name__, hint)
    if not model.compiled or loss is not None or not (own_step or (is_trainer and model.objective_is_own)):
        return False
    if is_trainer and is_compiled_by_fit(model):
        return False
    unread = ("ema", "swa", "label_smoothing", *(() if is_compiled_by_fit(model) else OF_OPTIMIZERS))
    given = [name for name in unread if getattr(config, name) != getattr(DEFAULTS, name)]
    given += [] if metrics is None else ["metrics"]
    if given:
        rule = "a compiled model with its own train_step must leave these settings out"
        checks.refuse(rule, given, "Give them to its optimizers and to compile.")
    return True


def _check_loss_scaling(model: keras.Model, config: RunConfig) -> None:
    """Refuses float16 where an optimizer of the user's does not scale the loss: small gradients would become zero."""
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
    lossless = isinstance(model, Trainer) and loss is None and model.loss is None
    if validation is not None and not measures and (lossless or not has_call(model)):
        rule = "a model that trains by its own train_step must have a test_step of its own to validate"
        checks.refuse(rule, type(model).__name__, "Or leave validation= out.")
