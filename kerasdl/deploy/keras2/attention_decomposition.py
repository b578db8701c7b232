"""Multi-head attention as tf_keras layers of one operation each."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import tf_keras

from .counterparts import NoTwin
from .custom_layers import MaskedScores, Product
from .decomposition import Piece, chain, dense

layers = tf_keras.layers
MASKS = {"query_mask": "query", "value_mask": "key", "key_mask": "key", "attention_mask": "attention"}


def split_attention(
    layer: keras.layers.MultiHeadAttention, name: str, args: tuple, kwargs: dict
) -> tuple[list[tf_keras.layers.Layer], Callable[[list, tuple, dict], Any]]:
    """Returns the parts of an attention layer over sequences (B, T, D), in the order of its weights, and their call.

    They are `<name>_query`, `_key` and `_value`, each projected, parted into heads (B, N, T, H), then `_scaled`,
    `_scores`, `_masked` where there is a mask, `_softmax`, `_kept` too where there is dropout,
    `_context` and `_output`.

    Raises:
        NoTwin: the layer is of another form, or returns its scores.
    """
    given = _arguments(layer, args, kwargs)
    _check(layer, given)
    kinds = tuple(MASKS[key] for key in MASKS if given.get(key) is not None)
    causal = bool(given.get("use_causal_mask"))
    heads, width = layer.num_heads, layer.key_dim
    sources = {"query": given["query"], "key": given.get("key", given["value"]), "value": given["value"]}
    parts = {key: _heads(layer, name, key, source.shape) for key, source in sources.items()}
    parts["scaled"] = _of(layers.Rescaling(width**-0.5, name=f"{name}_scaled"))
    parts["scores"] = _of(Product(transposed=True, name=f"{name}_scores"))
    if kinds or causal:
        parts["masked"] = _of(MaskedScores(kinds, causal, name=f"{name}_masked"))
    parts["softmax"] = _of(layers.Softmax(name=f"{name}_softmax"))
    if layer.dropout and "masked" in parts:  # then, and only then, Keras looks nowhere where everything is masked
        parts["kept"] = _of(MaskedScores(kinds, causal, low=0.0, name=f"{name}_kept"))
    if layer.dropout:
        parts["dropout"] = _of(layers.Dropout(layer.dropout, name=f"{name}_dropout"))
    parts["context"] = _of(Product(name=f"{name}_context"))
    joined = _of(layers.Permute((2, 1, 3), name=f"{name}_context_joined"))
    shape = (None, sources["query"].shape[1], heads, layer.value_dim)
    parts["output"] = chain(joined, dense(layer.output_dense, f"{name}_output", shape, contracted=2))

    def call(made: list, args: tuple, kwargs: dict) -> Any:
        run = _runner(parts, made)
        given = _arguments(layer, args, kwargs)
        query, key, value = given["query"], given.get("key"), given["value"]
        scores = run("scores", [run("scaled", run("query", query)), run("key", value if key is None else key)])
        masks = [given[key] for key in MASKS if given.get(key) is not None]
        scores = run("masked", [scores, *masks] if masks else scores)
        weights = run("softmax", scores)
        if "kept" in parts:
            weights = run("kept", [weights, *masks] if masks else weights)
        weights = run("dropout", weights)
        return run("output", run("context", [weights, run("value", value)]))

    return [each for part in parts.values() for each in part.layers], call


def _runner(parts: dict[str, Piece], made: list) -> Callable[[str, Any], Any]:
    starts, start = {}, 0
    for key, part in parts.items():
        starts[key], start = start, start + len(part.layers)

    def run(key: str, x: Any) -> Any:
        return parts[key].call(made[starts[key] :], x) if key in parts else x

    return run


def _of(layer: tf_keras.layers.Layer) -> Piece:
    return Piece([layer], lambda made, x: made[0](x))


def _heads(layer: keras.layers.MultiHeadAttention, name: str, key: str, shape: tuple) -> Piece:
    projection = dense(getattr(layer, f"{key}_dense"), f"{name}_{key}", shape, contracted=1)
    return chain(projection, _of(layers.Permute((2, 1, 3), name=f"{name}_{key}_heads")))


def _arguments(layer: keras.layers.Layer, args: tuple, kwargs: dict) -> dict[str, Any]:
    given = inspect.signature(layer.call).bind(*args, **kwargs).arguments
    return {key: value for key, value in given.items() if value is not None}


def _check(layer: keras.layers.MultiHeadAttention, given: dict[str, Any]) -> None:
    config = layer.get_config()
    plain = not config.get("use_gate") and config.get("sliding_window") is None
    ranks = {len(given[key].shape) for key in ("query", "key", "value") if key in given}
    if not plain or ranks != {3} or given.get("return_attention_scores") or layer.output_dense is None:
        raise NoTwin("attention of another form than (B, T, D) to (B, T, D)")
    if len(layer.output_dense.kernel.shape) != 3:
        raise NoTwin("attention with an output of several axes")
