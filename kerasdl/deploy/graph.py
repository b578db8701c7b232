"""The graph of a functional model, run once more with something else in place of its operations."""

from collections.abc import Callable
from typing import Any

import keras

from kerasdl.core import checks

from .inputs import is_graph

Call = Callable[..., Any]


def replay(model: keras.Model, inputs: list[Any], stand_in: Callable[[keras.Operation], Call]) -> Any:
    """Runs the graph of a model on values of any kind; models nested in it are opened.

    Args:
        model: a functional or Sequential model.
        inputs: one value for each input, in the order of `model.inputs`: tensors of any library, shapes, names.
        stand_in: gives what is called in place of an operation (a layer, or a bare function of `keras.ops`), with the
            operation's own arguments, its tensors replaced by values. A shared layer is asked for at every call.

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
    if not is_graph(model):
        checks.refuse(
            "a model must be functional or Sequential and built",
            f"{model.name!r}, a {type(model).__name__}",
            "Build it from layers with keras.Input and keras.Model.",
        )

    def enter(operation: keras.Operation) -> Call:
        if not (isinstance(operation, keras.Model) and is_graph(operation)):
            return stand_in(operation)
        return lambda values, **_: replay(operation, keras.tree.flatten(values), stand_in)

    graph = model._functional if isinstance(model, keras.Sequential) else model  # Keras has no public name for either
    return graph._run_through_graph(inputs, operation_fn=enter)
