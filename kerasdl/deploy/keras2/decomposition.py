"""Decomposition of a Keras 3 layer into tf_keras layers of one operation each, as quantisation needs them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tf_keras

from .activations import activation_layer, counterpart_activation
from .counterparts import NoCounterpart, counterpart
from .custom_layers import MARK, WrappedKeras3Layer

layers = tf_keras.layers


@dataclass(frozen=True)
class Decomposition:
    """Several layers, and the function that calls them in order."""

    layers: list[tf_keras.layers.Layer]
    """The layers."""
    call: Callable[[list, Any], Any]
    """Runs a tensor through the layers, or through wrappers given in their places."""


def split_layer(layer: keras.layers.Layer, name: str, shape: tuple[int | None, ...]) -> Decomposition:
    """Returns the parts of a layer that takes one tensor of the given shape.

    The part that does the layer's own operation has its name; others are called `<name>_activation` and the like.

    Raises:
        NoCounterpart: the layer does one thing only.
    """
    kind = type(layer).__name__
    activation = getattr(layer, "activation", None)
    if kind == "Activation" and counterpart_activation(activation) is tf_keras.activations.swish:
        return _activation(activation, name)
    if kind not in {*SPLITTERS, *WITH_ACTIVATION}:
        raise NoCounterpart
    if kind not in SPLITTERS and counterpart_activation(activation) is tf_keras.activations.linear:
        raise NoCounterpart
    base = SPLITTERS[kind](layer, name, shape) if kind in SPLITTERS else _single(_linear(layer, name))
    if counterpart_activation(activation) is not tf_keras.activations.linear:
        base = chain(base, _activation(activation, f"{name}_activation"))
    return _regularized(layer, base)


def chain(*decompositions: Decomposition) -> Decomposition:
    """Returns one decomposition that runs several after one another."""

    def call(layers_in_order: list, x: Any) -> Any:
        for each in decompositions:
            x = each.call(layers_in_order[: len(each.layers)], x)
            layers_in_order = layers_in_order[len(each.layers) :]
        return x

    return Decomposition([layer for each in decompositions for layer in each.layers], call)


def _single(layer: tf_keras.layers.Layer) -> Decomposition:
    return Decomposition([layer], lambda layers, x: layers[0](x))


def without_activation(layer: keras.layers.Layer, name: str) -> Decomposition:
    """Returns the counterpart of a layer, and its activation as a layer `<name>_activation` behind it.

    Raises:
        NoCounterpart: the layer has no activation, or no counterpart.
    """
    if type(layer).__name__ not in {*SPLITTERS, *WITH_ACTIVATION}:
        raise NoCounterpart
    return _regularized(
        layer, chain(_single(_linear(layer, name)), _single(_activation_layer(layer.activation, f"{name}_activation")))
    )


def _regularized(layer: keras.layers.Layer, decomposition: Decomposition) -> Decomposition:
    """Moves the penalty on a layer's outputs to the last of its parts."""
    if layer.activity_regularizer is not None:
        for each in decomposition.layers:
            each.activity_regularizer = None
        decomposition.layers[-1].activity_regularizer = _linear(layer, layer.name).activity_regularizer
    return decomposition


def _activation(function: Any, name: str) -> Decomposition:
    if counterpart_activation(function) is tf_keras.activations.swish:
        sigmoid = layers.Activation("sigmoid", name=f"{name}_sigmoid")
        return Decomposition([sigmoid, layers.Multiply(name=name)], lambda layers, x: layers[1]([x, layers[0](x)]))
    return _single(_activation_layer(function, name))


def _activation_layer(function: Any, name: str) -> tf_keras.layers.Layer:
    built_in = activation_layer(function, name)
    return built_in or WrappedKeras3Layer(keras.layers.Activation(function), [((MARK.format(0),), {})], name=name)


def _linear(layer: keras.layers.Layer, name: str) -> tf_keras.layers.Layer:
    return counterpart(layer, name, activation=tf_keras.activations.linear)


