"""Search of answers: equal to brute force, over windows, with and without an answer."""

import itertools

import numpy as np
import pytest

from kerasdl.core import DataError
from kerasdl.sequence import train_tokenizer
from kerasdl.sequence.answering.answer_search import CANDIDATES, best_spans, find_answers
from kerasdl.sequence.answering.question_windows import Question, windows_of

CONTEXT = "zero one two three four five six seven eight nine"
TOKENIZER = train_tokenizer([CONTEXT, "who"], "word", 30, ends=True)
FORM = {"length": 8, "stride": 2, "padding_id": 0, "tokenizer": TOKENIZER.to_text(), "longest": 3}


@pytest.mark.parametrize(("count", "longest"), [(1, 1), (1, 9), (5, 2), (9, 4), (12, 30)])
def test_best_spans_are_those_of_brute_force(count, longest):
    starts, ends = np.random.default_rng(count).integers(-3, 4, (2, count)).astype(float)  # with ties
    every = [
        (first, last, starts[first] + ends[last])
        for first, last in itertools.product(range(count), repeat=2)
        if 0 <= last - first < longest
    ]
    every.sort(key=lambda each: (-each[2], each[0], each[1]))
    assert best_spans(starts, ends, longest) == every[:CANDIDATES]


def test_no_token_has_no_span():
    assert best_spans(np.zeros(0), np.zeros(0), 3) == []


def logits_of(windows, **scores):
    """Returns logits of -9 but those of words, (start, end) of each window and word."""
    logits = np.full((len(windows), 2, FORM["length"]), -9.0)
    for place, window in enumerate(windows):
        for name, pairs in scores.items():
            if name in window.encoded.tokens and pairs.get(place) is not None:
                logits[place, :, window.encoded.tokens.index(name)] = pairs[place]
    return logits


def test_the_best_span_of_all_windows_answers_with_its_characters():
    questions = [Question("who", CONTEXT), Question("who", "zero one")]
    windows = windows_of(questions, FORM)
    assert [window.owner for window in windows] == [0, 0, 0, 0, 1][-len(windows) :]
    scores = {"one": {0: (5, 0)}, "two": {0: (0, 4), 1: (3, 3)}, "zero": {len(windows) - 1: (2, 2)}}
    first, second = find_answers(logits_of(windows, **scores), questions, windows, FORM)
    assert first["answer"] == "one two"
    assert CONTEXT[first["start"] : first["end"]] == "one two"
    assert second["answer"] == "zero"
    assert [each["answer"] for each in first["answers"]][:2] == ["one two", "two"]
    every = np.exp([9.0, 6.0, 5.0])
    assert first["score"] == pytest.approx(every[0] / every.sum(), rel=1e-2)
    assert first["answers"][0] == {key: first[key] for key in ("answer", "score", "start", "end")}


def test_a_span_of_two_windows_counts_once_with_its_higher_score():
    questions = [Question("who", CONTEXT)]
    windows = windows_of(questions, FORM)
    both = next(name for name in CONTEXT.split() if sum(name in each.encoded.tokens for each in windows) == 2)
    at = [place for place, each in enumerate(windows) if both in each.encoded.tokens]
    logits = logits_of(windows, **{both: {at[0]: (1, 1), at[1]: (3, 3)}})
    (result,) = find_answers(logits, questions, windows, FORM)
    assert result["answer"] == both
    assert [each["answer"] for each in result["answers"]].count(both) == 1
    assert result["score"] > 0.99


def test_long_and_backward_spans_and_those_of_the_question_are_no_answers():
    questions = [Question("who", CONTEXT)]
    windows = windows_of(questions, {**FORM, "length": 30, "stride": 0})
    logits = np.full((1, 2, 30), -9.0)
    logits[0, :, 1] = 50  # of the question
    tokens = windows[0].encoded.tokens
    logits[0, 0, tokens.index("five")] = 5
    logits[0, 1, tokens.index("two")] = 5  # behind its end
    logits[0, 1, tokens.index("eight")] = 4  # four tokens
    logits[0, 1, tokens.index("seven")] = 1
    (result,) = find_answers(logits, questions, windows, FORM)
    assert result["answer"] == "five six seven"


@pytest.mark.parametrize(
    ("none", "threshold", "answer"),
    [
        ((3, 3), 0.0, "two"),
        ((3.5, 3.5), 0.0, None),
        ((3.5, 3.5), 1.0, "two"),
        ((3.6, 3.5), 1.0, None),
        ((3, 3), -1, None),
    ],
)
def test_no_answer_wins_by_more_than_the_threshold_in_every_window(none, threshold, answer):
    questions = [Question("who", CONTEXT)]
    windows = windows_of(questions, FORM)
    logits = logits_of(windows, two={0: (3, 3)}) if "two" in windows[0].encoded.tokens else None
    logits[:, :, 0] = 20
    logits[-1, :, 0] = none
    settings = {**FORM, "no_answer": True, "threshold": threshold}
    (result,) = find_answers(logits, questions, windows, settings)
    assert result["answer"] == answer
    assert (result["start"] is None) == (answer is None)
    shown = [each["answer"] for each in result["answers"]]
    assert {None, "two"} <= set(shown)
    (sure,) = find_answers(logits, questions, windows, FORM)
    assert sure["answer"] == "two"
    assert None not in [each["answer"] for each in sure["answers"]]


def test_logits_that_are_no_numbers_are_refused():
    questions = [Question("who", "zero"), Question("who", "one")]
    windows = windows_of(questions, FORM)
    logits = logits_of(windows)
    logits[1, 0, 0] = np.nan
    with pytest.raises(DataError, match="it does not for question 1"):
        find_answers(logits, questions, windows, FORM)
