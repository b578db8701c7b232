"""Prediction of a task: outputs of its networks for raw input."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from .. import checks
from ..data_fit import check_fits
from ..errors import DataError
from ..outputs.broadcast_sums import mended_sums, predicted
from .tasks import Task


def check_single_output(model: keras.Model, doing: str) -> None:
    """Refuses a model of several outputs; the error names them."""
    if len(model.outputs) > 1:
        names = list(getattr(model, "output_names", ())) or len(model.outputs)
        hint = "Make a model of one of them: keras.Model(model.inputs, model.outputs[0])."
        checks.refuse(f"a bundle to {doing} must have a model of one output", names, hint)


def predict_outputs(
    networks: Mapping[str, keras.Model], task: Task, raw: Any, settings: Mapping[str, Any], batch_size: int
) -> tuple[Any, Any]:
    """Returns the outputs for raw input, (B, K) of one model or a tree, and the task's context.

    Args:
        networks: networks by role; without `task.predict`, `model` must have one output.
        task: the task, whose preprocessing prepares the model's input.
        raw: raw input of the task, one or many.
        settings: settings of the preprocessing.
        batch_size: examples computed at once.

    Raises:
        ArgumentError: the input does not fit the model, or the model has several outputs.
        DataError: the input cannot be read, or an output is not finite.
    """
    model = networks["model"]
    if task.predict is None:
        check_single_output(model, "predict")
    checks.at_least("batch_size", batch_size, 1)
    if hasattr(raw, "__len__") and not len(raw):
        checks.refuse("raw must hold at least one input", raw)
    inputs, context = task.preprocess(raw, settings)
    if task.predict is not None:
        with mended_sums():
            return task.predict(networks, inputs, batch_size), context
    check_fits(model, inputs, name="raw input")
    (outputs,) = keras.tree.flatten(predicted(model, inputs, batch_size))
    if not np.isfinite(outputs).all():
        place = int(np.argwhere(~np.isfinite(outputs))[0][0])
        rule = f"a model must answer with finite numbers; {model.name} gives {outputs[place].tolist()[:6]}"
        raise DataError(f"{rule} for input {place}. Look for NaN and very large values in it, and in the weights.")
    return outputs, context
