"""Fine-tuning of a Keras 3 model whose layers TFMOT has wrapped, and the way back."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tf_keras

from kerasdl.core import checks
from kerasdl.core.joining import has_joined
from kerasdl.train import RunConfig, fit

from ..export.model_inputs import all_layers
from ..keras2.bridge import Bridge, Place, bridge
from ..keras2.training_adapter import LegacyTrainee

FINE_TUNING = RunConfig(epochs=3, learning_rate=1e-4, schedule="cosine", clip_norm=1.0)


def train_wrapped(
    model: keras.Model,
    train: Any,
    wrap: Place,
    start: Callable[[Bridge], None],
    finish: Callable[[Bridge], None],
    *,
    identity: Mapping[str, Any],
    config: RunConfig,
    **settings: Any,
) -> keras.Model:
    """Trains a model with wrapped layers, and returns a Keras 3 model with the weights that it ends with.

    Args:
        model: the Keras 3 model; it stays as it is.
        train: the training data.
        wrap: gets each tf_keras layer and returns it, wrapped or not.
        start: called before training.
        finish: called after training, so that the wrappers write into the layers' weights what they make of them.
        identity: plain values that tell this run from others in the same folder.
        config: the settings of the run; the last epoch counts, not the best.
        settings: further arguments of `fit`.
    """
    refuse_mixed_precision(config)
    if config.strategy == "auto" and not has_joined():
        config = dataclasses.replace(config, strategy=None)  # what wraps a layer knows one device
    bridged = bridge(model, split=True, place=wrap)
    start(bridged)
    trainee = LegacyTrainee(bridged.model, model, identity)
    fit(trainee, train, config=dataclasses.replace(config, restore_best=False), **settings)
    finish(bridged)
    return bridged.pull()


def wrapped(bridged: Bridge, kind: type) -> list[tf_keras.layers.Layer]:
    """Returns the wrappers of one class in a bridged model.

    Raises:
        ArgumentError: there are none.
    """
    found = [layer for layer in bridged.model.layers if isinstance(layer, kind)]
    if not found:
        names = [layer.name for layer in bridged.source.layers]
        checks.refuse("the model must have a layer to work on", names, "Name others, or take another pattern.")
    return found


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


def refuse_mixed_precision(config: RunConfig) -> None:
    """Refuses what tf_keras layers, made for float32, cannot do."""
    if config.mixed_precision is not None:
        checks.refuse("training over the bridge computes in float32", f"mixed_precision={config.mixed_precision!r}")
