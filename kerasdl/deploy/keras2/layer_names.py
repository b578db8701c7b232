"""Names of layers in a bridged model: choice by name, and the Keras 3 layer that a part belongs to."""

from collections.abc import Callable, Sequence

import keras
import tf_keras

from kerasdl.core import checks
from kerasdl.core.keras_graph import all_layers


def choice_of(model: keras.Model, names: Sequence[str] | None) -> Callable[[tf_keras.layers.Layer], bool]:
    """Returns what tells whether a tf_keras layer is, or is part of, a layer named; None names all that train.

    Raises:
        ArgumentError: a name fits no layer.
    """
    check_names("layers", [] if names is None else names, model)
    owner = owners_of_parts(model)
    return lambda layer: layer.trainable if names is None else owner(layer.name) in names


def owners_of_parts(model: keras.Model) -> Callable[[str], str]:
    """Returns what names the Keras 3 layer that a layer of the bridged model, by name, is part of."""
    names = sorted((layer.name for layer in all_layers(model)), key=len, reverse=True)

    def owner(part: str) -> str:
        return part if part in names else next((name for name in names if part.startswith(f"{name}_")), part)

    return owner


def check_names(argument: str, names: Sequence[str], model: keras.Model) -> None:
    """Refuses names that fit no layer of a model."""
    if isinstance(names, str):
        checks.refuse(f"{argument} must be a list of names", names, f"Write [{names!r}].")
    known = [layer.name for layer in all_layers(model)]
    for name in names:
        checks.known_name(argument, name, known)
