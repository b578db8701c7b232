"""Speculative decoding: a small model drafts tokens, the large one checks them all at once, and writes its own tokens.

Source: https://arxiv.org/abs/2211.17192, section 2, for greedy decoding: a draft is kept as far as it is what the large
model writes by itself.

Deviations: draws are not supported; each text of a batch keeps its own number of drafted tokens.
"""

import functools
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks

from .generation import check_end, checked_prompts, padding_for, refuse_longer, refuse_unknown, without_token
from .token_ids import NO_TOKEN
from .transformer.cached_decoding import cached_attentions, cached_decoder, overwrite_rows, run_with_cache


class Speculation(NamedTuple):
    """Tokens of speculative decoding, and the passes that they took."""

    tokens: np.ndarray
    """(B, length) int32 tokens behind each prompt, the end token included and the padding behind it."""
    passes: int
    """Passes through the large model; plain decoding takes one for each token of the longest text."""


def speculative_generate(
    model: keras.Model,
    draft: keras.Model,
    prompts: Any,
    length: int,
    *,
    ahead: int = 4,
    end: int | None = None,
    padding_id: int | None = None,
) -> Speculation:
    """Returns the tokens that `generate` writes with `temperature=0`, in fewer passes through the model.

    Where the two likeliest tokens are within rounding of each other, the tokens may differ from those of `generate`.

    Source: https://arxiv.org/abs/2211.17192, section 2, algorithm 1.

    Args:
        model: a language model of causal attention.
        draft: a smaller one over the same tokens.
        prompts: as in `generate`.
        length: tokens to write, 1 or more.
        ahead: tokens that are drafted for each pass through the model, 1 or more.
        end: token behind which nothing is written; None for none.
        padding_id: as in `generate`.

    Returns:
        A `Speculation`.

    Raises:
        ArgumentError: an argument breaks its rule, a model has another form or logits that are not finite, or a text
            would be longer than its positions.

    Example:
        >>> network = kerasdl.build("gpt2_small", **kerasdl.spec("gpt2_small").tiny)
        >>> speculative_generate(network, network, [[3, 5], [4]], 6, ahead=2).passes
        2
    """
    checks.at_least("length", length, 1)
    checks.at_least("ahead", ahead, 1)
    padding_id = padding_for(draft, padding_for(model, padding_id))
    check_end(end, padding_id)
    sizes = [each.outputs[0].shape[-1] for each in (model, draft) if cached_attentions(each)]
    if sizes[0] != sizes[1]:
        checks.refuse("model and draft must have the same tokens", tuple(sizes))
    if end is not None and end >= sizes[0]:
        checks.refuse(f"end must be below the number of tokens {sizes[0]}", end)
    tokens, filled = checked_prompts(prompts, padding_id)
    padding = NO_TOKEN if padding_id is None else padding_id
    for each in (model, draft):
        refuse_longer(each, tokens.shape[1] + length)
        refuse_unknown(each, tokens)
    write = tf.function(functools.partial(_write, model, draft, length, ahead, padding), autograph=False)
    written, passes, is_finite = write(tf.constant(tokens), tf.constant(filled))
    if not is_finite:
        checks.refuse("logits of a model that writes must be finite", "NaN or infinite ones", "Look at its training.")
    written = written.numpy()
    if end is not None:
        ends = np.cumsum(written == end, axis=1) - (written == end)
        written = np.where(ends > 0, padding, written)
    return Speculation(written, int(passes))


def _write(
    model: keras.Model, draft: keras.Model, length: int, ahead: int, padding: int, prompts: Any, counts: Any
) -> tuple:
    """Runs until each text has its tokens; a text has `filled` tokens in the caches, and `last` is the next one."""
    room, batch = length + ahead, ops.shape(prompts)[0]
    starts = [cached_decoder(each, room, overwrite_rows).start(prompts, counts) for each in (model, draft)]
    filled = starts[0]["filled"]
    last = ops.take_along_axis(prompts, filled[:, None], axis=1)[:, 0]
    written = ops.zeros((batch, length + ahead + 1), "int32")
    begin = (0, starts[0]["caches"], starts[1]["caches"], filled, last, filled * 0, written, True)

    def goes_on(passes, caches, drafted, filled, last, counts, written, is_finite):
        return ops.logical_and(ops.any(counts < length), is_finite)

    def advance(passes, caches, drafted, filled, last, counts, written, is_finite):
        proposed = [last]
        for place in range(ahead + 1):  # once more, so that the draft has read its last token
            logits, drafted = _read(draft, proposed[-1][:, None], filled + place, drafted)
            proposed.append(_likeliest(logits, padding)[:, 0])
        text = ops.stack(proposed[: ahead + 1], axis=1)  # (B, 1 + ahead)
        logits, caches = _read(model, text, filled, caches)
        own = _likeliest(logits, padding)
        is_kept = ops.cumprod(ops.cast(text[:, 1:] == own[:, :-1], "int32"), axis=1)
        new = ops.where(counts < length, ops.sum(is_kept, axis=1) + 1, 0)
        places = counts[:, None] + ops.arange(ahead + 1)[None]  # what is behind the kept ones is written again
        at = ops.stack([ops.arange(batch)[:, None] + ops.zeros_like(places), places], axis=-1)
        written_own = tf.tensor_scatter_nd_update(written, at, own)
        written = ops.where(counts[:, None] < length, written_own, written)
        last = ops.where(new > 0, ops.take_along_axis(own, ops.maximum(new - 1, 0)[:, None], axis=1)[:, 0], last)
        counts = ops.minimum(counts + new, length)
        is_finite = ops.logical_and(is_finite, ops.all(ops.isfinite(logits)))
        return passes + 1, caches, drafted, filled + new, last, counts, written, is_finite

    passes, *_, written, is_finite = ops.while_loop(goes_on, advance, begin)
    return written[:, :length], passes, is_finite


def _read(model: keras.Model, tokens: Any, filled: Any, caches: Any) -> tuple:
    """Returns the logits of tokens (B, T) behind `filled` (B,) ones, and the caches with them."""
    positions = filled[:, None] + ops.arange(tokens.shape[1], dtype="int32")[None]
    logits, rows = run_with_cache(model, tokens, positions, caches)
    with tf.control_dependencies([logits]):  # each cache has been read before it is written
        written = {
            name: tuple(overwrite_rows(cache, row, filled) for cache, row in zip(caches[name], pair, strict=True))
            for name, pair in rows.items()
        }
    return logits, written


def _likeliest(logits: Any, padding: int) -> Any:
    """Returns the likeliest token (B, T) of logits (B, T, V) that is not the padding."""
    return ops.cast(ops.argmax(without_token(logits, padding), axis=-1), "int32")