def _settings(layer: keras.layers.Layer, name: str, **renamed: str) -> dict[str, Any]:
    """Returns the settings of a layer's counterpart without activation and initializers, some under other names."""
    config = _linear(layer, name).get_config()
    config = {renamed.get(key, key): value for key, value in config.items()}
    return {key: value for key, value in config.items() if not key.endswith("_initializer")}


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings of a convolution over time for a convolution over images one pixel wide."""
    # TensorFlow's depthwise convolution needs equal strides; across one pixel, any stride gives the same.
    wide = {"kernel_size": 1, "strides": settings["strides"][0], "dilation_rate": 1}
    return settings | {key: (settings[key][0], other) for key, other in wide.items()}


def _over_images(make: Callable[[dict], Decomposition], settings: dict, name: str, channels: int) -> Decomposition:
    """Returns a convolution over time (B, T, C) as one over images (B, T, 1, C), whose kernel can run in integers."""
    settings = _flat(settings)
    causal = []
    if settings["padding"] == "causal":
        before = settings["dilation_rate"][0] * (settings["kernel_size"][0] - 1)
        causal = [_single(layers.ZeroPadding2D(((before, 0), (0, 0)), name=f"{name}_padding"))]
        settings = settings | {"padding": "valid"}
    convolution = make(settings)
    filters = settings.get("filters") or channels * settings["depth_multiplier"]
    image = layers.Reshape((-1, 1, channels), name=f"{name}_image")
    return chain(_single(image), *causal, convolution, _single(layers.Reshape((-1, filters), name=f"{name}_sequence")))


def _conv1d(layer: keras.layers.Layer, name: str, shape: tuple) -> Decomposition:
    return _over_images(lambda each: _single(layers.Conv2D.from_config(each)), _settings(layer, name), name, shape[-1])


def _depthwise1d(layer: keras.layers.Layer, name: str, shape: tuple) -> Decomposition:
    make = layers.DepthwiseConv2D.from_config
    return _over_images(lambda each: _single(make(each)), _settings(layer, name), name, shape[-1])


def _separable2d(layer: keras.layers.Layer, name: str, shape: tuple) -> Decomposition:
    return _separable(_settings(layer, name), name)


def _separable1d(layer: keras.layers.Layer, name: str, shape: tuple) -> Decomposition:
    return _over_images(lambda settings: _separable(settings, name), _settings(layer, name), name, shape[-1])


def _separable(settings: dict[str, Any], name: str) -> Decomposition:
    shared = {key: settings[key] for key in ("dtype", "trainable", "data_format")}
    first = {key: settings[key] for key in ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")}
    last = {key: settings[key] for key in ("filters", "use_bias", "bias_regularizer", "bias_constraint")}
    for rule in ("regularizer", "constraint"):
        first[f"depthwise_{rule}"] = settings[f"depthwise_{rule}"]
        last[f"kernel_{rule}"] = settings[f"pointwise_{rule}"]
    depthwise = layers.DepthwiseConv2D(use_bias=False, name=f"{name}_depthwise", **first, **shared)
    return chain(_single(depthwise), _single(layers.Conv2D(kernel_size=1, name=name, **last, **shared)))


def _einsum_dense(layer: keras.layers.Layer, name: str, shape: tuple) -> Decomposition:
    """Returns an EinsumDense layer that contracts the last axes of its input as a Dense layer between reshapes."""
    before, kernel, after = layer.equation.replace("->", ",").split(",")
    contracted = next((n for n in range(len(kernel), 0, -1) if before.endswith(kernel[:n])), 0)
    kept_axes, new_axes = before[: len(before) - contracted], kernel[contracted:]
    distinct = len(set(before + new_axes)) == len(before + new_axes)
    is_product = contracted and new_axes and after == kept_axes + new_axes and distinct
    has_full_bias = layer.bias is None or tuple(layer.bias.shape) == tuple(layer.kernel.shape[contracted:])
    if not is_product or not has_full_bias or "." in before:
        raise NoCounterpart(f"{layer.equation} is no product over the last axes")
    return dense(layer, name, shape, contracted)


def dense(layer: keras.layers.EinsumDense, name: str, shape: tuple[int | None, ...], contracted: int) -> Decomposition:
    """Returns an EinsumDense layer that contracts the last axes of a tensor of the given shape as a Dense layer.

    Raises:
        NoCounterpart: two of the other axes have free sizes, which Reshape cannot tell apart.
    """
    sizes = tuple(layer.kernel.shape)
    kept_sizes = [-1 if size is None else size for size in shape[1 : len(shape) - contracted]]
    joins, splits = contracted > 1, len(sizes) > contracted + 1
    if kept_sizes.count(-1) > 1 and (joins or splits):
        raise NoCounterpart("two free dimensions, which Reshape cannot tell apart")
    settings = {key: value for key, value in _settings(layer, name).items() if key in DENSE}
    product = _single(layers.Dense(math.prod(sizes[contracted:]), use_bias=layer.bias is not None, **settings))
    first = (
        [_single(layers.Reshape((*kept_sizes, math.prod(sizes[:contracted])), name=f"{name}_joined"))] if joins else []
    )
    last = [_single(layers.Reshape((*kept_sizes, *sizes[contracted:]), name=f"{name}_parted"))] if splits else []
    return chain(*first, product, *last)


DENSE = (
    *("name", "dtype", "trainable", "kernel_regularizer", "bias_regularizer", "kernel_constraint", "bias_constraint"),
)
SPLITTERS = {
    "Conv1D": _conv1d,
    "DepthwiseConv1D": _depthwise1d,
    "SeparableConv1D": _separable1d,
    "SeparableConv2D": _separable2d,
    "EinsumDense": _einsum_dense,
}
WITH_ACTIVATION = {
    *("Dense", "Conv2D", "Conv3D", "DepthwiseConv2D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
}
