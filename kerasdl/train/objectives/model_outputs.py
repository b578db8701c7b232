"""Shapes and names of a model's outputs before a run; those of a subclassed model are computed from the data's spec."""

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
    """Outputs of a model without a graph, under the attribute names of a functional model."""

    name: str
    """The name of the model."""
    outputs: list[keras.KerasTensor] | None
    """The outputs, batch included; None where unknown."""
    output: Any
    """The outputs, nested as the model returns them."""
    output_names: tuple[str, ...] = ()
    """Empty: the outputs have no names."""


def outputs_of(model: keras.Model, data: Dataset) -> Any:
    """Returns an object with `outputs`, `output` and `output_names`: the model itself where it has a graph.

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
            warnings.simplefilter("ignore")  # Keras warns before it raises the same
            output = model(symbols, training=False)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        specs_text = [f"{spec.dtype.name} {tuple(spec.shape)}" for spec in tf.nest.flatten(specs)]
        checks.refuse(f"{data.name} must be batches that {model.name!r} takes", specs_text, first_line(error))
    return Outputs(model.name, keras.tree.flatten(output), output)
