"""`fit`: trains a Keras model on the loop, from the settings of a run."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerasdl.core import checks
from kerasdl.core.registry.tasks import Task
from kerasdl.data import Dataset, as_dataset
from kerasdl.data.model_fit import check_dataset_fits
from kerasdl.data.pipelines import batches_of_pass, is_endless, refuse_endless

from ..config import RunConfig
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
from . import train_steps
from .compilation import compile_as, in_scope, optimizer_of
from .fit_state import Training
from .mixed_precision import computing_in

DEFAULTS = RunConfig()


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
    loss is given, it keeps its own losses and optimizers.

    Args:
        model: a Keras model; it is left compiled with what it was trained with.
        train: a `kerasdl.data.Dataset`, arrays (x, y), (x, y, weights) or x alone, nested in dicts and tuples where
            there are several, or a `tf.data.Dataset` of batches of the same forms; see `kerasdl.data.as_dataset`.
        validation: the same, measured after each epoch.
        loss: as in `compile`; None takes that of the task.
        metrics: a list, as in `compile`, or for several outputs a list of lists or a dict by output; None takes those
            of the task.
        callbacks: Keras callbacks and watchers (trackers, `GradientMonitor`).
        task: a `kerasdl.core.task.Task` or its name; None takes that of the training data.
        config: all other settings.

    Returns:
        The Run, with history, best epoch and the model.

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
    check_dataset_fits(model, train)  # NaN in it stops the run, which names the step
    if validation is not None:
        check_inputs(model, dataclasses.replace(validation, name=f"validation {validation.name}"))
    own_step, sample = train_steps.has_own_train_step(model), train.spec[0]
    own_loss = own_step or type(model).compute_loss is not keras.Model.compute_loss
    for data in (train, *([] if validation is None else [validation])):
        check_labelled(data, model, own_loss)
    seen = model if own_step else outputs_of(model, train)
    task = task_of(task, train, loss, seen)
    length = _steps_per_epoch(train, config)
    total = config.steps or (length and length * config.epochs)
    strategy = strategies.strategy_for(model, config.strategy)
    own = own_step and model.compiled and loss is None
    if own:
        _check_own(config)
    else:
        loss, metrics = objective_of(task, model, loss, metrics, config.label_smoothing, sample)
        loss = taking_shares(loss) if config.mix else loss
        loss = spelled_out(loss, output_shape(seen), keras.tree.flatten(train.spec[1])[0])
        check_outputs(loss, metrics, seen)
        check_scales(loss, metrics, model, seen, sample)
        for data in (train, *([] if validation is None else [validation])):
            check_weights(data, seen)
    check_parts(loss, strategy, config, None if own else seen)
    if own_step:
        _check_own_step(model, config)
    else:
        train = check_labels(loss, metrics, model, train, mixed=config.mix is not None)
        validation = None if validation is None else check_labels(loss, metrics, model, validation)
    config = dataclasses.replace(config, monitor=monitor_of(config, task, metrics, validation))
    if not model.trainable_weights and model.built:
        checks.refuse("a model to train must have trainable weights", model.name, "Set layer.trainable = True.")
    with placed(model, strategy, compiled=own) as inner, computing_in(inner, config.mixed_precision):
        if not own:
            with strategy.scope():
                inner.compile(optimizer_of(config, total, inner), loss=loss, metrics=in_scope(metrics, strategy))
        try:
            with saying_what_labels_lack():
                run = Training(inner, train, validation, config, strategy).run(callbacks, length)
        finally:
            if inner is not model and not own:
                compile_as(inner, model, loss, metrics, config)
    return dataclasses.replace(run, model=model)


def _steps_per_epoch(train: Dataset, config: RunConfig) -> int | None:
    length = train.steps(config.batch_size)
    if length is not None:
        return min(length, config.steps_per_epoch or length)
    if is_endless(train) and config.steps_per_epoch is None and config.steps is None:
        checks.refuse("endless data need steps_per_epoch or steps", None)
    return config.steps_per_epoch


def _check_own(config: RunConfig) -> None:
    given = [name for name in ("ema", "swa") if getattr(config, name)]
    if given:
        checks.refuse("a compiled model with its own train_step must leave these settings out", given)


def _check_own_step(model: keras.Model, config: RunConfig) -> None:
    if not model.built and type(model).call is keras.Model.call:
        rule = "a model with its own train_step must have a call method, or be built"
        checks.refuse(rule, type(model).__name__, "Give it a call, such as that of the network that is exported.")
    optimizers = [config.optimizer, *optimizers_of(model).values()]
    sharp = any(sharpness_of(each) is not None for each in optimizers if not isinstance(each, str))
    if config.remat or sharp:
        refused = "remat" if config.remat else "SharpnessAware"
        checks.refuse(f"{refused} needs a model without its own train_step", type(model).__name__)
