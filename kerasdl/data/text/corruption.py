"""Damage to rows of tokens that a network learns to repair: T5's spans, and the noises of BART; maps for tf.data.

Each map takes the tokens of one row (T,), without padding, and a seed, int32 (2,), and is the same for equal seeds. The
numbers of tokens that a rate stands for are exact, rounded, so that small rates do not leave rows as they are.

Deviations: T5's spans may begin and end a row; in the authors' code the row begins with a kept token and ends with a
span. BART's authors draw infilled spans one after the other over word starts; here they lie anywhere without overlap.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks


def corrupt_spans(
    tokens: Any, seed: Any, *, first_sentinel: int, sentinels: int = 100, rate: float = 0.15, mean_span: float = 3.0
) -> tuple[tf.Tensor, tf.Tensor]:
    """T5's objective: spans are replaced by sentinels, and the answer is each sentinel with what it replaced.

    Source: https://arxiv.org/abs/1910.10683, sections 3.1.4 and 3.3.4.

    Args:
        tokens: (T,) integers, one or more.
        seed: int32 (2,).
        first_sentinel: id of the first span's sentinel; those of later spans count down. T5's is 32099.
        sentinels: ids of sentinels, 2 or more, of which one ends the answer: there are fewer spans.
        rate: share of the tokens that are replaced, above 0 and below 1; one at least, and one stays where there are
            two.
        mean_span: mean length of a span, 1 or more.

    Returns:
        The source and the answer, 1-D tensors.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> source, answer = corrupt_spans(np.arange(10, 20), (0, 0), first_sentinel=99, rate=0.3)
        >>> source.numpy().tolist(), answer.numpy().tolist()
        ([99, 13, 14, 15, 16, 17, 18, 19], [99, 10, 11, 12, 98])
    """
    checks.within("rate", rate, 0.0, 1.0)
    checks.within("mean_span", mean_span, 1.0, 1e6)
    checks.at_least("sentinels", sentinels, 2)
    checks.at_least("first_sentinel", first_sentinel, sentinels - 1)
    tokens, seed = _row(tokens), tf.convert_to_tensor(seed, tf.int32)
    count = tf.size(tokens)
    noise = tf.clip_by_value(_share(count, rate), 1, tf.maximum(count - 1, 1))
    spans = tf.cast(tf.round(tf.cast(noise, tf.float32) / mean_span), tf.int32)
    spans = tf.clip_by_value(spans, 1, tf.minimum(tf.minimum(noise, count - noise + 1), sentinels - 1))
    lengths = _parts(noise, spans, seed)
    ends = tf.one_hot(0, spans + 1, dtype=tf.int32) + tf.one_hot(spans, spans + 1, dtype=tf.int32)
    gaps = _parts(count - noise + 2, spans + 1, seed + 1) - ends  # those at the ends may be empty
    starts = tf.cumsum(gaps)[:-1] + tf.cumsum(lengths, exclusive=True)
    is_start = tf.scatter_nd(starts[:, None], tf.ones_like(starts), [count]) > 0
    is_noise = _covered(count, starts, lengths)
    sentinel = first_sentinel + 1 - tf.cumsum(tf.cast(is_start, tf.int32))
    source = tf.boolean_mask(tf.where(is_start, sentinel, tokens), is_start | ~is_noise)
    both = tf.reshape(tf.stack([sentinel, tokens], axis=1), [-1])
    answer = tf.boolean_mask(both, tf.reshape(tf.stack([is_start, is_noise], axis=1), [-1]))
    return source, tf.concat([answer, [first_sentinel - spans]], axis=0)


def mask_tokens(tokens: Any, seed: Any, *, mask: int, rate: float = 0.15) -> tf.Tensor:
    """BART's token masking: a share of the tokens is replaced by a mask.

    Source: https://arxiv.org/abs/1910.13461, section 2.2.

    Args:
        tokens: (T,) integers, one or more.
        seed: int32 (2,).
        mask: id of the mask.
        rate: share of the tokens, from 0 to 1.

    Returns:
        (T,) int32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> mask_tokens([5, 6, 7, 8], (0, 0), mask=4, rate=0.5).numpy().tolist().count(4)
        2
    """
    checks.at_least("mask", mask, 0)
    tokens = _row(tokens)
    return tf.where(_chosen(tokens, seed, rate), mask, tokens)


def delete_tokens(tokens: Any, seed: Any, *, rate: float = 0.15) -> tf.Tensor:
    """BART's token deletion: a share of the tokens is left out, and nothing shows where.

    Source: https://arxiv.org/abs/1910.13461, section 2.2.

    Args:
        tokens: (T,) integers, one or more.
        seed: int32 (2,).
        rate: share of the tokens, from 0 to 1.

    Returns:
        The tokens that stay, a 1-D tensor.

    Raises:
        ArgumentError: `rate` is outside.

    Example:
        >>> len(delete_tokens([5, 6, 7, 8], (0, 0), rate=0.5))
        2
    """
    tokens = _row(tokens)
    return tf.boolean_mask(tokens, ~_chosen(tokens, seed, rate))


def infill_spans(tokens: Any, seed: Any, *, mask: int, rate: float = 0.3, mean_span: float = 3.0) -> tf.Tensor:
    """BART's text infilling: each span of a length from a Poisson distribution is replaced by one mask.

    A span of length 0 puts a mask between two tokens.

    Source: https://arxiv.org/abs/1910.13461, section 2.2.

    Args:
        tokens: (T,) integers, one or more.
        seed: int32 (2,).
        mask: id of the mask.
        rate: share of the tokens that are replaced, from 0 to 1; the last span is cut to it.
        mean_span: mean of the lengths, above 0.

    Returns:
        Tokens that stay and masks, a 1-D tensor.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> filled = infill_spans(np.arange(10, 20), (0, 0), mask=4).numpy()
        >>> len(filled[filled != 4])
        7
    """
    checks.at_least("mask", mask, 0)
    checks.within("rate", rate, 0.0, 1.0)
    checks.within("mean_span", mean_span, 0.01, 1e6)
    tokens, seed = _row(tokens), tf.convert_to_tensor(seed, tf.int32)
    count = tf.size(tokens)
    noise = _share(count, rate)
    drawn = tf.random.stateless_poisson([_draws(mean_span) * (count + 1)], seed, mean_span, tf.int32)
    before = tf.cumsum(drawn, exclusive=True)
    lengths = tf.minimum(drawn, noise - before)[: tf.reduce_sum(tf.cast(before < noise, tf.int32))]
    spans = tf.size(lengths)
    gaps = _parts(count - tf.reduce_sum(lengths) + spans + 1, spans + 1, seed + 1) - 1  # any of them may be empty
    starts = tf.cumsum(gaps)[:-1] + tf.cumsum(lengths, exclusive=True)
    kept = ~_covered(count, starts, lengths)
    places = tf.concat([2 * starts, 2 * tf.boolean_mask(tf.range(count), kept) + 1], axis=0)
    values = tf.concat([tf.fill([spans], mask), tf.boolean_mask(tokens, kept)], axis=0)
    return tf.gather(values, tf.argsort(places, stable=True))


def permute_sentences(tokens: Any, seed: Any, *, ends: Sequence[int]) -> tf.Tensor:
    """BART's sentence permutation: the sentences of a row in a random order.

    Source: https://arxiv.org/abs/1910.13461, section 2.2.

    Args:
        tokens: (T,) integers, one or more.
        seed: int32 (2,).
        ends: ids of tokens that end a sentence, such as the full stop's; what is behind the last is a sentence too.

    Returns:
        (T,) int32.

    Raises:
        ArgumentError: `ends` is empty.

    Example:
        >>> permute_sentences([5, 6, 9, 7, 9, 8], (0, 1), ends=[9]).numpy().tolist()
        [5, 6, 9, 8, 7, 9]
    """
    checks.at_least("the number of ends", len(ends), 1)
    tokens = _row(tokens)
    is_end = tf.reduce_any(tokens[:, None] == tf.constant(list(ends), tf.int32), axis=1)
    numbers = tf.cumsum(tf.cast(is_end, tf.int32), exclusive=True)
    ranks = tf.random.stateless_uniform([tf.reduce_max(numbers) + 1], tf.convert_to_tensor(seed, tf.int32))
    return tf.gather(tokens, tf.argsort(tf.gather(ranks, numbers), stable=True))


def denoising_pairs(
    rows: Sequence[Sequence[int]],
    corrupt: Callable[[Any, Any], Any],
    *,
    length: int,
    target_length: int,
    seed: int = 0,
    start: int = 2,
    end: int = 3,
    padding: int = 0,
) -> tf.data.Dataset:
    """Returns pairs of a damaged row and its repair, as an encoder and a decoder learn them.

    Args:
        rows: token ids, a list of lists of one or more, without start and end.
        corrupt: map from tokens and a seed to a source, whose answer is the row, or to a source and an answer:
            a function of this file with its settings.
        length: S, tokens of a source with its end token; what is behind is cut off.
        target_length: T, the same of an answer.
        seed: 0 or more; row i is damaged by `(seed, i)`. A further epoch takes another seed.
        start: token in front of what the decoder reads.
        end: token behind sources and answers.
        padding: token behind that.

    Returns:
        A `tf.data.Dataset` of `({"source": (S,), "target": (T,)}, labels (T,))`, labels of the padding -1, to be
        batched.

    Raises:
        ArgumentError: there are no rows, one is empty, or an argument breaks its range.

    Example:
        >>> corrupt = lambda tokens, seed: delete_tokens(tokens, seed, rate=0.5)
        >>> next(iter(denoising_pairs([[5, 6]], corrupt, length=3, target_length=4)))[1].numpy().tolist()
        [5, 6, 3, -1]
    """
    for name, value, low in (("length", length, 1), ("target_length", target_length, 1), ("seed", seed, 0)):
        checks.at_least(name, value, low)
    if not len(rows) or not all(len(row) for row in rows):
        checks.refuse("rows must be lists of one token or more", f"{len(rows)} rows")
    ids = tf.ragged.constant([np.asarray(row).tolist() for row in rows], tf.int32)

    def pair(number, row):
        given = corrupt(row, tf.stack([tf.constant(seed), tf.cast(number, tf.int32)]))
        source, answer = given if isinstance(given, tuple) else (given, row)
        source, labels = (
            _padded(tf.concat([each[: size - 1], [end]], axis=0), size, fill)
            for each, size, fill in ((source, length, padding), (answer, target_length, -1))
        )
        read = tf.concat([[start], labels[:-1]], axis=0)
        return {"source": source, "target": tf.where(read < 0, padding, read)}, labels

    return tf.data.Dataset.from_tensor_slices(ids).enumerate().map(pair)


def _padded(tokens: tf.Tensor, size: int, fill: int) -> tf.Tensor:
    padded = tf.pad(tokens, [[0, size - tf.size(tokens)]], constant_values=fill)
    return tf.ensure_shape(padded, (size,))


def _row(tokens: Any) -> tf.Tensor:
    tokens = tf.cast(tf.convert_to_tensor(tokens), tf.int32)
    if tokens.shape.rank != 1:
        checks.refuse("tokens must be those of one row, (T,)", tuple(tokens.shape))
    return tokens


def _share(count: tf.Tensor, rate: float) -> tf.Tensor:
    return tf.cast(tf.round(rate * tf.cast(count, tf.float32)), tf.int32)


def _chosen(tokens: tf.Tensor, seed: Any, rate: float) -> tf.Tensor:
    """Returns booleans (T,), true for a share of the places."""
    checks.within("rate", rate, 0.0, 1.0)
    order = tf.argsort(tf.random.stateless_uniform([tf.size(tokens)], tf.convert_to_tensor(seed, tf.int32)))
    places = order[: _share(tf.size(tokens), rate)]
    return tf.scatter_nd(places[:, None], tf.ones_like(places), [tf.size(tokens)]) > 0


def _parts(total: tf.Tensor, count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns `count` whole numbers of 1 or more with the sum `total`, each such list with equal chance."""
    cuts = tf.argsort(tf.random.stateless_uniform([total - 1], seed))[: count - 1] + 1
    edges = tf.concat([[0], tf.sort(cuts), [total]], axis=0)
    return edges[1:] - edges[:-1]


def _covered(count: tf.Tensor, starts: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Returns booleans (T,), true inside spans; starts may stand behind the last token where a span is empty."""
    steps = tf.scatter_nd(starts[:, None], tf.ones_like(starts) * tf.sign(lengths), [count + 1])
    steps -= tf.scatter_nd((starts + lengths)[:, None], tf.sign(lengths), [count + 1])
    return tf.cumsum(steps)[:-1] > 0


def _draws(mean_span: float) -> int:
    """Returns how many lengths to draw for each token, so that they reach the share in all but hopeless cases."""
    return max(1, int(np.ceil(8 / mean_span)))
