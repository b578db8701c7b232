"""Contrastive search: of the likeliest tokens the one whose vector is least like those of the text so far.

Source: https://arxiv.org/abs/2202.06417, section 4 and equation 5.

Deviations: where the likeliest tokens have equal values, the likelier one is taken; rules and draws are not supported.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.core.keras_graph import replay

from .decoders import Decoder
from .generation import (
    BROKEN,
    check_end,
    checked_prompts,
    decoder_of,
    padding_for,
    refuse_longer,
    refuse_unknown,
    without_token,
)
from .token_ids import NO_TOKEN

SMALLEST = 1e-12


def contrastive_generate(
    model: keras.Model,
    prompts: Any,
    length: int,
    *,
    top_k: int = 4,
    alpha: float = 0.6,
    end: int | None = None,
    padding_id: int | None = None,
) -> np.ndarray:
    """Returns the tokens that contrastive search writes behind prompts, without draws.

    Each of the `top_k` likeliest tokens has the value (1 - alpha) p - alpha s, with its probability p and the largest
    cosine s of its vector with that of a token before it, prompt included. The best one is written. Vectors are what
    the last layer of the model reads.

    Source: https://arxiv.org/abs/2202.06417, equation 5.

    Args:
        model: a language model of recurrent layers or of causal attention, whose logits are one layer's output.
        prompts: as in `kerasdl.sequence.generate`.
        length: tokens to write, 1 or more.
        top_k: k, from 1, which is greedy, to the number of tokens.
        alpha: weight of the cosine, from 0, which is greedy, to 1.
        end: token behind which nothing is written; None for none.
        padding_id: as in `kerasdl.sequence.generate`.

    Returns:
        (B, length) int32 tokens behind each prompt, the end token included and the padding behind it.

    Raises:
        ArgumentError: an argument breaks its rule, the model has another form or logits that are not finite, or a text
            would be longer than its positions.

    Example:
        >>> network = kerasdl.build("gpt2_small", **kerasdl.spec("gpt2_small").tiny)
        >>> contrastive_generate(network, [[3, 5], [4]], 6).shape
        (2, 6)
    """
    if not isinstance(model, keras.Model):
        rule = "contrastive search must have a model, whose vectors it reads"
        checks.refuse(rule, type(model).__name__, "Decoders of functions go to generate.")
    checks.at_least("length", length, 1)
    checks.within("alpha", alpha, 0.0, 1.0)
    decoder_of(model, length, False)  # which refuses models that cannot write
    size = model.outputs[0].shape[-1]
    if checks.at_least("top_k", top_k, 1) > size:
        checks.refuse(f"top_k must be at most the number of tokens {size}", top_k)
    padding_id = padding_for(model, padding_id)
    check_end(end, padding_id)
    if end is not None and end >= size:
        checks.refuse(f"end must be below the number of tokens {size}", end)
    tokens, counts = checked_prompts(prompts, padding_id)
    refuse_longer(model, tokens.shape[1] + length)
    refuse_unknown(model, tokens)
    features, head = _halves(model)
    decoder = decoder_of(features, length, False)
    settings = {"length": length, "top_k": top_k, "alpha": alpha, "end": end}
    settings["padding"] = NO_TOKEN if padding_id is None else padding_id
    write = tf.function(functools.partial(_write, features, head, decoder, settings), autograph=False)
    written = write(tf.constant(tokens), tf.constant(counts)).numpy()
    if (written == BROKEN).any():
        checks.refuse("logits of a model that writes must be finite", "NaN or infinite ones", "Look at its training.")
    return written


def _halves(model: keras.Model) -> tuple[keras.Model, Callable[[Any], Any]]:
    """Returns a model of the vectors that the last layer reads, and that layer as a function of vectors (B, T, D)."""
    layer = model.outputs[0]._keras_history.operation  # no public name in Keras
    made = {id(tensor): node for node in layer._inbound_nodes for tensor in node.outputs}
    node = made[id(model.outputs[0])]
    if len(node.input_tensors) != 1 or len(node.input_tensors[0].shape) != 3:
        checks.refuse("the last layer of a model for contrastive search must read vectors (B, T, D)", layer.name)
    features = keras.Model(model.inputs, node.input_tensors[0], name=model.name)
    return features, functools.partial(layer, **node.arguments.kwargs)


def _itself(operation: keras.Operation) -> keras.Operation:
    return operation


def _write(
    features: keras.Model,
    head: Callable[[Any], Any],
    decoder: Decoder,
    settings: dict[str, Any],
    prompts: Any,
    counts: Any,
) -> Any:
    """Runs until each text is over: `vectors` holds those of its tokens one behind the other, and zeros behind."""
    length, width = settings["length"], settings["top_k"]
    batch, places = ops.shape(prompts)[0], ops.shape(prompts)[1]
    is_read = ops.arange(places, dtype="int32")[None] < counts[:, None]
    vectors = _unit(replay(features, [prompts], _itself)) * ops.cast(is_read, "float32")[..., None]
    vectors = ops.pad(vectors, ((0, 0), (0, length), (0, 0)))  # (B, P + L, D)
    last = ops.take_along_axis(prompts, counts[:, None] - 1, axis=1)[:, 0]
    vector, state = decoder.step(last, decoder.start(prompts, counts))
    written = ops.full((batch, length), settings["padding"], "int32")
    begin = (0, vector, state, vectors, counts, written, ops.zeros_like(last) > 0)

    def goes_on(number, vector, state, vectors, filled, written, is_over):
        return ops.logical_and(number < length, ops.logical_not(ops.all(is_over)))

    def advance(number, vector, state, vectors, filled, written, is_over):
        logits = head(vector[:, None])[:, 0]
        is_finite = ops.all(ops.isfinite(logits), axis=-1)
        chances = ops.softmax(without_token(ops.cast(logits, "float32"), settings["padding"]), axis=-1)
        chances, tokens = ops.top_k(chances, width)  # (B, k)
        branches = keras.tree.map_structure(lambda each: ops.repeat(each, width, axis=0), state)
        following, after = decoder.step(ops.reshape(tokens, (-1,)), branches)
        units = ops.reshape(_unit(following), (batch, width, following.shape[-1]))
        is_before = ops.arange(places + length, dtype="int32")[None] < filled[:, None]
        cosines = ops.einsum("bkd,bpd->bkp", units, vectors)
        likeness = ops.max(ops.where(is_before[:, None], cosines, -1.0), axis=-1)  # (B, k)
        values = (1.0 - settings["alpha"]) * chances - settings["alpha"] * likeness
        values = ops.where(chances > 0, values, float("-inf"))  # such as the padding
        best = ops.cast(ops.argmax(values, axis=-1), "int32")
        rows = best + width * ops.arange(batch, dtype="int32")
        state = keras.tree.map_structure(lambda each: ops.take(each, rows, axis=0), after)
        new = ops.cast(ops.take_along_axis(tokens, best[:, None], axis=1)[:, 0], "int32")
        unit = ops.take_along_axis(units, best[:, None, None], axis=1)  # (B, 1, D)
        is_here = ops.arange(places + length, dtype="int32")[None] == filled[:, None]
        vectors = ops.where(is_here[..., None], unit, vectors)
        new = ops.where(is_over, settings["padding"], ops.where(is_finite, new, BROKEN))
        written = ops.where(ops.arange(length) == number, new[:, None], written)
        is_over = ops.logical_or(is_over, new == BROKEN)
        if settings["end"] is not None:
            is_over = ops.logical_or(is_over, new == settings["end"])
        return number + 1, ops.take(following, rows, axis=0), state, vectors, filled + 1, written, is_over

    return ops.while_loop(goes_on, advance, begin)[5]


def _unit(vectors: Any) -> Any:
    """Returns vectors (..., D) of length 1 in float32."""
    vectors = ops.cast(vectors, "float32")
    length = ops.sqrt(ops.sum(ops.square(vectors), axis=-1, keepdims=True))
    return vectors / ops.maximum(length, SMALLEST)
