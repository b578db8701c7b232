"""Laws of word2vec against their formulas: negatives, subsampling, paths; counts of GloVe by loops; n-grams."""

import heapq
import itertools

import numpy as np
import pytest

from kerasdl.errors import ArgumentError
from kerasdl.sequence.embeddings.corpus import read_corpus
from kerasdl.sequence.embeddings.glove import cooccurrences
from kerasdl.sequence.embeddings.subwords import ngram_buckets, word_rows
from kerasdl.sequence.embeddings.word_laws import (
    alias_table,
    huffman_paths,
    keep_probabilities,
    negative_probabilities,
)

COUNTS = np.array([1000, 400, 400, 90, 31, 7, 7, 1])


def test_the_alias_table_draws_each_word_by_its_power():
    probabilities = COUNTS**0.75 / (COUNTS**0.75).sum()
    np.testing.assert_allclose(negative_probabilities(COUNTS, 0.75), probabilities)
    thresholds, aliases = alias_table(probabilities)
    drawn = thresholds.astype(float).copy()
    np.add.at(drawn, aliases, 1 - thresholds)
    np.testing.assert_allclose(drawn / len(COUNTS), probabilities, atol=1e-7)


def test_frequent_words_are_kept_less_often():
    share = COUNTS / COUNTS.sum()
    kept = keep_probabilities(COUNTS, 0.01)
    np.testing.assert_allclose(kept, np.minimum(1, np.sqrt(0.01 / share) + 0.01 / share))
    assert kept[0] < 0.2 < 1 == kept[-1]
    assert (keep_probabilities(COUNTS, 0) == 1).all()


@pytest.mark.parametrize("counts", [COUNTS, np.array([3, 2]), np.arange(40, 0, -1)], ids=len)
def test_paths_are_those_of_a_huffman_tree(counts):
    nodes, turns = huffman_paths(counts)
    lengths = np.abs(turns).sum(axis=1)
    codes = {tuple(zip(*pair, strict=True))[:length] for *pair, length in zip(nodes, turns, lengths, strict=True)}
    assert len(codes) == len(counts)
    assert (nodes[:, 0] == 0).all()
    assert sum(2.0**-length for length in lengths) == 1  # the tree is full: probabilities of all words sum to 1
    assert nodes.max() == len(counts) - 2
    heap, cost = sorted(counts.tolist()), 0  # the least sum of counts times lengths is that of all merged pairs
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        cost += merged
        heapq.heappush(heap, merged)
    assert counts @ lengths == cost


def test_a_corpus_holds_frequent_words_first_and_leaves_rare_ones_out():
    corpus = read_corpus(["b a b rare a b", ["a", "c", "c"], ""], 2)
    assert corpus.words == ("a", "b", "c")
    np.testing.assert_array_equal(corpus.counts, [3, 3, 2])
    np.testing.assert_array_equal(corpus.ids, [1, 0, 1, 0, 1, 0, 2, 2])
    np.testing.assert_array_equal(corpus.sentences, [0, 0, 0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize("texts", ["one text", [["a", 3]], [["a", ""]], [{"a"}], ["alone alone"], []])
def test_texts_that_are_none_are_refused(texts):
    with pytest.raises(ArgumentError, match="texts must"):
        read_corpus(texts, 1)


def test_cooccurrences_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    texts = [[f"w{word}" for word in rng.integers(0, 9, length)] for length in (1, 2, 7, 30, 0, 12)]
    corpus = read_corpus(texts, 1)
    numbers, expected = {word: row for row, word in enumerate(corpus.words)}, {}
    for text in texts:
        for (i, left), (j, right) in itertools.product(enumerate(text), repeat=2):
            if 0 < abs(i - j) <= 4:
                pair = numbers[left], numbers[right]
                expected[pair] = expected.get(pair, 0) + 1 / abs(i - j)
    pairs, counts = cooccurrences(corpus, 4)
    assert list(map(tuple, pairs.tolist())) == sorted(expected)
    np.testing.assert_allclose(counts, [expected[pair] for pair in sorted(expected)], rtol=1e-6)


def test_ngrams_are_those_between_the_marks():
    ngrams = ["<wh", "whe", "her", "ere", "re>", "<whe", "wher", "here", "ere>"]
    assert ngram_buckets("where", 3, 4, 2**32) == [fnv(ngram) for ngram in ngrams]
    assert fnv("a") == 0xE40C292C  # published value of FNV-1a
    assert ngram_buckets("a", 3, 6, 100) == []  # the whole of <a> is the word itself
    rows, shares = word_rows(["where", "a"], 3, 4, 50)
    np.testing.assert_array_equal(rows[0], [0, *(2 + fnv(ngram) % 50 for ngram in ngrams)])
    np.testing.assert_array_equal(rows[1], [1] + 9 * [0])
    np.testing.assert_allclose(shares, [10 * [0.1], [1] + 9 * [0]])


def fnv(text):
    value = 2166136261
    for byte in text.encode():
        value = ((value ^ byte) * 16777619) % 2**32
    return value
