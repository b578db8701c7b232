"""Masked tokens: what BERT learns to fill in, drawn by token, by whole word or by span; a map for tf.data.

Sources: BERT, https://arxiv.org/abs/1810.04805, section 3.1; spans: SpanBERT, https://arxiv.org/abs/1907.10529, section
3.1. Whole words are an option of BERT's authors that came later, in their code.

Deviations: spans are parts of a row that is cut at random, each with the chance of a geometric length, while SpanBERT
draws a length and then a place; so they do not overlap, and none is longer than the row.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks

IGNORED = -1
SPECIAL = (0, 1, 2, 3, 4)
"""Ids of a tokenizer of `train_tokenizer` with one further special token, the mask."""


def hide_tokens(
    tokens: Any,
    seed: Any,
    *,
    vocabulary: int,
    mask: int = 4,
    special: Sequence[int] = SPECIAL,
    rate: float = 0.15,
    continuing: Sequence[int] = (),
    mean_span: float = 1.0,
    masked: float = 0.8,
    random: float = 0.1,
) -> tuple[tf.Tensor, tf.Tensor]:
    """BERT's masks: of each row a share of the tokens is drawn, and they alone are to be answered.

    Of the drawn tokens 80 % become the mask, 10 % a random token, and 10 % stay, by default. The function is a map for
    tf.data, the same for equal seeds: a further epoch takes another seed.

    Source: https://arxiv.org/abs/1810.04805, section 3.1; spans: https://arxiv.org/abs/1907.10529, section 3.1.

    Args:
        tokens: (T,) or (B, T) integers, padding included.
        seed: int32 (2,).
        vocabulary: V; random tokens are below it and not special.
        mask: id of the mask.
        special: ids that are never drawn, those of padding, ends and mask.
        rate: share of the tokens that are not special, above 0 and below 1. It is exact, rounded, for single tokens;
            with words and spans the one at the border is drawn if the greater part of it belongs to the share. One
            token, word or span is drawn at least.
        continuing: ids of pieces that go on with the word before them, which is drawn whole; see `continuing_pieces`
            of `kerasdl.sequence`. Empty draws single tokens.
        mean_span: mean length of a span in tokens, or in words; above 1 the tokens of a span become masks, random or
            stay together. SpanBERT's is 3.8.
        masked: share of the drawn tokens that become the mask, from 0 to 1; ELECTRA's is 1.
        random: share of them that become random tokens, from 0 to 1; the rest stays as it is.

    Returns:
        Tokens with masks, and labels: the drawn tokens at their places, -1 elsewhere; int32 of the shape of `tokens`.

    Raises:
        ArgumentError: an argument breaks its range, or all ids are special.

    Example:
        >>> masked, labels = hide_tokens([2, 7, 8, 9, 3, 0], (0, 0), vocabulary=10, rate=0.34)
        >>> int((labels.numpy() >= 0).sum())
        1
    """
    usual = _checked(tokens, vocabulary, mask, special, rate, mean_span)
    checks.within("masked", masked, 0.0, 1.0)
    checks.within("random", random, 0.0, 1.0 - masked + 1e-9)
    tokens = tf.cast(tf.convert_to_tensor(tokens), tf.int32)
    rows = tokens[None] if tokens.shape.rank == 1 else tokens
    counts = _members(rows, usual, vocabulary)
    draws = tf.random.stateless_uniform(tf.concat([[4], tf.shape(rows)], axis=0), tf.convert_to_tensor(seed, tf.int32))
    units = _units(counts, _members(rows, continuing, vocabulary), draws[0] < 1 / mean_span)
    chosen = tf.gather(_drawn(units, counts, draws[1], rate), units, batch_dims=1) & counts
    action = tf.gather(draws[2], units, batch_dims=1) if mean_span > 1 else draws[2]
    place = tf.cast(draws[3] * len(usual), tf.int32)
    others = tf.gather(tf.constant(usual, tf.int32), tf.minimum(place, len(usual) - 1))
    changed = tf.where(action < masked, mask, tf.where(action < masked + random, others, rows))
    results = tf.where(chosen, changed, rows), tf.where(chosen, rows, IGNORED)
    return tuple(tf.reshape(each, tf.shape(tokens)) for each in results)


def _checked(
    tokens: Any, vocabulary: int, mask: int, special: Sequence[int], rate: float, mean_span: float
) -> np.ndarray:
    """Returns the ids that are not special."""
    if len(np.shape(tokens)) not in (1, 2):
        checks.refuse("tokens must be a row (T,) or rows (B, T)", np.shape(tokens))
    checks.at_least("vocabulary", vocabulary, 1)
    checks.within("mask", mask, 0, vocabulary - 1)
    checks.within("rate", rate, 1e-6, 1 - 1e-6)
    checks.within("mean_span", mean_span, 1.0, 1e6)
    usual = np.setdiff1d(np.arange(vocabulary), np.asarray(special, np.int64))
    if not usual.size:
        checks.refuse(f"of the {vocabulary} ids one at least must not be special", list(special))
    return usual


def _members(rows: tf.Tensor, ids: Sequence[int], vocabulary: int) -> tf.Tensor:
    """Returns booleans of the shape of rows, true where a token is one of the ids."""
    table = np.zeros(vocabulary, bool)
    table[np.asarray(ids, np.int64)] = True
    return tf.gather(tf.constant(table), rows)


def _units(counts: tf.Tensor, continues: tf.Tensor, cuts: tf.Tensor) -> tf.Tensor:
    """Returns the number of the unit of each place (B, T): a word, or a span of words between random cuts."""
    follows = tf.pad(counts, [[0, 0], [1, 0]])[:, :-1]  # whether a token that counts stands before
    begins = tf.logical_not(counts & follows) | (cuts & tf.logical_not(continues))
    return tf.cumsum(tf.cast(begins, tf.int32), axis=1) - 1


def _drawn(units: tf.Tensor, counts: tf.Tensor, ranks: tf.Tensor, rate: float) -> tf.Tensor:
    """Returns booleans (B, T) of the units, in the order of their ranks, that make up the share of the tokens."""
    sizes = tf.reduce_sum(tf.one_hot(units, tf.shape(units)[1]) * tf.cast(counts, tf.float32)[..., None], axis=1)
    order = tf.argsort(tf.where(sizes > 0, ranks, 2.0), axis=1)
    sizes = tf.gather(sizes, order, batch_dims=1)
    before = tf.cumsum(sizes, axis=1, exclusive=True)
    share = tf.round(rate * tf.reduce_sum(sizes, axis=1, keepdims=True))
    taken = (sizes > 0) & ((before + sizes / 2 <= share) | (before == 0))
    return tf.gather(taken, tf.argsort(order, axis=1), batch_dims=1)
