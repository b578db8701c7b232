"""The tf_keras layer of the same kind for a built-in layer of Keras 3, renamed and dropped arguments seen to."""

import inspect
from collections.abc import Callable, Collection
from typing import Any

import keras
import tf_keras

from .activations import activation_layer, twin_activation

# What changes no value that the layer computes.
HARMLESS = {"quantization_config", "use_cudnn", "flash_attention", "seed", "autocast", "data_format", "input_length"}
RENAMED = {("LeakyReLU", "negative_slope"): "alpha"}
# Those whose tf_keras namesake keeps its state otherwise, or differs while it trains.
WITHOUT_TWIN = {
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
INNER = {"TimeDistributed": ("layer",), "Bidirectional": ("forward_layer", "backward_layer"), "RNN": ("cell",)}


class NoTwin(Exception):  # noqa: N818  no error of anyone's: the next form is tried
    """The layer has none; the text says why."""


def twin(layer: keras.layers.Layer, name: str | None = None, **changed: Any) -> tf_keras.layers.Layer:
    """Returns an unbuilt tf_keras layer that computes what a Keras 3 layer computes.

    Args:
        layer: a built-in layer, or one that wraps such.
        name: another name for it.
        changed: settings of the tf_keras layer that take the place of the layer's own.

    Raises:
        NoTwin: there is none.
    """
    kind = type(layer).__name__
    if type(layer) is keras.layers.Activation and (made := activation_layer(layer.activation, name or layer.name)):
        return made
    if getattr(keras.layers, kind, None) is not type(layer) or kind in WITHOUT_TWIN:
        raise NoTwin(f"{kind} is custom, or keeps its state otherwise in tf_keras")
    namesake = getattr(tf_keras.layers, kind, None)
    if namesake is None:
        raise NoTwin(f"tf_keras has no {kind}")
    if getattr(layer, "quantization_mode", None) or getattr(layer, "stateful", False):
        raise NoTwin(f"{kind} is quantised or keeps state from call to call")
    if getattr(layer, "data_format", None) == "channels_first":
        raise NoTwin("tf_keras computes channels_first on no CPU")
    settings = {**_settings(layer, namesake, skip=changed), **changed, "name": name or layer.name}
    try:
        return namesake(**settings)
    except (TypeError, ValueError) as error:
        raise NoTwin(f"{kind}: {error}") from error


def twin_arguments(layer: keras.layers.Layer, other: Callable, args: tuple, kwargs: dict) -> tuple[Any, dict]:
    """Returns the first argument and the others by name, in the form in which the tf_keras layer takes them.

    Raises:
        NoTwin: an argument that matters is unknown to it.
    """
    signature = inspect.signature(layer.call)
    given = signature.bind(*args, **kwargs).arguments
    (_, first), *rest = given.items()
    known = inspect.signature(other).parameters
    others = {name: value for name, value in rest if not _is_default(signature.parameters[name].default, value)}
    unknown = sorted(set(others) - set(known))
    if unknown:
        raise NoTwin(f"{type(layer).__name__} of tf_keras takes no {unknown}")
    return first, others


def _settings(layer: keras.layers.Layer, namesake: type, skip: Collection[str]) -> dict[str, Any]:
    kind = type(layer).__name__
    known, defaults = parameters_of(namesake), parameters_of(type(layer))
    if issubclass(namesake, tf_keras.layers.RNN):
        known["zero_output_for_mask"] = False  # taken from **kwargs
    settings: dict[str, Any] = {}
    for key, value in layer.get_config().items():
        target = RENAMED.get((kind, key), key)
        if key.endswith("_initializer") or key in INNER.get(kind, ()) or target in skip:
            continue
        if target in known or target in ("name", "trainable"):
            settings[target] = _converted(layer, target, value)
        elif key not in HARMLESS and key in defaults and not _is_default(defaults[key], value):
            raise NoTwin(f"{kind} of tf_keras has no {key}")
    settings["dtype"] = _dtype(layer)
    if kind == "BatchNormalization":
        settings["fused"] = False  # else another rounding, and moving variances over n - 1
    if kind == "Embedding":
        settings["mask_zero"] = False  # the graph of Keras 3 hands masks on as arguments
    for key in INNER.get(kind, ()):
        settings["layer" if key == "forward_layer" else key] = _inner(getattr(layer, key))
    return settings


def _inner(layer: Any) -> Any:
    if isinstance(layer, (list, tuple)):
        return [_inner(each) for each in layer]
    if isinstance(layer, keras.layers.StackedRNNCells):
        return tf_keras.layers.StackedRNNCells([_inner(each) for each in layer.cells])
    if isinstance(layer, keras.Model):
        raise NoTwin("a wrapped model")
    return twin(layer)


def _converted(layer: keras.layers.Layer, key: str, value: Any) -> Any:
    if key.endswith("activation"):
        function = twin_activation(getattr(layer, key))
        if function is None:
            raise NoTwin(f"tf_keras has no such {key}")
        return function
    if key.endswith(("_regularizer", "_constraint")) and value is not None:
        return _of_same_name(value)
    return value


def _of_same_name(config: dict) -> Any:
    kind = tf_keras.regularizers if hasattr(tf_keras.regularizers, config["class_name"]) else tf_keras.constraints
    found = getattr(kind, config["class_name"], None)
    if found is None or config.get("registered_name"):
        raise NoTwin(f"{config['class_name']} is not in tf_keras")
    return found(**config["config"])


def _dtype(layer: keras.layers.Layer) -> str:
    # A bridged model computes in float32: reduced precision has no place in quantisation and pruning.
    return "float32" if layer.variable_dtype in ("float16", "bfloat16") else layer.variable_dtype


def parameters_of(layer_class: type) -> dict[str, Any]:
    """Returns the defaults of all that a class takes, by name: its own arguments, and its bases' where it hands on."""
    found: dict[str, Any] = {}
    for each in layer_class.__mro__:
        if "__init__" not in vars(each) or each is object:
            continue
        parameters = inspect.signature(each.__init__).parameters
        for name, parameter in parameters.items():
            found.setdefault(name, parameter.default)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return found


def _is_default(default: Any, value: Any) -> bool:
    return value is default or (type(value) in (bool, int, float, str) and value == default)
