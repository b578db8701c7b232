"""Corpus as ids: words by falling count, and the sentences of a text as one array."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from kerasdl.core import checks


@dataclass(frozen=True, eq=False)
class Corpus:
    """Sentences as ids of words, the most frequent word first."""

    words: tuple[str, ...]
    """The words by falling count, those of equal count in their order."""
    counts: np.ndarray
    """(V,) int64 occurrences of each word."""
    ids: np.ndarray
    """(N,) int32 words of all sentences."""
    sentences: np.ndarray
    """(N,) int32 number of the sentence of each word."""


def read_corpus(texts: Iterable[str | Sequence[str]], minimum_count: int) -> Corpus:
    """Returns the ids of texts; rare words are left out, so that their neighbours come together.

    Args:
        texts: strings, which are cut at white space, or lists of tokens; each is a sentence.
        minimum_count: words that occur less often are left out.

    Raises:
        ArgumentError: the texts are one string, hold what is no token, or no two words are left.
    """
    rule = "texts must be strings, or lists of tokens that are strings"
    if isinstance(texts, (str, bytes)):
        checks.refuse(rule, texts[:40], "Pass a list: [text].")
    checks.at_least("minimum_count", minimum_count, 1)
    tokens, lengths = [], []
    for number, text in enumerate(texts):
        sentence = text.split() if isinstance(text, str) else text
        if not isinstance(sentence, (list, tuple)) or not all(isinstance(each, str) and each for each in sentence):
            checks.refuse(f"{rule}, none of them empty; text {number}", text)
        tokens.extend(sentence)
        lengths.append(len(sentence))
    ordered = sorted(Counter(tokens).items(), key=lambda item: (-item[1], item[0]))
    words = {word: count for word, count in ordered if count >= minimum_count}
    if len(words) < 2:
        rule = f"texts must hold at least 2 words that occur {minimum_count} times or more"
        checks.refuse(rule, len(words), "Pass more texts, or a lower minimum_count.")
    numbers = {word: number for number, word in enumerate(words)}
    ids = np.fromiter((numbers.get(token, -1) for token in tokens), np.int32, len(tokens))
    sentences = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    counts = np.fromiter(words.values(), np.int64, len(words))
    return Corpus(tuple(words), counts, ids[ids >= 0], sentences[ids >= 0])
