"""Pairs of sentences for pretraining: whether the second follows the first, and whether both are in order.

Sources: next sentence, BERT, https://arxiv.org/abs/1810.04805, section 3.1; order, ALBERT,
https://arxiv.org/abs/1909.11942, section 3.1.

Deviations: a pair is of two neighbouring sentences as they are given, not of segments as long as the row has room for.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasdl.core import checks

Pairs = tuple[list, list, np.ndarray]


def next_sentence_pairs(documents: Sequence[Sequence[Any]], seed: int = 0) -> Pairs:
    """Draws pairs for next sentence prediction: half of the second sentences are of another document.

    Source: https://arxiv.org/abs/1810.04805, section 3.1, task 2.

    Args:
        documents: sentences of each document in their order: texts or token ids.
        seed: 0 or more. A further epoch takes another seed.

    Returns:
        First sentences, second sentences, and labels (N,) int32: 0 where the second follows, 1 where it is random.
        Each sentence but the last of a document is a first one once.

    Raises:
        ArgumentError: fewer than two documents have sentences, or none has two.

    Example:
        >>> documents = [["a", "b", "c"], ["x", "y"]]
        >>> firsts, seconds, labels = next_sentence_pairs(documents, seed=1)
        >>> firsts, len(seconds), labels.shape
        (['a', 'b', 'x'], 3, (3,))
    """
    places = _places(documents)
    owners = np.repeat(np.arange(len(documents)), [len(each) for each in documents])
    if len(np.unique(owners)) < 2:
        checks.refuse("documents must be two or more with sentences, for sentences of another one", len(documents))
    sentences = [sentence for document in documents for sentence in document]
    rng = np.random.default_rng(checks.at_least("seed", seed, 0))
    labels = rng.integers(0, 2, len(places)).astype(np.int32)
    firsts, seconds = [], []
    for (document, place), random in zip(places, labels, strict=True):
        firsts.append(documents[document][place])
        others = np.flatnonzero(owners != document) if random else None
        seconds.append(documents[document][place + 1] if others is None else sentences[rng.choice(others)])
    return firsts, seconds, labels


def sentence_order_pairs(documents: Sequence[Sequence[Any]], seed: int = 0) -> Pairs:
    """Draws pairs for sentence order prediction: neighbouring sentences, half of them swapped.

    Source: https://arxiv.org/abs/1909.11942, section 3.1.

    Args:
        documents: as in `next_sentence_pairs`.
        seed: as there.

    Returns:
        First sentences, second sentences, and labels (N,) int32: 0 in the order of the document, 1 swapped.

    Raises:
        ArgumentError: no document has two sentences.

    Example:
        >>> sorted(zip(*sentence_order_pairs([["a", "b"]], seed=1)[:2]))[0] in (("a", "b"), ("b", "a"))
        True
    """
    places = _places(documents)
    labels = np.random.default_rng(checks.at_least("seed", seed, 0)).integers(0, 2, len(places)).astype(np.int32)
    pairs = [documents[document][place : place + 2] for document, place in places]
    pairs = [pair[::-1] if swapped else pair for pair, swapped in zip(pairs, labels, strict=True)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs], labels


def _places(documents: Sequence[Sequence[Any]]) -> list[tuple[int, int]]:
    """Returns the document and the place of each sentence that another one follows."""
    for document in documents[:1]:
        if isinstance(document, (str, bytes)):
            checks.refuse("documents must be lists of sentences", document[:40], "Split each text into sentences.")
    places = [(number, place) for number, document in enumerate(documents) for place in range(len(document) - 1)]
    if not places:
        checks.refuse("documents must have two sentences or more, one of them at least", f"{len(documents)} documents")
    return places
