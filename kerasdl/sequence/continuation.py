"""Scores of continuations: the log-probability of each token behind a prompt."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks

from .decoders import Decoder
from .generation import checked_prompts, decoder_of, padding_for, refuse_longer, refuse_unknown, without_token
from .token_ids import NO_TOKEN, padded_ids


def continuation_scores(
    model: keras.Model | Decoder, prompts: Any, continuations: Any, *, padding_id: int | None = None
) -> np.ndarray:
    """Returns the log-probability of each token of continuations, such as those that `generate` wrote.

    The sum of a row is the score by which a beam search without length penalty chooses. The padding has no
    probability, as in `generate`.

    Args:
        model: as in `generate`.
        prompts: as in `generate`.
        continuations: (B, L) token ids behind the prompts, the padding behind the last one.
        padding_id: as in `generate`; without one, continuations that end with 0 are refused too.

    Returns:
        (B, L) float32, 0 at the padding; exp(-mean) of a row's tokens is its perplexity.

    Raises:
        ArgumentError: prompts and continuations do not fit, or the model has another form or too few positions.

    Example:
        >>> network = kerasdl.build("gru_language_model", length=None, vocabulary=9, embedding=4, units=4, depth=1)
        >>> continuation_scores(network, [[3, 5]], generate(network, [[3, 5]], 6), padding_id=-1).shape
        (1, 6)
    """
    padding_id = padding_for(model, padding_id)
    (tokens, counts), texts = checked_prompts(prompts, padding_id), np.asarray(continuations)
    if texts.ndim != 2 or texts.dtype.kind not in "iu" or len(texts) != len(tokens) or not texts.size:
        checks.refuse("continuations must be token ids (B, L), one row a prompt", (texts.shape, str(texts.dtype)))
    texts, written = padded_ids(texts, padding_id, "continuations")
    length, padding = texts.shape[1], NO_TOKEN if padding_id is None else padding_id
    refuse_longer(model, tokens.shape[1] + length)
    refuse_unknown(model, tokens)
    refuse_unknown(model, texts, "continuations")
    decoder = model if isinstance(model, Decoder) else decoder_of(model, length, True)

    @tf.function(autograph=False)
    def run(prompts: Any, counts: Any, texts: Any) -> Any:
        last = ops.take_along_axis(prompts, counts[:, None] - 1, axis=1)[:, 0]

        def advance(number: Any, tokens: Any, state: Any, scores: Any) -> tuple:
            logits, state = decoder.step(tokens, state)
            logits = without_token(ops.cast(logits, "float32"), padding)
            new = ops.take(texts, number, axis=1)
            chances = ops.take_along_axis(ops.log_softmax(logits), new[:, None], axis=1)[:, 0]
            is_here = ops.arange(length) == number
            return number + 1, new, state, ops.where(is_here, chances[:, None], scores)

        begin = (0, last, decoder.start(prompts, counts), ops.zeros(ops.shape(texts), "float32"))
        return ops.while_loop(lambda number, *_: number < length, advance, begin)[3]

    scores = run(tf.constant(tokens), tf.constant(counts), tf.constant(texts)).numpy()
    return np.where(np.arange(length) < written[:, None], scores, np.float32(0.0))
