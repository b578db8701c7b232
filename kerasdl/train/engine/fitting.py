"""Training of a Keras model: `fit`, with the settings of a `RunConfig`."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerasdl.core.errors import TrainingError
from kerasdl.core.keywords import explained
from kerasdl.core.outputs.broadcast_sums import refused_sums
from kerasdl.core.outputs.native_dilation import native_dilation
from kerasdl.core.registry.tasks import Task

from ..config import RunConfig
from ..distribute.placement import model_in_scope
from ..loop.hooks import RunCallback
from ..loop.state import Run
from ..objectives.label_checks import label_errors_reported
from ..trainer import Trainer
from .compilation import compile_like, metrics_in_scope, optimizer_of
from .fit_plan import make_plan
from .fit_state import FitState
from .mixed_precision import mixed_precision_scope

DEFAULTS = RunConfig()


def argument_remedies() -> dict[str, str]:
    """Returns the remedy for arguments that `fit` and its like do not take, by name."""
    settings = {field.name: f"Pass config=RunConfig({field.name}=...)." for field in dataclasses.fields(RunConfig)}
    return {
        **settings,
        "lr": settings["learning_rate"],
        "class_weight": settings["class_weights"],
        "verbose": 'Pass config=RunConfig(progress="off") for silence.',
        "validation_data": "Did you mean 'validation'?",
        "validation_split": "Cut it off with train, validation = kerasdl.data.hold_out(...), or load two splits.",
    }


def _remedies() -> dict[str, str]:
    return {
        **argument_remedies(),
        "sample_weight": "Weights come third: fit(model, (x, y, weights)).",
        **dict.fromkeys(("x", "y", "data", "dataset"), "Data come second, arrays as a pair: fit(model, (x, y))."),
    }


@explained(_remedies, "Arrays come as a pair: fit(model, (x, y)).")
def fit(
    model: keras.Model,
    train: Any,
    *,
    validation: Any = None,
    loss: Any = None,
    metrics: Sequence | Mapping | None = None,
    callbacks: Sequence[keras.callbacks.Callback | RunCallback] = (),
    task: Task | str | None = None,
    config: RunConfig = DEFAULTS,
) -> Run:
    """Trains a model in place and returns the run.

    With `config.folder` the run is saved: killed at any moment, the same call continues and ends with exactly the
    weights of an uninterrupted run. A model that its user compiled keeps optimizer, loss and metrics where neither this
    call nor `config` names others, and a line says so; what `fit` itself compiled does not count. A model whose class
    has its own `train_step` trains by it. If it is compiled and no loss is given, it keeps its losses and optimizers;
    so does a `Trainer` that computes its own loss.

    Args:
        model: a Keras model or a `Trainer`; afterwards it is compiled with the loss and optimizer of the run.
        train: a `kerasdl.data.Dataset`, arrays (x, y), (x, y, weights) or x alone, nested in dicts and tuples where
            there are several, or a `tf.data.Dataset` of batches of the same forms; see `kerasdl.data.as_dataset`.
        validation: data of the same forms, evaluated after each epoch.
        loss: as in `compile`; None takes that of the user's `compile`, else that of the task.
        metrics: a list, as in `compile`, or for several outputs a list of lists or a dict by output; None takes those
            of the user's `compile`, else those of the task.
        callbacks: Keras callbacks and `RunCallback`s (trackers, `GradientMonitor`).
        task: a `kerasdl.core.Task` or its name, whose loss and metrics then replace those of the user's `compile`; None
            takes that of the training data. A task with a trainer builds it around the model.
        config: all other settings.

    Returns:
        The Run, with history, best epoch and model; for a `Trainer`, `Run.model` is its main network.

    Raises:
        ArgumentError: settings, model and data do not fit together, or the folder holds another run.
        DataError: the data are empty, not finite, or hold labels that the loss does not take.
        TrainingError: the loss or its gradient is no longer finite, or Keras would take a summand for a bias.

    Example:
        >>> run = fit(model, (x, y), validation=(x_val, y_val), config=RunConfig(epochs=2, progress="off"))
        >>> len(run.history["val_loss"])
        2
    """
    plan = make_plan(model, train, validation, loss, metrics, task, config)
    model, config, strategy, metrics = plan.model, plan.config, plan.strategy, plan.metrics
    with (
        model_in_scope(model, strategy, compiled=plan.as_compiled) as inner,
        mixed_precision_scope(inner, config.mixed_precision),
    ):
        if not plan.as_compiled:
            with strategy.scope():
                optimizer = optimizer_of(config, plan.updates, inner)
                own = {name: metrics_in_scope(each, strategy) for name, each in plan.compiled_with.items()}
                inner.compile(optimizer, loss=plan.loss, metrics=metrics_in_scope(metrics, strategy) or None, **own)
        try:
            with label_errors_reported(), refused_sums(TrainingError), native_dilation():
                data = (plan.train, plan.validation)
                training = FitState(inner, *data, config, strategy, plan.own_train_step, plan.notes)
                run = training.run(callbacks, plan.length)
        finally:
            if inner is not model and not plan.as_compiled:
                compile_like(inner, model, config, plan.loss, metrics, **plan.compiled_with)
    parts = {"model": model.main, "trainer": model} if isinstance(model, Trainer) else {"model": model}
    return dataclasses.replace(run, **parts)
