"""Maps of pretraining on hand-made rows: masks by token, word and span, pairs of sentences, packed documents."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core import ArgumentError
from kerasdl.data import text

ROW = [2, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 3, 0, 0]
WORDS = [2, 7, 8, 9, 10, 11, 12, 3]  # 8 and 9 go on with 7, and 12 with 11


def hidden(row, seed, **settings):
    return (each.numpy() for each in text.hide_tokens(row, (seed, 1), vocabulary=30, **settings))


def test_a_share_is_drawn_special_tokens_never_and_the_rest_stays():
    reached = np.zeros(len(ROW), bool)
    for seed in range(40):
        masked, labels = hidden(ROW, seed, rate=0.3)
        drawn = labels >= 0
        assert drawn.sum() == 3  # of ten tokens
        assert not drawn[[0, 11, 12, 13]].any()
        np.testing.assert_array_equal(labels[drawn], np.array(ROW)[drawn])
        np.testing.assert_array_equal(masked[~drawn], np.array(ROW)[~drawn])
        reached |= drawn
    assert reached.sum() == 10


def test_of_the_drawn_tokens_80_become_masks_10_others_and_10_stay():
    rows = np.tile(np.arange(5, 30), (800, 1))
    masked, labels = hidden(rows, 0, rate=0.4)
    masked, labels = masked[labels >= 0], labels[labels >= 0]
    assert len(labels) == 8000
    assert abs((masked == 4).mean() - 0.8) < 0.02
    others = masked[(masked != 4) & (masked != labels)]
    assert abs(len(others) / 8000 - 0.1 * 24 / 25) < 0.015  # a random token may be the same
    assert set(others) == set(range(5, 30))


def test_rows_of_a_batch_are_drawn_apart_and_short_ones_have_their_own_share():
    _, labels = hidden([ROW, ROW, [2, 10, 11, 3, *[0] * 10], [0] * 14], 0, rate=0.2)
    assert (labels >= 0).sum(axis=1).tolist() == [2, 2, 1, 0]
    places = {tuple(np.flatnonzero(row >= 0)) for seed in range(9) for row in [*hidden([ROW, ROW], seed)][1]}
    assert len(places) > 9


def test_equal_seeds_give_equal_masks_and_others_new_ones_in_a_pipeline():
    data = tf.data.Dataset.from_tensor_slices([ROW] * 6).enumerate()

    def epoch(seed):
        drawn = data.map(lambda number, row: text.hide_tokens(row, (seed, tf.cast(number, tf.int32)), vocabulary=30))
        return np.stack([labels for _, labels in drawn.as_numpy_iterator()])

    np.testing.assert_array_equal(epoch(1), epoch(1))
    assert (epoch(1) != epoch(2)).any()
    assert len({tuple(row) for row in epoch(1)}) > 1


def test_words_are_masked_whole():
    drawn = set()
    for seed in range(60):
        masked, labels = hidden(WORDS, seed, rate=0.34, continuing=(8, 9, 12), masked=1.0, random=0.0)
        drawn.add(tuple(labels[labels >= 0].tolist()))
        assert (masked[labels >= 0] == 4).all()
    # The share is two tokens: a word of two, one and a half of the next, or the word of three alone.
    assert drawn <= {(7, 8, 9), (11, 12), (10,), (10, 11, 12)}
    assert {(7, 8, 9), (11, 12)} <= drawn


def test_spans_are_long_and_of_whole_words_and_share_their_fate():
    def mean_run(**settings):
        _, labels = hidden(np.tile(np.arange(5, 25), (300, 1)), 0, rate=0.3, **settings)
        drawn = np.pad(labels >= 0, [(0, 0), (1, 0)])
        return drawn.sum() / (drawn[:, 1:] & ~drawn[:, :-1]).sum()

    assert mean_run() < 1.6
    assert mean_run(mean_span=4.0) > 2.2
    for seed in range(30):
        masked, labels = hidden(WORDS, seed, rate=0.5, continuing=(8, 9, 12), mean_span=2.0)
        for word in ([1, 2, 3], [5, 6]):
            assert len({labels[place] >= 0 for place in word}) == 1
            assert len({masked[place] == 4 for place in word}) == 1


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"vocabulary": 0}, "vocabulary must be"),
        ({"mask": 30}, "mask must be"),
        ({"rate": 0.0}, "rate must be"),
        ({"mean_span": 0.5}, "mean_span must be"),
        ({"random": 0.3}, "random must be"),
        ({"special": range(30)}, "must not be special"),
    ],
)
def test_settings_outside_of_their_range_are_refused(changes, rule):
    with pytest.raises(ArgumentError, match=rule):
        text.hide_tokens(ROW, (0, 0), **{"vocabulary": 30, **changes})
    with pytest.raises(ArgumentError, match=r"a row \(T,\) or rows"):
        text.hide_tokens([[ROW]], (0, 0), vocabulary=30)


DOCUMENTS = [["a1", "a2", "a3"], ["b1", "b2"], ["c1"], []]
NEXT = {"a1": "a2", "a2": "a3", "b1": "b2"}


def test_next_sentences_follow_or_are_of_another_document():
    seen = set()
    for seed in range(20):
        firsts, seconds, labels = text.next_sentence_pairs(DOCUMENTS, seed)
        assert firsts == ["a1", "a2", "b1"]
        for first, second, label in zip(firsts, seconds, labels, strict=True):
            assert second[0] != first[0] if label else second == NEXT[first]
        seen |= {(first, second) for first, second in zip(firsts, seconds, strict=True)}
    assert {("a1", "c1"), ("b1", "a1"), ("a1", "a2")} <= seen
    again, other = (text.next_sentence_pairs(DOCUMENTS, seed)[1] for seed in (3, 3))
    assert again == other
    with pytest.raises(ArgumentError, match="documents must be two or more"):
        text.next_sentence_pairs([["a", "b"], []])


def test_order_of_sentences_is_swapped_by_the_label():
    found = set()
    for seed in range(9):
        for first, second, label in zip(*text.sentence_order_pairs(DOCUMENTS, seed), strict=True):
            assert (NEXT.get(second) == first) if label else (NEXT.get(first) == second)
            found.add(int(label))
    assert found == {0, 1}
    with pytest.raises(ArgumentError, match="two sentences or more"):
        text.sentence_order_pairs([["a"], ["b"]])
    with pytest.raises(ArgumentError, match="must be lists of sentences"):
        text.sentence_order_pairs(["a text"])


def test_documents_are_packed_and_cut_at_the_end_of_a_row():
    inputs, labels = text.pack_documents([[5, 6], [7, 8, 9, 10], [11]], 5).arrays()
    assert inputs["tokens"].tolist() == [[5, 6, 3, 7, 8], [9, 10, 3, 11, 3]]
    assert inputs["documents"].tolist() == [[1, 1, 1, 2, 2], [1, 1, 1, 2, 2]]
    assert labels.tolist() == [[6, 3, -1, 8, -1], [10, 3, -1, 3, -1]]


@pytest.mark.parametrize(
    ("documents", "length", "rule"),
    [([[5]], 1, "length must be"), ([], 4, "one or more"), ([[0.5]], 4, "lists of token ids")],
)
def test_documents_of_another_form_are_refused(documents, length, rule):
    with pytest.raises(ArgumentError, match=rule):
        text.pack_documents(documents, length)
