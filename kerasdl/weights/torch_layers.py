"""Arrays of a PyTorch checkpoint for each kind of layer, and their transpositions."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import keras
import numpy as np

from kerasdl import layers as own

ArrayTransfers = Iterator[tuple[keras.Variable, str, Callable[[np.ndarray], np.ndarray]]]


def arrays_for(layer: keras.Layer, module: str, peer: Any) -> ArrayTransfers:
    """Yields each variable of a layer with the name of its array and the function that converts it.

    Args:
        layer: a built Keras layer.
        module: its name in the checkpoint.
        peer: the name map of the checkpoint's architecture.
    """
    part, axis = peer.part_of(layer.name), 0 if peer.turned else -1
    for variable, name, change in _transfers(layer, module, peer):
        yield variable, name, change if part is None else _then(partial(_cut, part, axis), change)


def _cut(part: tuple[int, int], axis: int, array: np.ndarray) -> np.ndarray:
    place, count = part
    return np.split(array, count, axis=axis)[place]


def _transfers(layer: keras.Layer, module: str, peer: Any) -> ArrayTransfers:
    if isinstance(layer, keras.layers.MultiHeadAttention):
        yield from _attention(layer, module, peer.attention)
    elif isinstance(layer, (own.WindowAttention, own.CosineWindowAttention)):
        yield from _window_attention(layer, module)
    elif isinstance(layer, (own.ClassToken, own.PositionEmbedding, own.LayerScale)):
        yield layer.weights[0], module, _same
    elif isinstance(layer, own.LearnedVector) and module.endswith(".bias"):
        yield layer.weights[0], module, _shaped(tuple(layer.weights[0].shape))
    elif isinstance(layer, own.LearnedQueries):
        yield layer.weights[0], f"{module}.weight", lambda array: array[None]
    else:
        yield from _plain(layer, module, peer)


def _plain(layer: keras.Layer, module: str, peer: Any) -> ArrayTransfers:
    order = peer.order_of(layer.name)
    ordered = _same if order is None else lambda array: _reordered(array, order)
    if isinstance(layer, keras.layers.BatchNormalization):
        names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    else:
        names = {"kernel": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}
        names |= dict.fromkeys(("embeddings", "table", "scale"), "weight")
    turn = _turn_of(layer) if peer.turned else _same
    for variable in layer.weights:
        kind = variable.path.rsplit("/", 1)[-1]
        kernel = kind == "kernel"
        reads = kernel or isinstance(layer, keras.layers.LayerNormalization)
        change = turn if kernel else _same
        yield variable, f"{module}.{names[kind]}", _then(change, ordered) if reads else change


def _turn_of(layer: keras.Layer) -> Callable[[np.ndarray], np.ndarray]:
    if isinstance(layer, keras.layers.Dense):
        sides = _flattened_map(layer)
        return np.transpose if sides is None else lambda array: _channels_last(array, *sides)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return lambda array: array.transpose(2, 3, 0, 1)  # (C, 1, H, W)
    return lambda array: array.transpose(2, 3, 1, 0) if array.ndim == 4 else array  # (F, C, H, W)


def _flattened_map(layer: keras.layers.Dense) -> tuple[int, int, int] | None:
    """Returns (H, W, C) of the map that a dense layer reads flattened; None for other dense layers."""
    before = layer.input._keras_history.operation  # no public name in Keras
    if not isinstance(before, (keras.layers.Flatten, keras.layers.Reshape)):
        return None
    sides = before.input.shape[1:][-3:]
    is_map = (
        len(before.input.shape) == len(layer.input.shape) + 2  # not the heads of attention, which lose one axis
        and len(sides) == 3
        and None not in sides
        and np.prod(sides) == layer.kernel.shape[0]
    )
    return tuple(sides) if is_map else None


def _channels_last(array: np.ndarray, height: int, width: int, channels: int) -> np.ndarray:
    """Returns the kernel (H * W * C, D) of a dense layer whose array (D, C * H * W) reads a map channels first."""
    parts = array.reshape(-1, channels, height, width)
    return parts.transpose(2, 3, 1, 0).reshape(-1, len(array))


def _attention(layer: keras.layers.MultiHeadAttention, module: str, parts: Mapping[str, str]) -> ArrayTransfers:
    dense = {
        "query": layer.query_dense,
        "key": layer.key_dense,
        "value": layer.value_dense,
        "output": layer.output_dense,
    }
    for part, name in parts.items():
        for variable in dense[part].weights:
            kernel = variable.path.endswith("kernel")
            shape = tuple(variable.shape)
            change = (lambda array, shape=shape: array.T.reshape(shape)) if kernel else _shaped(shape)
            yield variable, f"{module}.{name}.{'weight' if kernel else 'bias'}", change


def _window_attention(layer: keras.Layer, module: str) -> ArrayTransfers:
    for part in ("query", "key", "value", "output"):
        name = f"{module}.output.dense" if part == "output" else f"{module}.self.{part}"
        yield getattr(layer, f"{part}_kernel"), f"{name}.weight", np.transpose
        if part in layer.BIASED:
            yield getattr(layer, f"{part}_bias"), f"{name}.bias", _same
    if isinstance(layer, own.WindowAttention):
        yield layer.bias_table, f"{module}.self.relative_position_bias_table", _same
        return
    perceptron = f"{module}.self.continuous_position_bias_mlp"
    yield layer.logit_scale, f"{module}.self.logit_scale", _same
    yield layer.bias_hidden, f"{perceptron}.0.weight", np.transpose
    yield layer.bias_hidden_bias, f"{perceptron}.0.bias", _same
    yield layer.bias_out, f"{perceptron}.2.weight", np.transpose


def _reordered(array: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    parts = np.split(array, len(order))
    return np.concatenate([parts[place] for place in order])


def _then(first: Callable, second: Callable) -> Callable:
    return lambda array: second(first(array))


def _shaped(shape: tuple[int, ...]) -> Callable:
    return lambda array: array.reshape(shape)


def _same(array: np.ndarray) -> np.ndarray:
    return array
