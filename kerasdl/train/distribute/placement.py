"""A model built outside the scope of a strategy is built again inside it, and what it learnt is given back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import ArgumentError

from ..trainer import Trainer, functional_model, owned_by_optimizers
from . import strategies

SCOPE_HINT = "Build the model inside `with kerasdl.train.strategy(...).scope():`, or pass strategy=None."


@contextmanager
def model_in_scope(
    model: keras.Model, strategy: tf.distribute.Strategy, compiled: bool = False
) -> Iterator[keras.Model]:
    """Yields the model in the scope of a strategy, itself where it lives there; at the end it has what was learnt.

    Args:
        model: a built model.
        strategy: whose scope.
        compiled: whether losses, metrics and optimizers move along, with their state.

    Raises:
        ArgumentError: the model cannot be built a second time.
    """
    if strategy is strategies.plain() or model.distribute_strategy is strategy:
        yield model
        return
    twin = rebuild_in_scope(model, strategy)
    if compiled:
        with strategy.scope():
            if isinstance(model, Trainer):
                twin.compile_like(model)
            else:
                twin.compile_from_config(model.get_compile_config())
            copy_optimizers(model, twin)
    try:
        yield twin
    finally:
        copy_values(_state(twin), _state(model))
        if compiled:
            copy_optimizers(twin, model)


def rebuild_in_scope(model: keras.Model, strategy: tf.distribute.Strategy) -> keras.Model:
    """Returns the same model built in the scope of a strategy, with its weights, statistics and random state.

    Raises:
        ArgumentError: the model has no weights yet, or no `get_config` that builds it again.
    """
    if not model.built:
        checks.refuse("a model must be built before it moves into the scope of a strategy", model.name, SCOPE_HINT)
    given = model.models_given() if isinstance(model, Trainer) else ()
    again = {id(net): net if net.distribute_strategy is strategy else rebuild_in_scope(net, strategy) for net in given}
    with strategy.scope():
        try:
            if isinstance(model, Trainer):
                twin = model.rebuild_in_scope(again)
            elif hasattr(model, "built_again"):  # a model that no config describes
                twin = model.built_again()
            elif type(model) in (keras.Sequential, functional_model()):
                twin = keras.models.clone_model(model)
            else:
                twin = type(model).from_config(model.get_config())
                if not twin.built:
                    twin.build_from_config(model.get_build_config())
        except ArgumentError:
            raise
        except (NotImplementedError, TypeError, ValueError) as error:
            problem = f"{type(model).__name__} ({type(error).__name__}: {error})".splitlines()[0]
            checks.refuse("a model must be one that can be built again from its config", problem, SCOPE_HINT)
        copy_values(_state(model), _state(twin))
    return twin


def optimizers_of(model: keras.Model) -> dict[str, keras.optimizers.Optimizer]:
    """Returns the optimizers that a model holds, by attribute, or by role where it is a trainer."""
    return {name: optimizer for name, (optimizer, _) in owned_by_optimizers(model).items()}


def copy_values(sources: Sequence, targets: Sequence) -> None:
    """Assigns the values of one list of variables to another.

    Raises:
        ArgumentError: their shapes differ.
    """
    shapes = [[tuple(variable.shape) for variable in variables] for variables in (sources, targets)]
    if shapes[0] != shapes[1]:
        checks.refuse("a model built from its config must have the variables of the first", "others", SCOPE_HINT)
    for source, target in zip(sources, targets, strict=True):
        target.assign(source.numpy())


def _state(model: keras.Model) -> list:
    counted = {id(variable) for metric in model.metrics for variable in metric.variables}
    return [variable for variable in model.variables if id(variable) not in counted]


def copy_optimizers(source: keras.Model, target: keras.Model) -> None:
    """Gives the optimizers of a model the state of those that another holds under the same names."""
    theirs = owned_by_optimizers(target)
    for name, optimizer in optimizers_of(source).items():
        if optimizer.built and name in theirs:
            twin, variables = theirs[name]
            twin.build(variables)
            copy_values(optimizer.variables, twin.variables)
