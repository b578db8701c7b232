"""Parts of a bundle from a model of one's own: networks by role, inputs, plain settings."""

from collections.abc import Mapping
from typing import Any

import keras

from kerasdl.core import checks


def networks_of(model: keras.Model | Mapping[str, keras.Model]) -> tuple[keras.Model, dict[str, keras.Model]]:
    """Returns the network that answers and the further ones by role.

    Raises:
        ArgumentError: a network is not functional or Sequential, or not built.
    """
    model, *more = model.items() if isinstance(model, Mapping) else [("model", model)]
    model, others = model[1], dict(more)
    for each in (model, *others.values()):
        if not getattr(each, "outputs", None):
            checks.refuse("a bundle's model must be functional or Sequential, and built", type(each).__name__)
    return model, others


def inputs_of(model: keras.Model) -> list[dict[str, Any]]:
    """Returns name, shape without the batch, and dtype of each input, as a manifest holds them."""
    return [{"name": each.name, "shape": list(each.shape[1:]), "dtype": each.dtype} for each in model.inputs]


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings of a preprocessing with arrays as lists."""
    return {key: value.tolist() if hasattr(value, "tolist") else value for key, value in settings.items()}
