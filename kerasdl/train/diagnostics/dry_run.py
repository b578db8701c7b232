"""Dry run of training: real training steps whose effect on the model is undone afterwards.

The layers themselves are trained and their values restored. A clone would be wrong: `keras.models.clone_model` with
`set_weights` loses the statistics of `Normalization.adapt`, and then computes something else without a message.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import DataError
from kerasdl.core.outputs.loss_scale import check_from_logits
from kerasdl.data import Dataset
from kerasdl.data.model_fit import check_dataset_fits

from ..engine import train_steps
from ..objectives.label_checks import check_labels
from ..objectives.loss_and_metrics import objective_of, task_of
from ..optim.optimizers import make_optimizer
from ..trainer import Trainer, has_own_objective

OPTIMIZER = "adamw"


@dataclass(frozen=True)
class DryRun:
    """Model and compiled step of a dry run."""

    model: keras.Model
    """Compiled model over the variables of the user's model, or that model itself where it has its own `train_step`."""
    step: Callable[[Any], dict[str, tf.Tensor]]
    """One compiled update from an iterator of batches, from `train_steps.make_train_step`."""

    def set_rate(self, rate: float) -> None:
        """Sets the learning rate of the optimizers, which is 0 before the first call."""
        for _, each in optimizer_attributes(self.model):
            getattr(each, "inner_optimizer", each).learning_rate = rate


class _CallWrapper(keras.Model):
    """Wrapper of a model with its own `call`, to compile it with another loss and optimizer."""

    def __init__(self, model: keras.Model):
        super().__init__(name=model.name)
        self.model = model

    def call(self, x, training=None):
        return self.model(x, training=training)


@contextmanager
def dry_run(
    model: keras.Model, train: Dataset, *, optimizer: Any = None, loss: Any = None, task: Any = None
) -> Iterator[DryRun]:
    """Yields a DryRun over the variables of a model, whose values are restored after the block, even on Ctrl-C.

    The model itself is not compiled, but a second model over its layers. One whose class has its own `train_step` or
    `compute_loss` trains by it, with fresh optimizers in place of its own during the block.

    Args:
        model: a built Keras model; with a `train_step` or `compute_loss` of its own, compiled.
        train: the training data.
        optimizer: a name or a Keras optimizer; None takes `"adamw"`, or the model's own where it has a `train_step`.
        loss: as in `fit`.
        task: as in `fit`.

    Raises:
        ArgumentError: the model cannot be trained like this.
    """
    if not isinstance(model, keras.Model):
        checks.refuse("model must be a keras.Model", type(model).__name__)
    own = has_own_objective(model)
    if own:
        _check_own(model, loss)
    elif not model.built:
        checks.refuse("a model for a dry run must be built", model.name, "Call it once on a batch of inputs.")
    check_dataset_fits(model, train)
    replaced = dict(optimizer_attributes(model)) if own else {}
    trained = model if own else _model_over_same_layers(model)
    try:
        for name, each in replaced.items():
            setattr(model, name, fresh_optimizer(each if optimizer is None else optimizer))
        if not own:
            objective, _ = objective_of(task_of(task, train), model, loss, ())
            check_labels(objective, (), model, train)
            check_from_logits(objective, model, train.spec[0])
            trained.compile(fresh_optimizer(optimizer or OPTIMIZER), loss=objective)
            trained.optimizer.build(trained.trainable_variables)  # a step that creates variables is traced twice
        step = train_steps.make_train_step(trained, None)
        # Tracing creates every variable that a step changes, without a step.
        step.get_concrete_function(tf.data.IteratorSpec(train.batches(1).element_spec))
        if not trained.trainable_weights:
            checks.refuse("a model to train must have trainable weights", model.name, "Set layer.trainable = True.")
        with _restoring_variables([*trained.variables, *trained.metrics_variables]):
            yield DryRun(trained, step)
    finally:
        for name, each in replaced.items():
            setattr(model, name, each)


def optimizer_attributes(model: keras.Model) -> Iterator[tuple[str, keras.optimizers.Optimizer]]:
    """Yields the optimizers of a model by the names of its attributes."""
    yield from ((name, each) for name, each in vars(model).items() if isinstance(each, keras.optimizers.Optimizer))


class EpochStream:
    """Batches of one epoch after another, in the order of a run."""

    def __init__(self, train: Dataset, batch_size: int, seed: int = 0, augment: Callable | None = None):
        self.settings = {"batch_size": batch_size, "seed": seed, "shuffle": True, "augment": augment}
        self.train, self.length, self.epoch = train, train.steps(batch_size), 0
        self._open()

    def step(self, step: Callable[[Any], Any]) -> Any:
        """Returns the result of `step` on the next batch.

        Raises:
            DataError: an epoch holds no batches.
        """
        # A known length avoids the end of the data: a step may change variables before it reads its batch.
        if self.read == self.length:
            self._open()
        try:
            result = step(self.stream)
        except tf.errors.OutOfRangeError:
            if not self.read:
                raise DataError("the data hold no batches. Check their size, and filters in the pipeline.") from None
            self._open()
            return self.step(step)
        self.read += 1
        return result

    def _open(self) -> None:
        self.stream, self.read = iter(self.train.batches(epoch=self.epoch, **self.settings)), 0
        self.epoch += 1


@contextmanager
def _restoring_variables(variables: list[Any]) -> Iterator[None]:
    before = [np.array(each.numpy()) for each in variables]
    try:
        yield
    finally:
        for each, value in zip(variables, before, strict=True):
            each.assign(value)


def _model_over_same_layers(model: keras.Model) -> keras.Model:
    call = next(each for each in type(model).__mro__ if "call" in vars(each))
    if not call.__module__.startswith("keras."):
        return _CallWrapper(model)
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return keras.Model(model.input, model.output, name=model.name)


def fresh_optimizer(pattern: Any) -> keras.optimizers.Optimizer:
    """Returns a new optimizer with the settings of another one or of a name, and a settable learning rate of 0."""
    if isinstance(pattern, keras.optimizers.LossScaleOptimizer):
        return keras.optimizers.LossScaleOptimizer(fresh_optimizer(pattern.inner_optimizer), pattern.initial_scale)
    return make_optimizer(pattern, {"learning_rate": 0.0, "use_ema": False})


def _check_own(model: keras.Model, loss: Any) -> None:
    if not model.compiled or loss is not None:
        rule = "a model with its own train_step or compute_loss must be compiled, and loss None"
        checks.refuse(rule, "another loss" if model.compiled else "not compiled", "Compile it with its losses.")
    if isinstance(model, Trainer) and len(model.optimizers) > 1:
        hint = "Compile it with one optimizer; several would all learn at the same rates."
        checks.refuse("a trainer in a dry run must have one optimizer", tuple(model.optimizers), hint)
    if not any(optimizer_attributes(model)):
        checks.refuse("a model with its own train_step must keep its optimizers as attributes", model.name)
