"""Counterparts in Keras 3 of tf_keras (Keras 2) layers: the layer of the same kind, with its arguments translated."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf
import tf_keras

from kerasdl.core.errors import ExportError
from kerasdl.layers.migrated import legacy_hard_sigmoid

from ..keras2.activations import SAME, KerasActivation
from ..keras2.counterparts import parameters_of

RENAMED = {("LeakyReLU", "alpha"): "negative_slope"}
# Activations by their names in tf_keras; those whose name means something else in Keras 3 are not here.
SAME_ACTIVATIONS = {
    **{name: name for name in SAME if name != "silu"},
    "swish": "silu",
    "relu6": "relu6",
    "log_softmax": "log_softmax",
}
WRAPPERS = {
    "TimeDistributed": {"layer": "layer"},
    "Bidirectional": {"forward_layer": "layer", "backward_layer": "backward_layer"},
}
NOT_COPIED = {"trainable", "layer", "backward_layer", "cell", "cells", "args", "kwargs"}
LOOKUPS = ("StringLookup", "IntegerLookup", "TextVectorization")

Custom = Mapping[str, Callable[[dict], keras.layers.Layer]]


def keras_layer(layer: tf_keras.layers.Layer, name: str, custom: Custom) -> keras.layers.Layer:
    """Returns an unbuilt Keras 3 layer that computes what a tf_keras layer computes.

    Raises:
        ExportError: Keras 3 has no such layer.
    """
    kind = type(layer).__name__
    if isinstance(layer, KerasActivation):
        return keras.layers.Activation(layer.activation.__name__, name=name)
    if kind in custom:
        return custom[kind]({**layer.get_config(), "name": name})
    namesake = getattr(keras.layers, kind, None)
    # tf_keras has two classes of some names: the later one stands in tf_keras.layers.
    built_in = isinstance(getattr(tf_keras.layers, kind, None), type) and type(layer).__module__.startswith("tf_keras.")
    if namesake is None or not built_in or kind in ("Lambda", "Layer"):
        raise ExportError(
            f"layer {layer.name!r} must be of a kind that Keras 3 has; got {kind}. Pass custom_layers={{{kind!r}: ...}}"
            ", which gives the Keras 3 layer for its get_config()."
        )
    config = _settings(layer, kind, namesake, custom)
    try:
        keras3_layer = namesake(**{**config, "name": name})
    except (TypeError, ValueError) as error:
        raise ExportError(f"layer {layer.name!r} ({kind}) must be one that Keras 3 can make; got {error}.") from error
    keras3_layer.trainable = layer.trainable
    return keras3_layer


def _settings(layer: tf_keras.layers.Layer, kind: str, namesake: type, custom: Custom) -> dict[str, Any]:
    known = set(parameters_of(namesake)) - NOT_COPIED
    config = {RENAMED.get((kind, key), key): value for key, value in layer.get_config().items()}
    if config.get("time_major"):
        raise ExportError(f"layer {layer.name!r} must take (batch, time, ...); got time_major=True.")
    settings = {key: _converted(layer, key, _plain(value)) for key, value in config.items() if key in known}
    settings = {
        key: value for key, value in settings.items() if not key.endswith("_initializer") and key != "trainable"
    }
    settings["dtype"] = layer.dtype_policy.name
    if kind in LOOKUPS:
        settings["vocabulary"] = layer.get_vocabulary(include_special_tokens=False)
    if kind == "Normalization":
        settings |= {"mean": _array(layer.mean), "variance": _array(layer.variance)}
    if kind in ("BatchNormalization", "PReLU", "LayerNormalization") and isinstance(settings.get("axis"), list):
        settings["axis"] = settings["axis"][0] if len(settings["axis"]) == 1 else settings["axis"]
    for source, target in WRAPPERS.get(kind, {}).items():
        settings[target] = keras_layer(getattr(layer, source), getattr(layer, source).name, custom)
    if kind in ("RNN", "StackedRNNCells"):
        settings |= _cells(layer, custom)
    return settings


def _cells(layer: Any, custom: Custom) -> dict[str, Any]:
    if isinstance(layer, tf_keras.layers.StackedRNNCells):
        return {"cells": [keras_layer(cell, cell.name, custom) for cell in layer.cells]}
    return {"cell": keras_layer(layer.cell, layer.cell.name, custom)}


def _converted(layer: tf_keras.layers.Layer, key: str, value: Any) -> Any:
    if key.endswith("activation"):
        return _activation(getattr(layer, key))
    if key.endswith(("_regularizer", "_constraint")) and value is not None:
        rule = getattr(layer, key, None)
        kind = keras.regularizers if key.endswith("_regularizer") else keras.constraints
        namesake = getattr(kind, type(rule).__name__, None)
        if namesake is None:
            raise ExportError(f"layer {layer.name!r} must have a {key} that Keras 3 has; got {type(rule).__name__}.")
        return namesake(**_plain(rule.get_config()))
    return value


def _activation(function: Callable) -> Any:
    for name, keras3_name in SAME_ACTIVATIONS.items():
        if function is tf_keras.activations.get(name):
            return getattr(keras.activations, keras3_name)
    if function is tf.nn.leaky_relu:
        return keras.activations.leaky_relu
    if function is tf.nn.silu:
        return keras.activations.silu
    if function is tf_keras.activations.hard_sigmoid:
        return legacy_hard_sigmoid
    return function  # a user's own function of TensorFlow operations


def _plain(value: Any) -> Any:
    """Returns a setting of plain lists and dicts in place of the tracked classes of tf_keras."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tf.TensorShape):
        return tuple(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value)) if type(value) in (list, tuple) else [_plain(each) for each in value]
    return value


def _array(value: Any) -> Any:
    return None if value is None else tf.convert_to_tensor(value).numpy().reshape(-1)
