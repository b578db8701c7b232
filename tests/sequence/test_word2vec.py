"""Word2vec against loops over pairs, resumed runs bit for bit, and analogies that were planted."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from kerasdl.errors import ArgumentError
from kerasdl.ops import glove_loss, hierarchical_softmax_loss, negative_sampling_loss
from kerasdl.sequence import GloVe, Word2Vec, WordVectors, analogy_accuracy, relation_grid
from kerasdl.sequence.embeddings import glove, word2vec
from kerasdl.sequence.embeddings.word2vec_blocks import GROUP, LIMIT, SHARED, Updates
from kerasdl.sequence.embeddings.word_laws import alias_table, huffman_paths
from kerasdl.train import LoopConfig

WORDS, WIDTH = 9, 5
COUNTS = np.arange(WORDS, 0, -1)
QUIET = LoopConfig(epochs=2, progress="off")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_losses_are_their_formulas():
    rng = np.random.default_rng(0)
    u, v, n = rng.normal(size=(2, 3, WIDTH)), rng.normal(size=(2, 4, WIDTH)), rng.normal(size=(2, 6, WIDTH))
    pairs, weights = rng.uniform(size=(2, 3, 4)), rng.uniform(size=(2, 3, 6))
    expected = [
        -sum(pairs[b, i, j] * np.log(sigmoid(u[b, i] @ v[b, j])) for i in range(3) for j in range(4))
        - sum(weights[b, i, k] * np.log(sigmoid(-u[b, i] @ n[b, k])) for i in range(3) for k in range(6))
        for b in range(2)
    ]
    np.testing.assert_allclose(negative_sampling_loss(u, v, n, pairs, weights), expected, rtol=1e-6)
    w, c, b, d, x = (rng.uniform(0.1, 2, shape) for shape in ((7, 3), (7, 3), 7, 7, 7))
    errors = np.array([w[i] @ c[i] + b[i] + d[i] - np.log(x[i]) for i in range(7)])
    expected = 0.5 * np.minimum(1, (x / 1.5) ** 0.75) * errors**2
    np.testing.assert_allclose(glove_loss(w, c, b, d, x, most=1.5, power=0.75), expected, rtol=1e-6)


def test_probabilities_of_the_hierarchical_softmax_sum_to_one():
    rng = np.random.default_rng(0)
    nodes, turns = huffman_paths(COUNTS)
    inputs, table = rng.normal(size=(WORDS, 1, WIDTH)), rng.normal(size=(WORDS - 1, WIDTH))
    inputs[:] = inputs[0]
    losses = hierarchical_softmax_loss(
        inputs, table[nodes][:, None], turns[:, None].astype(float), np.ones((WORDS, 1, 1))
    )
    assert np.exp(-losses.numpy()).sum() == pytest.approx(1)


def one_block(settings, word_rows=None):
    """Makes one update; returns the tables before and after, the words, their sentences and the negatives."""
    rng = np.random.default_rng(1)
    size, rows = 2 * GROUP - 3, WORDS if word_rows is None else 1 + word_rows[0].max()
    tokens = rng.integers(0, WORDS, 4 * GROUP).astype(np.int32)
    sentences = np.repeat(np.arange(8), GROUP // 2).astype(np.int32)
    sentences[:3] = -1  # no text
    inputs = tf.Variable(rng.normal(size=(rows, WIDTH)).astype("float32"))
    outputs = tf.Variable(rng.normal(size=(WORDS, WIDTH)).astype("float32"))
    negatives = rng.integers(0, WORDS, (2, SHARED)).astype(np.int32)
    law = alias_table(COUNTS / COUNTS.sum()) if settings.softmax == "negative" else huffman_paths(COUNTS)
    updates = Updates(settings, inputs, outputs, law, word_rows)
    updates._drawn = lambda shape, seeds: tf.constant(negatives)
    before = inputs.numpy(), outputs.numpy()
    loss, pairs = updates.run(tokens, sentences, size, tf.constant([0, 0]), settings.learning_rate)
    after = inputs.numpy(), outputs.numpy()
    return before, after, (tokens, sentences, size, negatives), float(loss), float(pairs)


class Loop:
    """The same update by loops over pairs of words, in float64."""

    def __init__(self, settings, before, word_rows):
        self.settings = settings
        self.tables = [table.astype(float) for table in before]
        self.moves, self.terms = [np.zeros(t.shape) for t in self.tables], [np.zeros(len(t)) for t in self.tables]
        self.loss = 0.0
        self.rows, self.shares = word_rows or (np.arange(WORDS)[:, None], np.ones((WORDS, 1)))
        self.paths = huffman_paths(COUNTS)

    def vector(self, word):
        return self.shares[word] @ self.tables[0][self.rows[word]]

    def pair(self, words, target, negatives):
        """A pair: the mean of words is the input, which predicts the target."""
        u = np.mean([self.vector(word) for word in words], axis=0)
        if self.settings.softmax == "negative":
            share = self.settings.negatives / SHARED
            terms = [(target, 1, 1.0), *((word, -1, share) for word in negatives if word != target)]
        else:
            terms = [
                (node, turn, 1.0) for node, turn in zip(*(each[target] for each in self.paths), strict=True) if turn
            ]
        for output, side, weight in terms:
            score = side * u @ self.tables[1][output]
            self.loss -= weight * np.log(sigmoid(score))
            pull = -weight * side * sigmoid(-score)
            self.moves[1][output] += pull * u
            self.terms[1][output] += weight
            for word in words:
                for row, part in zip(self.rows[word], self.shares[word] / len(words), strict=True):
                    self.moves[0][row] += pull * part * self.tables[1][output]
                    self.terms[0][row] += part * weight

    def after(self):
        rate = self.settings.learning_rate
        rates = [np.minimum(rate, LIMIT / np.maximum(terms, 1e-6)) for terms in self.terms]
        return [table - r[:, None] * move for table, r, move in zip(self.tables, rates, self.moves, strict=True)]


SUBWORDS = np.array([[row, WORDS + row % 3, WORDS + 3] for row in range(WORDS)]), np.full((WORDS, 3), 1 / 3)


@pytest.mark.parametrize("rate", [0.003, 0.5])
@pytest.mark.parametrize("subwords", [False, True])
@pytest.mark.parametrize(("mode", "softmax"), [*itertools.product(word2vec.MODES, word2vec.SOFTMAXES)])
def test_a_block_is_a_loop_over_its_pairs(mode, softmax, subwords, rate):
    settings = Word2Vec(window=3, dynamic_window=False, mode=mode, softmax=softmax, learning_rate=rate, width=WIDTH)
    rows = (SUBWORDS[0].astype("int32"), SUBWORDS[1].astype("float32")) if subwords else None
    before, after, (tokens, sentences, size, negatives), loss, pairs = one_block(settings, rows)
    loop, count = Loop(settings, before, SUBWORDS if subwords else None), 0
    for place in range(GROUP, GROUP + size):
        near = [each for each in range(place - 3, place + 4) if each != place and sentences[each] == sentences[place]]
        drawn = negatives[(place - GROUP) // GROUP]
        around = tokens[near]
        if mode == "cbow":
            jobs = [(around, tokens[place])] if len(near) else []
        elif softmax == "negative":
            jobs = [([tokens[place]], word) for word in around]
        else:
            jobs = [([word], tokens[place]) for word in around]
        count += len(jobs)
        for words, target in jobs:
            loop.pair(words, target, drawn)
    assert pairs == count > 20
    assert loss == pytest.approx(loop.loss, rel=1e-5)
    for each, expected, start in zip(after, loop.after(), before, strict=True):
        np.testing.assert_allclose(each, expected, atol=2e-5)
        assert np.abs(each - start).max() > 1e-3


def test_windows_are_drawn_from_one_to_their_width():
    settings = Word2Vec(window=3, width=WIDTH)
    fixed = Word2Vec(window=3, width=WIDTH, dynamic_window=False)
    most = one_block(fixed)[-1]
    assert 0.5 * most < one_block(settings)[-1] < 0.85 * most  # 2 of 3 words on the average


def test_negatives_are_drawn_by_the_law():
    law = alias_table(COUNTS / COUNTS.sum())
    updates = Updates(Word2Vec(), tf.Variable(tf.zeros((WORDS, 2))), tf.Variable(tf.zeros((WORDS, 2))), law, None)
    drawn = updates._drawn(tf.constant([100, 900]), tf.random.split([0, 1], 2))
    expected = 90_000 * COUNTS / COUNTS.sum()
    statistic = ((np.bincount(np.ravel(drawn), minlength=WORDS) - expected) ** 2 / expected).sum()
    assert statistic < 26.1  # chi-square of 8 degrees of freedom, at 1 in 1,000


GRID = relation_grid(3, 3, sentences=500)


@pytest.mark.parametrize(
    ("method", "module"),
    [(Word2Vec(width=8, minimum_count=1, subsample=0.1), word2vec), (GloVe(width=8, minimum_count=1), glove)],
    ids=["word2vec", "glove"],
)
def test_a_killed_run_continues_bit_for_bit(method, module, tmp_path, monkeypatch):
    texts, _ = GRID
    whole = method.fit(texts, LoopConfig(epochs=2, progress="off", steps_per_execution=1))
    config = LoopConfig(epochs=2, progress="off", steps_per_execution=1, save_every=4, folder=tmp_path / "run")
    step, calls = module._Training.step, []

    def dying(training, stream):
        calls.append(1)
        if len(calls) == 7:
            raise RuntimeError("killed")
        return step(training, stream)

    monkeypatch.setattr(module._Training, "step", dying)
    with pytest.raises(RuntimeError, match="killed"):
        method.fit(texts, config)
    resumed = method.fit(texts, config)
    np.testing.assert_array_equal(resumed.vectors, whole.vectors)
    with pytest.raises(ArgumentError, match="same settings"):
        method.fit(texts[1:], config)


def test_several_updates_in_one_call_change_no_bit():
    texts, _ = GRID
    one, five = (
        Word2Vec(width=8, minimum_count=1).fit(texts, LoopConfig(epochs=1, progress="off", steps_per_execution=count))
        for count in (1, 5)
    )
    np.testing.assert_array_equal(one.vectors, five.vectors)


def test_subwords_give_vectors_to_unseen_words():
    texts = [["walking", "walked", "talking", "talked"]] * 40
    vectors = Word2Vec(width=8, minimum_count=1, subwords=(3, 4), buckets=500).fit(texts, QUIET)
    rows, shares = word2vec.word_rows(vectors.words, 3, 4, 500)
    parts = vectors.subwords.vectors[rows[0][1 : np.count_nonzero(shares[0])] - len(vectors)]
    assert vectors.vector("balking").shape == (8,)
    ngrams = vectors.subwords.vector(vectors.words[0])
    np.testing.assert_allclose(ngrams, parts.mean(axis=0), atol=1e-6)
    with pytest.raises(ArgumentError, match="n-grams"):
        vectors.vector("")


@pytest.mark.parametrize(
    "setting",
    [
        {"window": 17},
        {"mode": "bag"},
        {"softmax": "full"},
        {"subwords": (4, 3)},
        {"negatives": 0},
        {"final_rate": 1.0},
        {"seed": -1},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(ArgumentError, match=next(iter(setting))):
        Word2Vec(**setting)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "grid", "epochs"),
    [
        (Word2Vec(width=32, minimum_count=1, subsample=0), (8, 6), 6),
        (GloVe(width=16, minimum_count=1, most=10.0), (4, 3), 20),
    ],
    ids=["word2vec", "glove"],
)
def test_planted_analogies_are_recovered(method, grid, epochs):
    texts, questions = relation_grid(*grid)
    vectors = method.fit(texts, LoopConfig(epochs=epochs, progress="off"))
    drawn = np.random.default_rng(0).normal(size=vectors.vectors.shape)
    assert analogy_accuracy(WordVectors(vectors.words, drawn), questions).accuracy < 0.05
    assert analogy_accuracy(vectors, questions).accuracy > 0.95
