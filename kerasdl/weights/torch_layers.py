"""Arrays of a PyTorch checkpoint for each kind of layer, and their transpositions."""

from collections.abc import Callable, Iterator

import keras
import numpy as np

from kerasdl import layers as own

ArrayTransfers = Iterator[tuple[keras.Variable, str, Callable[[np.ndarray], np.ndarray]]]


def arrays_for(layer: keras.Layer, module: str, order: tuple[int, ...] | None = None) -> ArrayTransfers:
    """Yields each variable of a layer with the name of its array and the function that converts it.

    Args:
        layer: a built Keras layer.
        module: its name in the checkpoint.
        order: order of four joined neighbours in the checkpoint, for a layer that reads them.
    """
    if isinstance(layer, keras.layers.MultiHeadAttention):
        yield from _attention(layer, module)
    elif isinstance(layer, (own.WindowAttention, own.CosineWindowAttention)):
        yield from _window_attention(layer, module)
    elif isinstance(layer, (own.ClassToken, own.PositionEmbedding, own.LayerScale)):
        yield layer.weights[0], module, _same
    else:
        yield from _plain(layer, module, order)


def _plain(layer: keras.Layer, module: str, order: tuple[int, ...] | None) -> ArrayTransfers:
    ordered = _same if order is None else lambda array: _reordered(array, order)
    if isinstance(layer, keras.layers.BatchNormalization):
        names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    else:
        names = {"kernel": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}
    turn = _turn_of(layer)
    for variable in layer.weights:
        kind = variable.path.rsplit("/", 1)[-1]
        kernel = kind == "kernel"
        reads = kernel or isinstance(layer, keras.layers.LayerNormalization)
        change = turn if kernel else _same
        yield variable, f"{module}.{names[kind]}", _then(change, ordered) if reads else change


def _turn_of(layer: keras.Layer) -> Callable[[np.ndarray], np.ndarray]:
    if isinstance(layer, keras.layers.Dense):
        return np.transpose
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return lambda array: array.transpose(2, 3, 0, 1)  # (C, 1, H, W)
    return lambda array: array.transpose(2, 3, 1, 0) if array.ndim == 4 else array  # (F, C, H, W)


def _attention(layer: keras.layers.MultiHeadAttention, module: str) -> ArrayTransfers:
    parts = {"query": "attention.query", "key": "attention.key", "value": "attention.value", "output": "output.dense"}
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
