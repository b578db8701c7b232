"""Graph of a functional model: its layers, and a replay with other operations in place of its own."""

from collections.abc import Callable
from typing import Any

import keras

from kerasdl.core import checks

Call = Callable[..., Any]


def all_layers(model: keras.Model) -> list[keras.Layer]:
    """Returns every layer of a model, those inside wrappers and nested models included."""
    return list(model._flatten_layers(include_self=False))  # Keras has no public name for it


def is_graph(model: keras.Model) -> bool:
    """Tells whether a model knows its graph (functional or Sequential), unlike a subclassed one."""
    return bool(getattr(model, "inputs", None))


def replay(
    model: keras.Model,
    inputs: list[Any],
    stand_in: Callable[[keras.Operation], Call],
    on_masks: Callable[[list[Any], list[Any]], None] | None = None,
) -> Any:
    """Runs the graph of a model on values of any kind; models nested in it are opened.

    Args:
        model: a functional or Sequential model.
        inputs: one value for each input, in the order of `model.inputs`: tensors of any library, shapes, names.
        stand_in: gives what is called in place of an operation (a layer, or a bare function of `keras.ops`), with the
            operation's own arguments, its tensors replaced by values. A shared layer is asked for at every call.
        on_masks: is told the values and the masks with which a nested model is called, whose layers would find these on
            their tensors; None leaves them unheeded.

    Returns:
        The values in the structure of the model's outputs.

    Raises:
        ArgumentError: the model is subclassed, so that it has no graph.

    Example:
        >>> names = []
        >>> result = replay(model, ["x"], lambda operation: lambda *args, **kwargs: names.append(operation.name))
        >>> names[-1]
        'head'
    """
    check_graph(model)

    def enter(operation: keras.Operation) -> Call:
        if not (isinstance(operation, keras.Model) and is_graph(operation)):
            return stand_in(operation)

        def run(values: Any, mask: Any = None, **_: Any) -> Any:
            values = keras.tree.flatten(values)
            if on_masks is not None and mask is not None:
                on_masks(values, keras.tree.flatten(mask))
            return replay(operation, values, stand_in, on_masks)

        return run

    graph = model._functional if isinstance(model, keras.Sequential) else model  # Keras has no public name for either
    return graph._run_through_graph(inputs, operation_fn=enter)


def check_graph(model: keras.Model) -> None:
    """Passes where a model knows its graph.

    Raises:
        ArgumentError: the model is subclassed, or has not been built.
    """
    if not is_graph(model):
        checks.refuse(
            "a model must be functional or Sequential and built",
            f"{model.name!r}, a {type(model).__name__}",
            "Build it from layers with keras.Input and keras.Model.",
        )
