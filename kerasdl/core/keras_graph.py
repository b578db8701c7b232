"""Graph of a functional model: its layers, a replay with substituted operations, and graphs without weights."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras.src.backend.common import global_state  # no public name for what Keras means to fill later

from kerasdl.core import checks

Call = Callable[..., Any]


def all_layers(model: keras.Model) -> list[keras.Layer]:
    """Returns every layer of a model, including those inside wrappers and nested models."""
    return list(model._flatten_layers(include_self=False))  # no public name in Keras


def is_graph(model: keras.Model) -> bool:
    """Returns whether a model has a graph of layers: functional and Sequential models do, subclassed ones do not."""
    return bool(getattr(model, "inputs", None))


@contextmanager
def unallocated() -> Iterator[None]:
    """Context in which models are built without values, so that they are looked at and counted but not run.

    Keras does not initialise them afterwards either.
    """
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        global_state.set_global_attribute("uninitialized_variables", [])


def replay(
    model: keras.Model,
    inputs: list[Any],
    substitute: Callable[[keras.Operation], Call],
    on_masks: Callable[[list[Any], list[Any]], None] | None = None,
) -> Any:
    """Runs the graph of a model on values of any kind, nested models included.

    Args:
        model: a functional or Sequential model.
        inputs: one value for each input, in the order of `model.inputs`: tensors of any library, shapes, names.
        substitute: returns the function to call in place of an operation (a layer, or a bare function of `keras.ops`),
            with the operation's arguments, tensors replaced by values. It is asked once for each call of a layer.
        on_masks: receives the values and the masks with which a nested model is called, since its layers would read the
            masks from their tensors; None ignores them.

    Returns:
        The values in the structure of the model's outputs.

    Raises:
        ArgumentError: the model is subclassed and has no graph.

    Example:
        >>> names = []
        >>> result = replay(model, ["x"], lambda operation: lambda *args, **kwargs: names.append(operation.name))
        >>> names[-1]
        'head'
    """
    check_graph(model)

    def enter(operation: keras.Operation) -> Call:
        if not (isinstance(operation, keras.Model) and is_graph(operation)):
            return substitute(operation)

        def run(values: Any, mask: Any = None, **_: Any) -> Any:
            values = keras.tree.flatten(values)
            if on_masks is not None and mask is not None:
                on_masks(values, keras.tree.flatten(mask))
            return replay(operation, values, substitute, on_masks)

        return run

    graph = model._functional if isinstance(model, keras.Sequential) else model  # no public name in Keras for either
    return graph._run_through_graph(inputs, operation_fn=enter)


def check_graph(model: keras.Model) -> None:
    """Checks that a model has a graph of layers.

    Raises:
        ArgumentError: the model is subclassed, or has not been built.
    """
    if not is_graph(model):
        checks.refuse(
            "a model must be functional or Sequential and built",
            f"{model.name!r}, a {type(model).__name__}",
            "Build it from layers with keras.Input and keras.Model.",
        )


def copy_into(
    model: keras.Model,
    inputs: list[Any],
    taken: Iterable[str] = (),
    around: Callable[[keras.Operation, keras.Operation], Call] | None = None,
) -> Any:
    """Runs copies of a model's layers, with its weights, on Keras tensors; nested models are opened.

    Args:
        model: a functional or Sequential model; it stays as it is.
        inputs: a Keras tensor for each input.
        taken: names of layers that the graph has already; a copy whose name is taken gets a number behind it.
        around: returns the function to call in place of a copy, from the operation and its copy; it is asked once for
            each operation, also where that is called several times. None calls the copies.

    Returns:
        The outputs in the structure of the model's own.

    Raises:
        ArgumentError: the model, or one inside it, is subclassed and has no graph.

    Example:
        >>> copy_into(model, model.inputs, taken=["head"]).shape == model.output_shape
        True
    """
    names, copies, calls = {*taken, *(each.name for each in inputs)}, {}, {}

    def copy_of(operation: keras.Operation) -> Call:
        if isinstance(operation, keras.Model):
            check_graph(operation)
        if operation not in copies:
            alike = (operation.name, *(f"{operation.name}_{number}" for number in range(1, len(names) + 1)))
            name = next(each for each in alike if each not in names)
            names.add(name)
            copies[operation] = type(operation).from_config({**operation.get_config(), "name": name})
            calls[operation] = copies[operation] if around is None else around(operation, copies[operation])
        return calls[operation]

    outputs = replay(model, inputs, copy_of)
    for operation, copy in copies.items():
        if getattr(operation, "weights", None):
            copy.set_weights(operation.get_weights())
    return outputs


def has_nested_models(model: keras.Model) -> bool:
    """Returns whether a model stands in the graph of another one."""
    return any(isinstance(layer, keras.Model) for layer in model.layers)


def flattened(
    model: keras.Model, around: Callable[[keras.Operation, keras.Operation], Call] | None = None
) -> keras.Model:
    """Returns a model of plain layers that computes the same with weights of its own; nested models are opened.

    Args:
        model: a functional or Sequential model.
        around: as in `copy_into`, for a model that computes something else with some of the copies.

    Raises:
        ArgumentError: the model, or one inside it, is subclassed and has no graph.

    Example:
        >>> has_nested_models(flattened(keras.Sequential([keras.Input((32, 32, 3)), model])))
        False
    """
    check_graph(model)
    inputs = [keras.Input(batch_shape=each.shape, dtype=each.dtype, name=each.name) for each in model.inputs]
    outputs = copy_into(model, inputs, around=around)
    nested = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return freeze_inside(keras.Model(keras.tree.pack_sequence_as(nested, inputs), outputs, name=model.name))


def copied(model: keras.Model) -> keras.Model:
    """Returns a functional or Sequential model with the same weights and layers of its own."""
    copy = freeze_inside(keras.models.clone_model(model))
    copy.set_weights(model.get_weights())
    return copy


def freeze_inside(model: keras.Model) -> keras.Model:
    """Freezes what frozen layers of a model hold, in place, and returns the model.

    Keras 3.15 forgets it in a model that is cloned or loaded: an attention that was frozen builds its projections anew,
    and these learn.

    Example:
        >>> freeze_inside(model) is model
        True
    """
    for layer in all_layers(model):
        if not layer.trainable:
            for inner in layer._flatten_layers(include_self=False):
                inner.trainable = False
    return model
