"""Rules of the text so far against loops over its tokens."""

import numpy as np
import pytest

from kerasdl import ops
from kerasdl.core.errors import ArgumentError

V = 7
RNG = np.random.default_rng(0)
TEXT = np.where(np.arange(12) < np.array([[12], [5], [1], [9]]), RNG.integers(1, 4, (4, 12)), 0).astype("int32")
COUNTS = (TEXT != 0).sum(1)
LOGITS = RNG.normal(size=(4, V)).astype("float32")


def test_tokens_of_the_text_are_less_likely():
    expected = LOGITS.copy()
    for row, text in zip(expected, TEXT, strict=True):
        for token in set(text[text != 0].tolist()):
            row[token] = row[token] / 1.5 if row[token] > 0 else row[token] * 1.5
    np.testing.assert_allclose(ops.repetition_penalty(LOGITS, TEXT, 1.5), expected, rtol=1e-6)
    np.testing.assert_array_equal(ops.repetition_penalty(LOGITS, TEXT, 1.0), LOGITS)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_no_ngram_comes_twice(size):
    behind = np.where(TEXT == 0, 3, TEXT)  # what stands behind the text does not count
    expected, banned = LOGITS.copy(), 0
    for row, text, count in zip(expected, TEXT, COUNTS, strict=True):
        known = [tuple(text[at : at + size]) for at in range(count - size + 1)]
        for token in range(V):
            if (*text[count - size + 1 : count].tolist(), token) in known:
                row[token] = -np.inf
                banned += 1
    np.testing.assert_array_equal(ops.no_repeat_ngrams(LOGITS, behind, COUNTS, size), expected)
    assert banned or size == 5


def test_arguments_out_of_range_are_refused():
    with pytest.raises(ArgumentError, match="penalty must be"):
        ops.repetition_penalty(LOGITS, TEXT, 0.5)
    with pytest.raises(ArgumentError, match="size must be"):
        ops.no_repeat_ngrams(LOGITS, TEXT, COUNTS, 0)
