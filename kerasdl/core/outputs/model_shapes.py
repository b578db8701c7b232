"""Shapes of a model of one input and one output, against the labels of its outputs."""

from collections.abc import Sequence
from typing import Any

from .. import checks


def input_shape_of(model: Any) -> tuple[int | None, ...]:
    """Returns the shape of a model's one input without the batch.

    Raises:
        ArgumentError: it has several.
    """
    if len(model.inputs) > 1:
        names = [tensor.name for tensor in model.inputs]
        checks.refuse("a model of this task must have one input", names, "Give it a task with a check of its own.")
    return tuple(model.inputs[0].shape[1:])


def check_labels(labels: Sequence[str], model: Any) -> None:
    """Passes where labels name each column of a model's output, or there are none.

    Raises:
        ArgumentError: there are more or fewer.
    """
    outputs = model.outputs[0].shape[-1]
    if labels and len(labels) != outputs:
        checks.refuse(f"a bundle must have a label for each of its {outputs} outputs", len(labels))
