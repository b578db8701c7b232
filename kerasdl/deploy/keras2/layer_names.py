"""Names of layers in a bridged model: choice by name, and the Keras 3 layer that a part belongs to."""

from collections.abc import Callable, Sequence

import keras
import tf_keras

from kerasdl.core import checks
from kerasdl.core.keras_graph import all_layers


def layer_filter(model: keras.Model, names: Sequence[str] | None) -> Callable[[tf_keras.layers.Layer], bool]:
    """Returns a function that tells whether a tf_keras layer is chosen.

    Args:
        model: the Keras 3 model of the bridge.
        names: the Keras 3 layers that are chosen, with all their parts; None chooses every trainable layer.

    Raises:
        ArgumentError: a name fits no layer.
    """
    check_names("layers", [] if names is None else names, model)
    layer_name_of = layer_names_of_parts(model)
    return lambda layer: layer.trainable if names is None else layer_name_of(layer.name) in names


def layer_names_of_parts(model: keras.Model) -> Callable[[str], str]:
    """Returns a function from the name of a layer in the bridged model to the name of its Keras 3 layer."""
    names = sorted((layer.name for layer in all_layers(model)), key=len, reverse=True)

    def layer_name_of(part: str) -> str:
        return part if part in names else next((name for name in names if part.startswith(f"{name}_")), part)

    return layer_name_of


def check_names(argument: str, names: Sequence[str], model: keras.Model) -> None:
    """Refuses names that fit no layer of a model."""
    if isinstance(names, str):
        checks.refuse(f"{argument} must be a list of names", names, f"Write [{names!r}].")
    known = [layer.name for layer in all_layers(model)]
    for name in names:
        checks.known_name(argument, name, known)
