"""Rules that change the logits of the next token by the text so far: repetition penalty, no n-gram twice."""

from typing import Any

from keras import ops

from kerasdl.core import checks


def repetition_penalty(logits: Any, text: Any, penalty: float, counts: Any = None) -> Any:
    """Returns logits in which tokens of the text are less likely: positive ones divided, negative ones multiplied.

    Source: CTRL, https://arxiv.org/abs/1909.05858, section 4.1, in the form for logits of either sign.

    Args:
        logits: (B, V) floats.
        text: (B, S) integers, the tokens so far.
        penalty: from 1, no penalty, to 100.
        counts: (B,) integers, how many tokens of each row count; None counts all but 0, as padding.

    Returns:
        (B, V) floats.

    Raises:
        ArgumentError: `penalty` is outside.

    Example:
        >>> repetition_penalty(np.array([[0.0, 4.0, -1.0, 2.0]]), np.array([[1, 2, 0]]), 2.0).numpy()
        array([[ 0.,  2., -2.,  2.]])
    """
    checks.within("penalty", penalty, 1.0, 100.0)
    logits = ops.convert_to_tensor(logits)
    lowered, text = ops.where(logits > 0, logits / penalty, logits * penalty), ops.cast(text, "int32")
    places = ops.arange(ops.shape(text)[1], dtype="int32")[None]
    is_in = text != 0 if counts is None else places < ops.cast(counts, "int32")[:, None]
    return ops.where(_of_tokens(text, is_in, logits.shape[-1]), lowered, logits)


def no_repeat_ngrams(logits: Any, text: Any, counts: Any, size: int) -> Any:
    """Returns logits with -inf for each token that would end an n-gram which the text already has.

    Source: https://arxiv.org/abs/1705.04304, section 2.5 (trigrams).

    Args:
        logits: (B, V) floats.
        text: (B, S) integers, the tokens so far, with anything behind them.
        counts: (B,) integers, how many tokens of each row count.
        size: n, 1 or more; 1 lets no token come twice.

    Returns:
        (B, V) floats.

    Raises:
        ArgumentError: `size` is below 1.

    Example:
        >>> no_repeat_ngrams(np.zeros((1, 4)), np.array([[1, 2, 1]]), np.array([3]), 2).numpy()
        array([[  0.,   0., -inf,   0.]])
    """
    checks.at_least("size", size, 1)
    logits, text = ops.convert_to_tensor(logits), ops.cast(text, "int32")
    counts, before = ops.cast(counts, "int32"), size - 1
    length = ops.shape(text)[1]
    starts = ops.arange(ops.maximum(length - before, 0))
    is_same = starts[None] + before < counts[:, None]  # (B, S - n + 1)
    for place in range(before):
        last = ops.maximum(counts - before + place, 0)
        last = ops.take_along_axis(text, ops.minimum(last, length - 1)[:, None], axis=1)
        is_same = ops.logical_and(is_same, text[:, place : length - before + place] == last)
    banned = _of_tokens(text[:, before:], is_same, logits.shape[-1])
    return ops.where(banned, ops.cast(float("-inf"), logits.dtype), logits)


def _of_tokens(tokens: Any, is_in: Any, size: int) -> Any:
    """Returns booleans (B, V), true for each token of (B, S) that is in."""
    tokens = ops.cast(tokens, "int32")
    rows = ops.arange(ops.shape(tokens)[0])[:, None] + ops.zeros_like(tokens)
    at = ops.reshape(ops.stack([rows, tokens], axis=-1), (-1, 2))
    counts = ops.scatter(at, ops.reshape(ops.cast(is_in, "int32"), (-1,)), (ops.shape(tokens)[0], size))
    return counts > 0
