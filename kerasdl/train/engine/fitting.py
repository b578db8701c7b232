"""`fit`: trains a Keras model on the loop, from the settings of a run."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerasdl.core import checks
from kerasdl.core.registry.tasks import Task, get_task
from kerasdl.data import Dataset, as_dataset
from kerasdl.data.model_fit import check_dataset_fits
from kerasdl.data.pipelines import batches_of_pass, is_endless, refuse_endless

from ..config import CLIPPING, RunConfig
from ..distribute import strategies
from ..distribute.placement import optimizers_of, placed
from ..loop.hooks import Watcher
from ..loop.state import Run
from ..objectives.input_checks import check_inputs
from ..objectives.label_checks import check_labelled, check_labels, saying_what_labels_lack
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
from .compilation import compile_as, in_scope, is_compiled_by_fit, optimizer_of
from .fit_state import Training
from .mixed_precision import computing_in

DEFAULTS = RunConfig()
OF_OPTIMIZERS = ("optimizer", "learning_rate", "momentum", "weight_decay", "schedule", "decay_exempt", *CLIPPING)
"""Settings that a compiled model with its own `train_step` would leave unread: its optimizers have their own."""


def fit(
    model: keras.Model,
    train: Any,
    *,
    validation: Any = None,
    loss: Any = None,
    metrics: Sequence | Mapping | None = None,
    callbacks: Sequence[keras.callbacks.Callback | Watcher] = (),
    task: Task | str | None = None,
    config: RunConfig = DEFAULTS,
) -> Run:
    """Trains a model in place and returns the run.

    With `config.folder` the run is kept: killed at any moment, the same call goes on and ends with the very weights
    of an undisturbed run. A model whose class has its own `train_step` trains by it; if it is compiled already and no
    loss is given, it keeps its own losses and optimizers, and so does a `Trainer` whose loss is its own.

    Args:
        model: a Keras model or a `Trainer`; it is left compiled with what it was trained with.
        train: a `kerasdl.data.Dataset`, arrays (x, y), (x, y, weights) or x alone, nested in dicts and tuples where
            there are several, or a `tf.data.Dataset` of batches of the same forms; see `kerasdl.data.as_dataset`.
        validation: the same, measured after each epoch.
        loss: as in `compile`; None takes that of the task.
        metrics: a list, as in `compile`, or for several outputs a list of lists or a dict by output; None takes those
            of the task.
        callbacks: Keras callbacks and watchers (trackers, `GradientMonitor`).
        task: a `kerasdl.core.Task` or its name; None takes that of the training data. A task with a trainer of its own
            puts that around the model.
        config: all other settings.

    Returns:
        The Run, with history, best epoch and the model: of a `Trainer` its main network, beside `Run.trainer`.

    Raises:
        ArgumentError: settings, model and data do not fit together, or the folder holds another run.
        DataError: the data are empty, not finite, or hold labels that the loss does not take.
        TrainingError: the loss or its gradient is not finite any more.

    Example:
        >>> run = fit(model, (x, y), validation=(x_val, y_val), config=RunConfig(epochs=2, progress="off"))
        >>> len(run.history["val_loss"])
        2
    """
    train, validation = as_dataset(train), None if validation is None else as_dataset(validation)
    if config.validation_steps is None and validation is not None and is_endless(validation):
        config = dataclasses.replace(config, validation_steps=batches_of_pass(validation))
    if config.validation_steps is None:
        refuse_endless("validation data", validation, "Pass RunConfig(validation_steps=...), or data.take(n).")
    if task is not None and get_task(task).trainer is not None and not isinstance(model, Trainer):
        model = get_task(task).trainer({"model": model})
    own_step, lossless = has_own_train_step(model), isinstance(model, Trainer) and model.objective_is_own
    net = model.main if isinstance(model, Trainer) and model.feeds_main else model  # what the data go into
    check_dataset_fits(net, train)  # NaN in it stops the run, which names the step
    if validation is not None:
        check_inputs(net, dataclasses.replace(validation, name=f"validation {validation.name}"))
    sample, given = train.spec[0], [train, *([] if validation is None else [validation])]
    own_loss = own_step or lossless or type(model).compute_loss is not keras.Model.compute_loss
    for data in given:
        check_labelled(data, model, own_loss)
    seen = model if own_step or lossless else outputs_of(net, train)
    task = task_of(task, train, loss, seen)
    length = _steps_per_epoch(train, config)
    total = config.steps or (length and length * config.epochs)
    strategy = strategies.strategy_for(model, config.strategy)
    own = _keeps_its_own(model, config, loss, metrics)
    if own or (lossless and loss is None):
        metrics = metrics or []
    else:
        loss, metrics = objective_of(task, net, loss, metrics, config.label_smoothing, sample)
        loss = taking_shares(loss) if config.mix else loss
        loss = spelled_out(loss, output_shape(seen), keras.tree.flatten(train.spec[1])[0])
        check_outputs(loss, metrics, seen)
        check_scales(loss, metrics, net, seen, sample)
        for data in given:
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
    with placed(model, strategy, compiled=own) as inner, computing_in(inner, config.mixed_precision):
        if not own:
            with strategy.scope():
                inner.compile(
                    optimizer_of(config, total, inner), loss=loss, metrics=in_scope(metrics, strategy) or None
                )
        try:
            with saying_what_labels_lack():
                run = Training(inner, train, validation, config, strategy, own_step).run(callbacks, length)
        finally:
            if inner is not model and not own:
                compile_as(inner, model, loss, metrics, config)
    parts = {"model": model.main, "trainer": model} if isinstance(model, Trainer) else {"model": model}
    return dataclasses.replace(run, **parts)


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
