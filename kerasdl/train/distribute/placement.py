"""Placement of a model in the scope of a strategy: a copy is built there, trained, and its values copied back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import ArgumentError
from kerasdl.core.keras_graph import freeze_inside

from ..trainer import Trainer, functional_model, owned_by_optimizers
from . import strategies

SCOPE_HINT = "Build the model inside `with kerasdl.train.strategy(...).scope():`, or pass strategy=None."


@contextmanager
def model_in_scope(
    model: keras.Model, strategy: tf.distribute.Strategy, compiled: bool = False
) -> Iterator[keras.Model]:
    """Yields a copy of a model in the scope of a strategy, or the model itself where it is there; copies values back.

    Args:
        model: a built model.
        strategy: the strategy of the scope.
        compiled: whether losses, metrics and optimizers are copied too, with their state.

    Raises:
        ArgumentError: the model cannot be built a second time.
    """
    if strategy is strategies.plain() or model.distribute_strategy is strategy:
        yield model
        return
    copy = rebuild_in_scope(model, strategy)
    if compiled:
        with strategy.scope():
            if isinstance(model, Trainer):
                copy.compile_like(model)
            else:
                copy.compile_from_config(model.get_compile_config())
            copy_optimizers(model, copy)
    try:
        yield copy
    finally:
        copy_values(_state_variables(copy), _state_variables(model))
        if compiled:
            copy_optimizers(copy, model)


def rebuild_in_scope(model: keras.Model, strategy: tf.distribute.Strategy) -> keras.Model:
    """Returns a copy of a model in the scope of a strategy, with its weights, statistics and random state.

    Raises:
        ArgumentError: the model has no weights yet, or cannot be built from its `get_config`.
    """
    if not model.built:
        checks.refuse("a model must be built before it moves into the scope of a strategy", model.name, SCOPE_HINT)
    models = model.constructor_models() if isinstance(model, Trainer) else ()
    copies = {
        id(net): net if net.distribute_strategy is strategy else rebuild_in_scope(net, strategy) for net in models
    }
    with strategy.scope():
        try:
            if isinstance(model, Trainer):
                copy = model.rebuild_in_scope(copies)
            elif hasattr(model, "built_again"):  # a model without a config
                copy = model.built_again()
            elif type(model) in (keras.Sequential, functional_model()):
                copy = keras.models.clone_model(model)
            else:
                copy = type(model).from_config(model.get_config())
                if not copy.built:
                    copy.build_from_config(model.get_build_config())
        except ArgumentError:
            raise
        except (NotImplementedError, TypeError, ValueError) as error:
            problem = f"{type(model).__name__} ({type(error).__name__}: {error})".splitlines()[0]
            checks.refuse("a model must be one that can be built again from its config", problem, SCOPE_HINT)
        freeze_inside(copy)
        copy_values(_state_variables(model), _state_variables(copy))
    return copy


def optimizers_of(model: keras.Model) -> dict[str, keras.optimizers.Optimizer]:
    """Returns the optimizers of a model by attribute, those of a trainer by role."""
    return {name: optimizer for name, (optimizer, _) in owned_by_optimizers(model).items()}


def copy_values(sources: Sequence, targets: Sequence) -> None:
    """Assigns the values of one list of variables to another.

    Raises:
        ArgumentError: the shapes differ.
    """
    shapes = [[tuple(variable.shape) for variable in variables] for variables in (sources, targets)]
    if shapes[0] != shapes[1]:
        checks.refuse("a model built from its config must have the variables of the first", "others", SCOPE_HINT)
    for source, target in zip(sources, targets, strict=True):
        target.assign(source.numpy())


def _state_variables(model: keras.Model) -> list:
    metric_ids = {id(variable) for metric in model.metrics for variable in metric.variables}
    return [variable for variable in model.variables if id(variable) not in metric_ids]


def copy_optimizers(source: keras.Model, target: keras.Model) -> None:
    """Copies the state of the optimizers of a model to those of another model with the same names."""
    targets = owned_by_optimizers(target)
    for name, optimizer in optimizers_of(source).items():
        if optimizer.built and name in targets:
            copy, variables = targets[name]
            copy.build(variables)
            copy_values(optimizer.variables, copy.variables)
