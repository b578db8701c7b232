"""Scores of continuations: the log-probability of each token behind a prompt."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks

from .decoders import Decoder
from .generation import checked_prompts, decoder_of, refuse_longer, refuse_unknown
from .token_ids import int32_ids


def continuation_scores(model: keras.Model | Decoder, prompts: Any, continuations: Any) -> np.ndarray:
    """Returns the log-probability of each token of continuations, such as those that `generate` wrote.

    The sum of a row is the score by which a beam search without length penalty chooses. The padding, 0, has no
    probability, as in `generate`.

    Args:
        model: as in `generate`.
        prompts: as in `generate`.
        continuations: (B, L) token ids behind the prompts, 0 behind the last one.

    Returns:
        (B, L) float32, 0 at the padding; exp(-mean) of a row's tokens is its perplexity.

    Raises:
        ArgumentError: prompts and continuations do not fit, or the model has another form or too few positions.

    Example:
        >>> network = kerasdl.build("gru_language_model", length=None, vocabulary=9, embedding=4, units=4, depth=1)
        >>> continuation_scores(network, [[3, 5]], generate(network, [[3, 5]], 6)).shape
        (1, 6)
    """
    tokens, texts = checked_prompts(prompts), np.asarray(continuations)
    if texts.ndim != 2 or texts.dtype.kind not in "iu" or len(texts) != len(tokens) or not texts.size:
        checks.refuse("continuations must be token ids (B, L), one row a prompt", (texts.shape, str(texts.dtype)))
    texts, length = int32_ids(texts), texts.shape[1]
    is_real = np.cumsum(texts == 0, axis=1) == 0
    if (texts < 0).any() or (is_real != (texts != 0)).any():
        checks.refuse("continuations must be ids of 1 or more, with 0 behind them alone", texts[:1].tolist())
    refuse_longer(model, tokens.shape[1] + length)
    refuse_unknown(model, tokens)
    refuse_unknown(model, texts, "continuations")
    decoder = model if isinstance(model, Decoder) else decoder_of(model, length, True)

    @tf.function(autograph=False)
    def run(prompts: Any, texts: Any) -> Any:
        places = ops.sum(ops.cast(prompts != 0, "int32"), axis=1) - 1
        last = ops.take_along_axis(prompts, places[:, None], axis=1)[:, 0]

        def advance(number: Any, tokens: Any, state: Any, scores: Any) -> tuple:
            logits, state = decoder.step(tokens, state)
            logits = ops.where(ops.arange(logits.shape[-1]) == 0, float("-inf"), ops.cast(logits, "float32"))
            new = ops.take(texts, number, axis=1)
            chances = ops.take_along_axis(ops.log_softmax(logits), new[:, None], axis=1)[:, 0]
            is_here = ops.arange(length) == number
            return number + 1, new, state, ops.where(is_here, chances[:, None], scores)

        begin = (0, last, decoder.start(prompts), ops.zeros(ops.shape(texts), "float32"))
        return ops.while_loop(lambda number, *_: number < length, advance, begin)[3]

    return np.where(is_real, run(tf.constant(tokens), tf.constant(texts)).numpy(), np.float32(0.0))
