"""Counterparts in tf_keras of built-in Keras 3 layers: the layer of the same kind, with its arguments translated."""

import inspect
from collections.abc import Callable, Collection
from typing import Any

import keras
import tf_keras

from .activations import activation_layer, counterpart_activation

# Arguments that change no value that a layer computes.
WITHOUT_EFFECT = {
    "quantization_config",
    "use_cudnn",
    "flash_attention",
    "seed",
    "autocast",
    "data_format",
    "input_length",
}
RENAMED = {("LeakyReLU", "negative_slope"): "alpha"}
# Layers whose tf_keras namesake keeps its state in another form, or differs while it trains.
WITHOUT_COUNTERPART = {
    *(
        "Lambda",
        "Masking",
        "Layer",
        "Wrapper",
        "InputLayer",
        "Normalization",
        "Discretization",
        "CategoryEncoding",
        "Hashing",
    ),
    *("HashedCrossing", "IntegerLookup", "StringLookup", "TextVectorization", "SpectralNormalization", "CenterCrop"),
    *(name for name in dir(keras.layers) if name.startswith("Random")),
}
INNER_LAYERS = {"TimeDistributed": ("layer",), "Bidirectional": ("forward_layer", "backward_layer"), "RNN": ("cell",)}


class NoCounterpart(Exception):  # noqa: N818  not an error: the next replacement is tried
    """Signal that a layer has no counterpart in tf_keras; the text gives the reason."""


def counterpart(layer: keras.layers.Layer, name: str | None = None, **changed: Any) -> tf_keras.layers.Layer:
    """Returns an unbuilt tf_keras layer that computes what a Keras 3 layer computes.

    Args:
        layer: a built-in layer, or a built-in wrapper around one.
        name: the name of the tf_keras layer; None takes that of the layer.
        changed: settings of the tf_keras layer that replace the layer's own.

    Raises:
        NoCounterpart: tf_keras has no such layer.
    """
    kind = type(layer).__name__
    if type(layer) is keras.layers.Activation and (
        activation := activation_layer(layer.activation, name or layer.name)
    ):
        return activation
    if getattr(keras.layers, kind, None) is not type(layer) or kind in WITHOUT_COUNTERPART:
        raise NoCounterpart(f"{kind} is custom, or keeps its state otherwise in tf_keras")
    namesake = getattr(tf_keras.layers, kind, None)
    if namesake is None:
        raise NoCounterpart(f"tf_keras has no {kind}")
    if getattr(layer, "quantization_mode", None) or getattr(layer, "stateful", False):
        raise NoCounterpart(f"{kind} is quantised or keeps state from call to call")
    if getattr(layer, "data_format", None) == "channels_first":
        raise NoCounterpart("tf_keras computes channels_first on no CPU")
    settings = {**_settings(layer, namesake, skip=changed), **changed, "name": name or layer.name}
    try:
        return namesake(**settings)
    except (TypeError, ValueError) as error:
        raise NoCounterpart(f"{kind}: {error}") from error


def counterpart_arguments(
    layer: keras.layers.Layer, tf_keras_call: Callable, args: tuple, kwargs: dict
) -> tuple[Any, dict]:
    """Returns the first argument of a call, and the others by name, as the tf_keras layer takes them.

    Args:
        layer: the Keras 3 layer.
        tf_keras_call: the `call` method of the tf_keras layer.
        args: the positional arguments of the Keras 3 layer's call.
        kwargs: its named arguments.

    Raises:
        NoCounterpart: the tf_keras layer does not take an argument that differs from its default.
    """
    signature = inspect.signature(layer.call)
    (_, first), *rest = signature.bind(*args, **kwargs).arguments.items()
    known = inspect.signature(tf_keras_call).parameters
    others = {name: value for name, value in rest if not _is_default(signature.parameters[name].default, value)}
    unknown = sorted(set(others) - set(known))
    if unknown:
        raise NoCounterpart(f"{type(layer).__name__} of tf_keras takes no {unknown}")
    return first, others


def _settings(layer: keras.layers.Layer, namesake: type, skip: Collection[str]) -> dict[str, Any]:
    kind = type(layer).__name__
    known, defaults = parameters_of(namesake), parameters_of(type(layer))
    if issubclass(namesake, tf_keras.layers.RNN):
        known["zero_output_for_mask"] = False  # which its class takes from **kwargs
    settings: dict[str, Any] = {}
    for key, value in layer.get_config().items():
        target = RENAMED.get((kind, key), key)
        if key.endswith("_initializer") or key in INNER_LAYERS.get(kind, ()) or target in skip:
            continue
        if target in known or target in ("name", "trainable"):
            settings[target] = _converted(layer, target, value)
        elif key not in WITHOUT_EFFECT and key in defaults and not _is_default(defaults[key], value):
            raise NoCounterpart(f"{kind} of tf_keras has no {key}")
    settings["dtype"] = _dtype(layer)
    if kind == "BatchNormalization":
        settings["fused"] = False  # the fused form rounds otherwise, and its moving variances divide by n - 1
    if kind == "Embedding":
        settings["mask_zero"] = False  # a bridged graph passes masks as arguments
    for key in INNER_LAYERS.get(kind, ()):
        settings["layer" if key == "forward_layer" else key] = _inner(getattr(layer, key))
    return settings


def _inner(layer: Any) -> Any:
    if isinstance(layer, (list, tuple)):
        return [_inner(each) for each in layer]
    if isinstance(layer, keras.layers.StackedRNNCells):
        return tf_keras.layers.StackedRNNCells([_inner(each) for each in layer.cells])
    if isinstance(layer, keras.Model):
        raise NoCounterpart("a wrapped model")
    return counterpart(layer)


def _converted(layer: keras.layers.Layer, key: str, value: Any) -> Any:
    if key.endswith("activation"):
        function = counterpart_activation(getattr(layer, key))
        if function is None:
            raise NoCounterpart(f"tf_keras has no such {key}")
        return function
    if key.endswith(("_regularizer", "_constraint")) and value is not None:
        return _of_same_name(value)
    return value


def _of_same_name(config: dict) -> Any:
    kind = tf_keras.regularizers if hasattr(tf_keras.regularizers, config["class_name"]) else tf_keras.constraints
    namesake = getattr(kind, config["class_name"], None)
    if namesake is None or config.get("registered_name"):
        raise NoCounterpart(f"{config['class_name']} is not in tf_keras")
    return namesake(**config["config"])


def _dtype(layer: keras.layers.Layer) -> str:
    # A bridged model computes in float32: quantisation and pruning need full precision.
    return "float32" if layer.variable_dtype in ("float16", "bfloat16") else layer.variable_dtype


def parameters_of(layer_class: type) -> dict[str, Any]:
    """Returns the defaults of a layer class's arguments by name, with those of its bases where it takes **kwargs."""
    defaults: dict[str, Any] = {}
    for each in layer_class.__mro__:
        if "__init__" not in vars(each) or each is object:
            continue
        parameters = inspect.signature(each.__init__).parameters
        for name, parameter in parameters.items():
            defaults.setdefault(name, parameter.default)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return defaults


def _is_default(default: Any, value: Any) -> bool:
    return value is default or (type(value) in (bool, int, float, str) and value == default)
