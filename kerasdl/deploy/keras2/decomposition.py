"""Keras 3 layers that do several things, as several tf_keras layers of one operation each: what quantisation needs."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tf_keras

from .activations import activation_layer, twin_activation
from .counterparts import NoTwin, twin
from .custom_layers import MARK, Carried

layers = tf_keras.layers


@dataclass(frozen=True)
class Piece:
    """Some layers, and how a tensor goes through them; wrappers may stand for the layers when it is called."""

    layers: list[tf_keras.layers.Layer]
    call: Callable[[list, Any], Any]


def split_layer(layer: keras.layers.Layer, name: str, shape: tuple[int | None, ...]) -> Piece:
    """Returns the parts of a layer that takes one tensor of the given shape.

    The last bears the layer's name where it is the operation that gives it, else `<name>_activation` and the like.

    Raises:
        NoTwin: there is nothing to split.
    """
    kind = type(layer).__name__
    activation = getattr(layer, "activation", None)
    if kind == "Activation" and twin_activation(activation) is tf_keras.activations.swish:
        return _activation(activation, name)
    if kind not in {*SPLITTERS, *WITH_ACTIVATION}:
        raise NoTwin
    if kind not in SPLITTERS and twin_activation(activation) is tf_keras.activations.linear:
        raise NoTwin
    base = SPLITTERS[kind](layer, name, shape) if kind in SPLITTERS else _one(_linear(layer, name))
    if twin_activation(activation) is not tf_keras.activations.linear:
        base = chain(base, _activation(activation, f"{name}_activation"))
    return _regularized(layer, base)


def chain(*pieces: Piece) -> Piece:
    """Returns pieces one after another."""

    def call(made: list, x: Any) -> Any:
        for piece in pieces:
            x, made = piece.call(made[: len(piece.layers)], x), made[len(piece.layers) :]
        return x

    return Piece([layer for piece in pieces for layer in piece.layers], call)


def _one(layer: tf_keras.layers.Layer) -> Piece:
    return Piece([layer], lambda made, x: made[0](x))


def without_activation(layer: keras.layers.Layer, name: str) -> Piece:
    """Returns the twin of a layer with its activation behind it, as `<name>_activation`.

    Raises:
        NoTwin: it has none.
    """
    if type(layer).__name__ not in {*SPLITTERS, *WITH_ACTIVATION}:
        raise NoTwin
    return _regularized(
        layer, chain(_one(_linear(layer, name)), _one(_activated(layer.activation, f"{name}_activation")))
    )


def _regularized(layer: keras.layers.Layer, piece: Piece) -> Piece:
    """Puts a layer's penalty on its outputs where these come out of its parts."""
    if layer.activity_regularizer is not None:
        for each in piece.layers:
            each.activity_regularizer = None
        piece.layers[-1].activity_regularizer = _linear(layer, layer.name).activity_regularizer
    return piece


def _activation(function: Any, name: str) -> Piece:
    if twin_activation(function) is tf_keras.activations.swish:
        sigmoid = layers.Activation("sigmoid", name=f"{name}_sigmoid")
        return Piece([sigmoid, layers.Multiply(name=name)], lambda made, x: made[1]([x, made[0](x)]))
    return _one(_activated(function, name))


def _activated(function: Any, name: str) -> tf_keras.layers.Layer:
    made = activation_layer(function, name)
    return made or Carried(keras.layers.Activation(function), [((MARK.format(0),), {})], name=name)


def _linear(layer: keras.layers.Layer, name: str) -> tf_keras.layers.Layer:
    return twin(layer, name, activation=tf_keras.activations.linear)


