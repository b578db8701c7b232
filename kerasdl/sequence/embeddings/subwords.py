"""Subwords: hashed character n-grams, whose vectors give one to words that no text held (fastText).

Source: https://arxiv.org/abs/1607.04606, section 3.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kerasdl.core import checks


@dataclass(frozen=True, eq=False)
class Subwords:
    """Vectors of hashed n-grams of characters."""

    vectors: np.ndarray
    """(buckets, D) float32 vector of each bucket."""
    shortest: int
    """Characters of the shortest n-grams, the marks `<` and `>` of both ends of a word counted."""
    longest: int
    """Characters of the longest n-grams."""

    def vector(self, word: str) -> np.ndarray:
        """Returns the mean vector (D,) of the n-grams of a word, float32.

        Raises:
            ArgumentError: the word has no n-gram.
        """
        buckets = ngram_buckets(word, self.shortest, self.longest, len(self.vectors))
        if not buckets:
            checks.refuse(f"a word must have n-grams of {self.shortest} characters", word)
        return self.vectors[buckets].mean(axis=0)


def ngram_buckets(word: str, shortest: int, longest: int, buckets: int) -> list[int]:
    """Returns the bucket of each n-gram of `<word>`, the whole of it left out, by FNV-1a over the UTF-8 bytes."""
    marked = f"<{word}>"
    ngrams = (
        marked[start : start + length]
        for length in range(shortest, longest + 1)
        for start in range(len(marked) - length + 1)
        if length < len(marked)
    )
    return [_fnv1a(ngram.encode()) % buckets for ngram in ngrams]


def word_rows(words: Sequence[str], shortest: int, longest: int, buckets: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows that make up each word: its own, and behind those of all words one for each n-gram.

    Returns:
        rows (V, M) int32, and shares (V, M) float32, which sum to 1 for a word and are 0 behind its last row.
    """
    parts = [[number, *ngram_buckets(word, shortest, longest, buckets)] for number, word in enumerate(words)]
    most = max(map(len, parts))
    rows, shares = np.zeros((len(words), most), np.int32), np.zeros((len(words), most), np.float32)
    for number, (_, *ngrams) in enumerate(parts):
        rows[number, : len(ngrams) + 1] = [number, *(len(words) + bucket for bucket in ngrams)]
        shares[number, : len(ngrams) + 1] = 1 / (len(ngrams) + 1)
    return rows, shares


def _fnv1a(data: bytes) -> int:
    value = 2166136261
    for byte in data:
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value
