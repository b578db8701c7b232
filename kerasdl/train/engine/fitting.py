"""`fit`: trains a Keras model on the loop, from the settings of a run."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerasdl.core.registry.tasks import Task

from ..config import RunConfig
from ..distribute.placement import placed
from ..loop.hooks import Watcher
from ..loop.state import Run
from ..objectives.label_checks import saying_what_labels_lack
from ..trainer import Trainer
from .compilation import compile_as, in_scope, optimizer_of
from .fit_plan import planned
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
    plan = planned(model, train, validation, loss, metrics, task, config)
    model, config, strategy, metrics = plan.model, plan.config, plan.strategy, plan.metrics
    with placed(model, strategy, compiled=plan.own) as inner, computing_in(inner, config.mixed_precision):
        if not plan.own:
            with strategy.scope():
                optimizer = optimizer_of(config, plan.updates, inner)
                inner.compile(optimizer, loss=plan.loss, metrics=in_scope(metrics, strategy) or None)
        try:
            with saying_what_labels_lack():
                training = Training(inner, plan.train, plan.validation, config, strategy, plan.own_step)
                run = training.run(callbacks, plan.length)
        finally:
            if inner is not model and not plan.own:
                compile_as(inner, model, plan.loss, metrics, config)
    parts = {"model": model.main, "trainer": model} if isinstance(model, Trainer) else {"model": model}
    return dataclasses.replace(run, **parts)
