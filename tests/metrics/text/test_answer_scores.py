"""Exact match and F1 of answers: hand-made cases of the rules of SQuAD's scripts."""

import pytest

from kerasdl.core import ArgumentError
from kerasdl.metrics import SQuAD, squad
from kerasdl.metrics.text.answers import normalised_answer


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The Cat", "cat"),
        ("a an the", ""),
        ("theatre Anna", "theatre anna"),
        ("U.S.A.", "usa"),
        ("twenty-one  an\tapple\n", "twentyone apple"),
        ("the-end", "theend"),  # punctuation goes before articles
        ("«Été»", "«été»"),  # ASCII punctuation alone
        ("the \u2019s", "\u2019s"),
        ("!?", ""),
    ],
)
def test_normalising(text, plain):
    assert normalised_answer(text) == plain


@pytest.mark.parametrize(
    ("references", "answer", "exact", "f1"),
    [
        (["Denver Broncos"], "the Denver Broncos!", 1, 1),
        (["Denver Broncos"], "Broncos", 0, 2 / 3),
        (["Denver Broncos", "Broncos"], "Broncos", 1, 1),
        (["red red car"], "red car car", 0, 2 * 2 / 6),  # words count as often as both have them
        (["cat"], "dog", 0, 0),
        (["cat"], "", 0, 0),
        ([], "", 1, 1),
        ([""], "the", 1, 1),
        ([], "cat", 0, 0),
        (["the", "cat"], "", 0, 0),  # a reference that is nothing after normalising is none
        (["the"], "", 1, 1),
    ],
)
def test_answers_by_hand(references, answer, exact, f1):
    assert squad([references], [answer]) == {"exact_match": exact, "f1": pytest.approx(f1)}


def test_figures_of_both_kinds_and_of_parts_together():
    true, given = [["a cat"], [], ["two dogs"], []], ["cat", "", "dogs", "none here"]
    figures = squad(true, given)
    assert figures == {
        "exact_match": 0.5,
        "f1": pytest.approx((1 + 1 + 2 / 3) / 4),
        "has_answer_exact_match": 0.5,
        "has_answer_f1": pytest.approx((1 + 2 / 3) / 2),
        "no_answer_exact_match": 0.5,
        "no_answer_f1": 0.5,
    }
    metric = SQuAD()
    metric.update_state(true[:1], given[:1])
    metric.update_state(true[1:], given[1:])
    assert metric.result() == figures
    metric.reset_state()
    with pytest.raises(ArgumentError, match="at least one text"):
        metric.result()


@pytest.mark.parametrize(
    ("true", "given", "error"),
    [
        ("cat", ["cat"], "true must be a list"),
        (["cat"], "cat", "predicted must be a list"),
        (["cat"], ["cat", "dog"], "a text for each of the 1"),
        ([["cat"]], [None], "must be a string"),
        ([[3]], ["cat"], "must be a string"),
    ],
)
def test_other_forms_are_refused(true, given, error):
    with pytest.raises(ArgumentError, match=error):
        squad(true, given)
