"""Attention of transformers: the maps of each layer, and their flow from the inputs to the outputs.

Layers of attention are `keras.layers.MultiHeadAttention` and those of kerasdl over heads, such as
`DotProductAttention`. Weights are read by attending to the unit vectors in place of the values.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.keras_graph import replay
from kerasdl.layers import (
    AdaptedWeights,
    CosineWindowAttention,
    DotProductAttention,
    LinearAttention,
    SlidingWindowAttention,
    WindowAttention,
)

from .targets import Target, fitting_array, network_of, refuse_raw, scores_of

Maps = dict[str, tf.Tensor]
HEADED = (DotProductAttention, SlidingWindowAttention)
UNREAD = (
    *(keras.layers.GroupQueryAttention, keras.layers.Attention, keras.layers.AdditiveAttention),
    *(LinearAttention, WindowAttention, CosineWindowAttention),
)
"""Attention whose weights are not read; a flow through it would be that of a shortcut."""


def attention_maps(model: Any, inputs: Any) -> dict[str, np.ndarray]:
    """Returns the attention weights of each layer of a transformer, in the order of its graph.

    Source: https://arxiv.org/abs/1706.03762, section 3.2.1 and figure 3.

    Args:
        model: a functional `keras.Model`, or a bundle of one.
        inputs: (B, ...) as the model takes them, images or token ids; a list or dict for several inputs.

    Returns:
        Arrays (B, N, T, S) by the name of the layer: the share of each of S places in each of T outputs, by head.

    Raises:
        ArgumentError: the model has no attention of these kinds, one has adapters, or inputs do not fit.

    Example:
        >>> tokens = keras.Input((6, 8))
        >>> net = keras.Model(tokens, kerasdl.blocks.encoder_block(tokens, 2, hidden=16, name="block1"))
        >>> attention_maps(net, np.ones((1, 6, 8)))["block1_attention_scores"].shape
        (1, 2, 6, 6)
    """
    return {name: each.numpy() for name, each in _run(model, inputs)[0].items()}


def attention_rollout(model: Any, inputs: Any) -> np.ndarray:
    """Returns how much of each input place reaches each output place, if attention alone moved it.

    Half of each layer's output is taken to be the shortcut, half the mean attention of its heads; the layers'
    matrices are multiplied.

    Source: https://arxiv.org/abs/2005.00928, section 3.

    Args:
        model: as in `attention_maps`; all layers attend within one sequence.
        inputs: as there.

    Returns:
        (B, T, T) float32, rows of sum 1: outputs by inputs. Row 0 is that of a class token; without its first entry
        it is the map of the patches.

    Raises:
        ArgumentError: sequences of the layers differ, a layer of attention is of another kind, as in Swin, or as in
            `attention_maps`.

    Example:
        >>> tokens = keras.Input((6, 8))
        >>> net = keras.Model(tokens, kerasdl.blocks.encoder_block(tokens, 2, hidden=16, name="block1"))
        >>> attention_rollout(net, np.ones((1, 6, 8))).shape
        (1, 6, 6)
    """
    maps = _of_one_sequence(model, _run(model, inputs)[0])
    flow = np.eye(maps[0].shape[-1], dtype="float32")[None]
    for weights in maps:
        mean = weights.numpy().mean(axis=1)
        mean = mean + 1e-30 * np.eye(mean.shape[-1], dtype="float32")  # a place that sees nothing keeps itself
        mixed = 0.5 * mean / mean.sum(axis=-1, keepdims=True) + 0.5 * np.eye(mean.shape[-1], dtype="float32")
        flow = mixed @ flow
    return flow.astype("float32")


def attention_relevance(model: Any, inputs: Any, target: Target = None) -> np.ndarray:
    """Returns how much each input place speaks for a score: attention weighed by its gradient, layer after layer.

    Unlike the rollout it depends on the class.

    Source: https://arxiv.org/abs/2103.15679, section 3.1, equations 5 and 6.

    Args:
        model: as in `attention_rollout`.
        inputs: as there.
        target: a class, one for each example, or a function from the outputs to scores (B,); None takes the likeliest
            class of each example.

    Returns:
        (B, T, T) float32, outputs by inputs; the shortcut's ones on the diagonal are taken off.

    Raises:
        ArgumentError: as in `attention_rollout`, or the target does not fit.

    Example:
        >>> tokens = keras.Input((6, 8))
        >>> x = kerasdl.blocks.encoder_block(tokens, 2, hidden=16, name="block1")
        >>> net = keras.Model(tokens, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(x)))
        >>> attention_relevance(net, np.ones((1, 6, 8)), 2).shape
        (1, 6, 6)
    """
    with tf.GradientTape() as tape:
        maps, outputs = _run(model, inputs)
        scores = scores_of(outputs, target)
    weights = _of_one_sequence(model, maps)
    gradients = tape.gradient(scores, weights, unconnected_gradients="zero")
    flow = unit = np.eye(weights[0].shape[-1], dtype="float32")[None]
    for each, gradient in zip(weights, gradients, strict=True):
        speaks = np.maximum((each * gradient).numpy(), 0.0).mean(axis=1)
        flow = flow + speaks @ flow
    return (flow - unit).astype("float32")


def _run(model: Any, inputs: Any) -> tuple[Maps, Any]:
    """Returns the attention weights by layer, as tensors from which the outputs are computed, and the outputs."""
    network, maps = network_of(model), {}
    if not isinstance(inputs, (dict, list, tuple)):
        refuse_raw(model, inputs)

    def keep(operation: keras.Operation, weights: tf.Tensor) -> None:
        name, number = operation.name, 2
        while name in maps:  # a layer that is called again
            name, number = f"{operation.name}_{number}", number + 1
        maps[name] = weights

    def substitute(operation: keras.Operation) -> Callable:
        settings = {"training": False} if getattr(operation, "_call_has_training_arg", False) else {}  # not public

        def run(*args: Any, **kwargs: Any) -> Any:
            kwargs = {**kwargs, **settings}
            if isinstance(operation, AdaptedWeights) and isinstance(operation.layer, keras.layers.MultiHeadAttention):
                hint = "Merge it: kerasdl.sequence.merge_lora(model)."
                checks.refuse("attention that is read must be without adapters", operation.name, hint)
            if isinstance(operation, keras.layers.MultiHeadAttention):
                outputs, weights = operation(*args, **{**kwargs, "return_attention_scores": True})
                keep(operation, weights)
                return outputs
            if isinstance(operation, HEADED):
                (query, key, value), *others = args
                weights = _weights(operation, query, key, others, kwargs)  # (B, N, T, S)
                keep(operation, weights)
                value = tf.repeat(value, weights.shape[1] // value.shape[2], axis=2)
                return tf.einsum("bnts,bsne->btne", weights, tf.cast(value, weights.dtype))
            return operation(*args, **kwargs)

        return run

    outputs = replay(network, _inputs_of(network, inputs), substitute)
    if not maps:
        hint = "It takes keras.layers.MultiHeadAttention and kerasdl.layers.DotProductAttention."
        checks.refuse("a model must have layers of attention", network.name, hint)
    return maps, outputs


def _weights(layer: keras.layers.Layer, query: Any, key: Any, others: Any, kwargs: dict) -> tf.Tensor:
    units = tf.eye(key.shape[1], dtype=key.dtype)[None, :, None]  # (1, S, 1, S)
    units = tf.broadcast_to(units, (len(key), key.shape[1], key.shape[2], key.shape[1]))
    return tf.transpose(layer([query, key, units], *others, **kwargs), (0, 2, 1, 3))


def _inputs_of(network: keras.Model, inputs: Any) -> list[tf.Tensor]:
    """Returns inputs in the order of a network's."""
    if isinstance(inputs, dict):
        names = [each.name for each in network.inputs]
        if set(inputs) != set(names):
            checks.refuse(f"inputs must be named {names}", sorted(inputs))
        inputs = [inputs[name] for name in names]
    values = list(inputs) if isinstance(inputs, (list, tuple)) and len(network.inputs) > 1 else [inputs]
    if len(values) != len(network.inputs):
        checks.refuse(f"inputs must be {len(network.inputs)} arrays, as the model takes them", len(values))
    pairs = zip(values, network.inputs, strict=True)
    return [tf.convert_to_tensor(fitting_array(value, each).astype(each.dtype)) for value, each in pairs]


def _of_one_sequence(model: Any, maps: Maps) -> list[tf.Tensor]:
    """Returns attention weights in float32, of all attention of a model and over the places of one sequence."""
    for layer in network_of(model)._flatten_layers():
        if isinstance(layer, UNREAD):
            checks.refuse("all attention of a model must be of kinds that are read", layer.name)
    sizes = {tuple(each.shape[2:]) for each in maps.values()}
    if len(sizes) > 1 or len(set(next(iter(sizes)))) > 1:
        rule = "all layers of attention must be over the places of one sequence"
        checks.refuse(rule, sorted(sizes), "attention_maps gives the map of each layer.")
    return [tf.cast(each, "float32") for each in maps.values()]
