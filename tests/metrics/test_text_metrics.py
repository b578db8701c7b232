"""Metrics of texts: equal to sacrebleu, rouge-score and jiwer on 200 drawn pairs of many scripts, and by hand."""

import itertools
import json

import numpy as np
import pytest
from text_peers import PATH, drawn_pairs

from kerasdl.errors import ArgumentError
from kerasdl.metrics import (
    BLEU,
    ROUGE,
    CharacterErrorRate,
    ChrF,
    WordErrorRate,
    bleu,
    chrf,
    edit_distance,
    rouge,
)

PAIRS = drawn_pairs()
FROZEN = json.loads(PATH.read_text(encoding="utf-8"))
METRICS = {
    "bleu": (BLEU(), "bleu"),
    "bleu2": (BLEU(2), "bleu"),
    "chrf": (ChrF(), "chrf"),
    "chrf++": (ChrF(word_order=2), "chrf"),
    **{kind: (ROUGE([kind]), kind) for kind in ("rouge1", "rouge2", "rougeL")},
    "wer": (WordErrorRate(), "wer"),
    "cer": (CharacterErrorRate(), "cer"),
}


def measured(name, true, predicted):
    metric, key = METRICS[name]
    metric.reset_state()
    metric.update_state(true, predicted)
    return metric.result()[key]


@pytest.mark.parametrize("name", sorted(set(METRICS) - {"bleu2"}))
def test_each_pair_has_the_figure_of_the_peer(name):
    one = name in ("wer", "cer")
    found = [measured(name, [references[0] if one else references], [text]) for references, text in PAIRS]
    expected = [row[name] for row in FROZEN["pairs"]]
    compared = [(mine, its) for mine, its in zip(found, expected, strict=True) if its is not None]
    assert len(compared) > 170
    np.testing.assert_allclose(*zip(*compared, strict=True), rtol=1e-9, atol=1e-9)
    assert len({round(its, 6) for _, its in compared}) > 20  # many values, not zeros


@pytest.mark.parametrize("name", sorted(FROZEN["corpus"]))
def test_a_corpus_has_the_figure_of_the_peer_in_any_batches(name):
    pairs = [(references[0], text) for references, text in PAIRS if references[0]]
    true, predicted = zip(*pairs, strict=True)
    assert measured(name, true, predicted) == pytest.approx(FROZEN["corpus"][name], rel=1e-9)
    metric, key = METRICS[name]
    metric.reset_state()
    for start in range(0, len(pairs), 7):
        metric.update_state(true[start : start + 7], predicted[start : start + 7])
    assert metric.result()[key] == pytest.approx(FROZEN["corpus"][name], rel=1e-12)


def test_functions_are_their_classes():
    true, predicted = ["the cat sat on the mat", "a dog"], ["the cat is on the mat", "a dog ran"]
    assert bleu(true, predicted) == measured("bleu", true, predicted) > 0
    assert chrf(true, predicted, word_order=2) == measured("chrf++", true, predicted) > 0
    assert rouge(true, predicted)["rougeL"] == measured("rougeL", true, predicted) > 0


def test_rouge_of_other_scripts_takes_a_tokenizer():
    true, predicted = ["все счастливые семьи"], ["все семьи"]
    assert rouge(true, predicted)["rouge1"] == 0
    assert rouge(true, predicted, tokenize=str.split)["rouge1"] == pytest.approx(0.8)
    assert bleu(["春眠不觉晓"], ["春眠不觉晓"], tokenize=list) == pytest.approx(100)


def test_edit_distance_is_that_of_the_recursion():
    def slow(first, second):
        if not first or not second:
            return len(first) + len(second)
        same = slow(first[1:], second[1:]) + (first[0] != second[0])
        return min(same, slow(first[1:], second) + 1, slow(first, second[1:]) + 1)

    words = ["", "a", "ab", "ba", "abc", "cab", "abba", "bbaac"]
    for first, second in itertools.product(words, repeat=2):
        assert edit_distance(first, second) == slow(first, second)


def test_references_of_nothing():
    assert measured("wer", [""], [""]) == 0
    assert measured("wer", [""], ["a b c"]) == 3  # as jiwer counts
    assert measured("bleu", [""], [""]) == measured("chrf", [""], [""]) == measured("rougeL", [""], [""]) == 0


@pytest.mark.parametrize("name", sorted(METRICS))
def test_texts_that_are_none_are_refused(name):
    metric, _ = METRICS[name]
    metric.reset_state()
    with pytest.raises(ArgumentError, match="at least one"):
        metric.result()
    with pytest.raises(ArgumentError, match="list of texts"):
        metric.update_state("a text", ["a text"])
    with pytest.raises(ArgumentError, match="each of the 2"):
        metric.update_state(["a", "b"], ["a"])
    with pytest.raises(ArgumentError, match="string"):
        metric.update_state(["a", "b"], ["a", b"b"])
    with pytest.raises(ArgumentError, match="string"):
        metric.update_state([[]], ["a"])
    assert metric.texts == 0


def test_error_rates_take_one_reference():
    with pytest.raises(ArgumentError, match="one reference"):
        WordErrorRate().update_state([["a", "b"]], ["a"])
