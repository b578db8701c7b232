"""Multi-head attention as tf_keras layers of one operation each."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import tf_keras

from .counterparts import NoCounterpart
from .custom_layers import MaskedScores, Product
from .decomposition import Decomposition, chain, dense

layers = tf_keras.layers
MASKS = {"query_mask": "query", "value_mask": "key", "key_mask": "key", "attention_mask": "attention"}


def split_attention(
    layer: keras.layers.MultiHeadAttention, name: str, args: tuple, kwargs: dict
) -> tuple[list[tf_keras.layers.Layer], Callable[[list, tuple, dict], Any]]:
    """Returns the parts of an attention layer over sequences (B, T, D), in the order of its weights, and their call.

    The parts are `<name>_query`, `_key` and `_value`, each a projection split into heads (B, N, T, H); then `_scaled`,
    `_scores`, `_masked` where there is a mask, `_softmax`, `_kept` where there is a mask and dropout, `_dropout`,
    `_context` and `_output`.

    Args:
        layer: the attention layer.
        name: the name that the names of the parts begin with.
        args: the positional arguments of its call, with tf_keras symbols for tensors.
        kwargs: the named arguments.

    Raises:
        NoCounterpart: the layer is not plain attention over (B, T, D), or returns its scores.
    """
    arguments = _arguments(layer, args, kwargs)
    _check(layer, arguments)
    kinds = tuple(MASKS[key] for key in MASKS if arguments.get(key) is not None)
    causal = bool(arguments.get("use_causal_mask"))
    heads, width = layer.num_heads, layer.key_dim
    query, value = arguments["query"], arguments["value"]
    sources = {"query": query, "key": arguments.get("key", value), "value": value}
    parts = {key: _heads(layer, name, key, source.shape) for key, source in sources.items()}
    parts["scaled"] = _single(layers.Rescaling(width**-0.5, name=f"{name}_scaled"))
    parts["scores"] = _single(Product(transposed=True, name=f"{name}_scores"))
    if kinds or causal:
        parts["masked"] = _single(MaskedScores(kinds, causal, name=f"{name}_masked"))
    parts["softmax"] = _single(layers.Softmax(name=f"{name}_softmax"))
    if layer.dropout and "masked" in parts:  # with dropout, Keras gives weight to no key where all keys are masked
        parts["masked_weights"] = _single(MaskedScores(kinds, causal, low=0.0, name=f"{name}_kept"))
    if layer.dropout:
        parts["dropout"] = _single(layers.Dropout(layer.dropout, name=f"{name}_dropout"))
    parts["context"] = _single(Product(name=f"{name}_context"))
    joined = _single(layers.Permute((2, 1, 3), name=f"{name}_context_joined"))
    shape = (None, query.shape[1], heads, layer.value_dim)
    parts["output"] = chain(joined, dense(layer.output_dense, f"{name}_output", shape, contracted=2))

    def call(layers_in_order: list, args: tuple, kwargs: dict) -> Any:
        run = _runner(parts, layers_in_order)
        arguments = _arguments(layer, args, kwargs)
        query, key, value = arguments["query"], arguments.get("key"), arguments["value"]
        scores = run("scores", [run("scaled", run("query", query)), run("key", value if key is None else key)])
        masks = [arguments[key] for key in MASKS if arguments.get(key) is not None]
        scores = run("masked", [scores, *masks] if masks else scores)
        weights = run("softmax", scores)
        if "masked_weights" in parts:
            weights = run("masked_weights", [weights, *masks] if masks else weights)
        weights = run("dropout", weights)
        return run("output", run("context", [weights, run("value", value)]))

    return [each for part in parts.values() for each in part.layers], call


def _runner(parts: dict[str, Decomposition], layers_in_order: list) -> Callable[[str, Any], Any]:
    """Returns a function that runs a part by name on a tensor; a part that the layer lacks leaves it as it is."""
    starts, start = {}, 0
    for key, part in parts.items():
        starts[key], start = start, start + len(part.layers)

    def run(key: str, x: Any) -> Any:
        return parts[key].call(layers_in_order[starts[key] :], x) if key in parts else x

    return run


def _single(layer: tf_keras.layers.Layer) -> Decomposition:
    return Decomposition([layer], lambda layers, x: layers[0](x))


def _heads(layer: keras.layers.MultiHeadAttention, name: str, key: str, shape: tuple) -> Decomposition:
    projection = dense(getattr(layer, f"{key}_dense"), f"{name}_{key}", shape, contracted=1)
    return chain(projection, _single(layers.Permute((2, 1, 3), name=f"{name}_{key}_heads")))


def _arguments(layer: keras.layers.Layer, args: tuple, kwargs: dict) -> dict[str, Any]:
    arguments = inspect.signature(layer.call).bind(*args, **kwargs).arguments
    return {key: value for key, value in arguments.items() if value is not None}


def _check(layer: keras.layers.MultiHeadAttention, arguments: dict[str, Any]) -> None:
    config = layer.get_config()
    plain = not config.get("use_gate") and config.get("sliding_window") is None
    ranks = {len(arguments[key].shape) for key in ("query", "key", "value") if key in arguments}
    if not plain or ranks != {3} or arguments.get("return_attention_scores") or layer.output_dense is None:
        raise NoCounterpart("attention of another form than (B, T, D) to (B, T, D)")
    if len(layer.output_dense.kernel.shape) != 3:
        raise NoCounterpart("attention with an output of several axes")
