"""Rules of writing around a decoder: repetition, n-grams that come once, and grammars of allowed tokens.

A rule reads the text so far and changes the logits of the next token. The text becomes a part of the decoder's state,
so that draws and beams follow the rules alike.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from kerasdl.core import checks
from kerasdl.ops import no_repeat_ngrams, repetition_penalty

from .decoders import Decoder

BEFORE = -1
"""State of a grammar before the first written token."""


def ruled_decoder(
    decoder: Decoder,
    length: int,
    *,
    penalty: float = 1.0,
    ngram: int | None = None,
    allowed: Any = None,
) -> Decoder:
    """Returns a decoder that follows rules.

    Args:
        decoder: the decoder of a model.
        length: tokens that are written at most.
        penalty: as in `kerasdl.ops.repetition_penalty`, over prompt and written tokens.
        ngram: as `size` in `kerasdl.ops.no_repeat_ngrams`.
        allowed: as in `generate`: a function, or a table as `checked_grammar` returns it.
    """

    def start(prompts: Any, counts: Any) -> Any:
        prompts, counts = (ops.cast(ops.convert_to_tensor(each), "int32") for each in (prompts, counts))
        text = ops.pad(prompts, ((0, 0), (0, length)))
        return {
            "inner": decoder.start(prompts, counts),
            "text": text,
            "counts": counts - 1,
            "rule": counts * 0 + BEFORE,
        }

    def step(tokens: Any, state: Any) -> tuple[Any, Any]:
        tokens, counts = ops.cast(ops.convert_to_tensor(tokens), "int32"), state["counts"]
        logits, inner = decoder.step(tokens, state["inner"])
        is_here = ops.arange(ops.shape(state["text"])[1])[None] == counts[:, None]
        text = ops.where(is_here, tokens[:, None], state["text"])
        counts, rule = counts + 1, state["rule"]
        if penalty != 1.0:
            logits = repetition_penalty(logits, text, penalty, counts)
        if ngram is not None:
            logits = no_repeat_ngrams(logits, text, counts, ngram)
        if callable(allowed):
            logits = _only(logits, ops.convert_to_tensor(allowed(text, counts)))
        elif allowed is not None:
            table = ops.convert_to_tensor(allowed)
            if table.shape[1] != logits.shape[-1]:
                checks.refuse(f"allowed must have a column for each of {logits.shape[-1]} tokens", tuple(table.shape))
            following = ops.take(ops.reshape(table, (-1,)), ops.maximum(rule, 0) * table.shape[1] + tokens)
            rule = ops.where(rule == BEFORE, 0, ops.maximum(following, 0))
            logits = _only(logits, ops.take(table, rule, axis=0) >= 0)
        return logits, {"inner": inner, "text": text, "counts": counts, "rule": rule}

    return Decoder(start, step)


def _only(logits: Any, is_allowed: Any) -> Any:
    is_allowed = ops.reshape(is_allowed, (-1, logits.shape[-1]))  # loops forget a function's sizes
    return ops.where(is_allowed, logits, ops.cast(float("-inf"), logits.dtype))


def checked_grammar(allowed: Any) -> Callable | np.ndarray | None:
    """Returns a function as it is, and a table of following states as int32 (S, V).

    Raises:
        ArgumentError: the table has another form, or names a state that it has not.
    """
    if allowed is None or callable(allowed):
        return allowed
    table = np.asarray(allowed)
    if table.ndim != 2 or table.dtype.kind not in "iu" or not table.size:
        rule = "allowed must be a function, or a table of whole numbers, states by tokens"
        checks.refuse(rule, (table.shape, str(table.dtype)))
    if table.max() >= len(table) or table.min() < -1:
        rule = f"allowed must name states from 0 to {len(table) - 1}, or -1 for a token that is not allowed"
        checks.refuse(rule, (int(table.min()), int(table.max())))
    return table.astype("int32")