def _settings(layer: keras.layers.Layer, name: str, **renamed: str) -> dict[str, Any]:
    """Returns the settings of the layer's twin, those of a kernel under other names, without the activation."""
    config = _linear(layer, name).get_config()
    config = {renamed.get(key, key): value for key, value in config.items()}
    return {key: value for key, value in config.items() if not key.endswith("_initializer")}


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings of a convolution over time as one over images one pixel wide."""
    # TensorFlow's depthwise convolution takes equal strides alone; over one pixel any stride is the same.
    wide = {"kernel_size": 1, "strides": settings["strides"][0], "dilation_rate": 1}
    return settings | {key: (settings[key][0], other) for key, other in wide.items()}


def _over_images(make: Callable[[dict], Piece], settings: dict, name: str, channels: int) -> Piece:
    """Returns a convolution over time (B, T, C) through images (B, T, 1, C): the kernel that runs in integers."""
    settings = _flat(settings)
    causal = []
    if settings["padding"] == "causal":
        before = settings["dilation_rate"][0] * (settings["kernel_size"][0] - 1)
        causal = [_one(layers.ZeroPadding2D(((before, 0), (0, 0)), name=f"{name}_padding"))]
        settings = settings | {"padding": "valid"}
    piece = make(settings)
    filters = settings.get("filters") or channels * settings["depth_multiplier"]
    image = layers.Reshape((-1, 1, channels), name=f"{name}_image")
    return chain(_one(image), *causal, piece, _one(layers.Reshape((-1, filters), name=f"{name}_sequence")))


def _conv1d(layer: keras.layers.Layer, name: str, shape: tuple) -> Piece:
    return _over_images(lambda each: _one(layers.Conv2D.from_config(each)), _settings(layer, name), name, shape[-1])


def _depthwise1d(layer: keras.layers.Layer, name: str, shape: tuple) -> Piece:
    make = layers.DepthwiseConv2D.from_config
    return _over_images(lambda each: _one(make(each)), _settings(layer, name), name, shape[-1])


def _separable2d(layer: keras.layers.Layer, name: str, shape: tuple) -> Piece:
    return _separable(_settings(layer, name), name)


def _separable1d(layer: keras.layers.Layer, name: str, shape: tuple) -> Piece:
    return _over_images(lambda settings: _separable(settings, name), _settings(layer, name), name, shape[-1])


def _separable(settings: dict[str, Any], name: str) -> Piece:
    shared = {key: settings[key] for key in ("dtype", "trainable", "data_format")}
    first = {key: settings[key] for key in ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")}
    last = {key: settings[key] for key in ("filters", "use_bias", "bias_regularizer", "bias_constraint")}
    for rule in ("regularizer", "constraint"):
        first[f"depthwise_{rule}"] = settings[f"depthwise_{rule}"]
        last[f"kernel_{rule}"] = settings[f"pointwise_{rule}"]
    depthwise = layers.DepthwiseConv2D(use_bias=False, name=f"{name}_depthwise", **first, **shared)
    return chain(_one(depthwise), _one(layers.Conv2D(kernel_size=1, name=name, **last, **shared)))


def _einsum_dense(layer: keras.layers.Layer, name: str, shape: tuple) -> Piece:
    """Returns a contraction over the last axes, where the equation is one, as a Dense layer between reshapes."""
    before, kernel, after = layer.equation.replace("->", ",").split(",")
    contracted = next((n for n in range(len(kernel), 0, -1) if before.endswith(kernel[:n])), 0)
    kept, made = before[: len(before) - contracted], kernel[contracted:]
    plain = contracted and made and after == kept + made and len(set(before + made)) == len(before + made)
    whole = layer.bias is None or tuple(layer.bias.shape) == tuple(layer.kernel.shape[contracted:])
    if not plain or not whole or "." in before:
        raise NoTwin(f"{layer.equation} is no product over the last axes")
    return dense(layer, name, shape, contracted)


def dense(layer: keras.layers.EinsumDense, name: str, shape: tuple[int | None, ...], contracted: int) -> Piece:
    """Returns an EinsumDense layer that contracts the last axes of a tensor of the given shape as a Dense layer.

    Raises:
        NoTwin: the axes before have two free sizes, which Reshape cannot keep apart.
    """
    sizes = tuple(layer.kernel.shape)
    kept = [-1 if size is None else size for size in shape[1 : len(shape) - contracted]]
    joins, parts = contracted > 1, len(sizes) > contracted + 1
    if kept.count(-1) > 1 and (joins or parts):
        raise NoTwin("two free dimensions, which Reshape cannot keep apart")
    settings = {key: value for key, value in _settings(layer, name).items() if key in DENSE}
    made = _one(layers.Dense(math.prod(sizes[contracted:]), use_bias=layer.bias is not None, **settings))
    first = [_one(layers.Reshape((*kept, math.prod(sizes[:contracted])), name=f"{name}_joined"))] if joins else []
    last = [_one(layers.Reshape((*kept, *sizes[contracted:]), name=f"{name}_parted"))] if parts else []
    return chain(*first, made, *last)


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
