"""Outputs of a model before a run: their shapes and names, of a subclassed model too, which the data's form shows."""

import warnings
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import first_line
from kerasdl.data import Dataset


@dataclass(frozen=True)
class Outputs:
    """What a model without a graph gives, under the names that a functional model has for it."""

    name: str
    """The name of the model."""
    outputs: list[keras.KerasTensor] | None
    """Its outputs, the batch first; None where they are not known."""
    output: Any
    """The same, nested as the model gives them."""
    output_names: tuple[str, ...] = ()
    """Empty: they have none."""


def outputs_of(model: keras.Model, data: Dataset) -> Any:
    """Returns what `outputs`, `output` and `output_names` can be asked of: the model itself where it has a graph.

    A model that is not built yet is built for the data.

    Raises:
        ArgumentError: the model does not take the data.
    """
    if getattr(model, "outputs", None):
        return model
    specs = data.spec[0]
    if any(spec.shape.rank is None for spec in tf.nest.flatten(specs)):
        return Outputs(model.name, None, None)
    symbols = tf.nest.map_structure(lambda spec: keras.KerasTensor((None, *spec.shape[1:]), spec.dtype.name), specs)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns first of what it raises then
            output = model(symbols, training=False)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        given = [f"{spec.dtype.name} {tuple(spec.shape)}" for spec in tf.nest.flatten(specs)]
        checks.refuse(f"{data.name} must be batches that {model.name!r} takes", given, first_line(error))
    return Outputs(model.name, keras.tree.flatten(output), output)
