"""Windows of questions: forms of raw input, every token of a text in a window, places of answers in tokens and text."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasdl.core import ArgumentError
from kerasdl.data.text import Answer
from kerasdl.sequence import train_tokenizer
from kerasdl.sequence.answering.question_windows import Question, inputs_of, labels_of, questions_of, windows_of

CONTEXT = "The cat sat.  Zoë Müller ran to   the red house, and slept there: 42% of a very long, long day!"
WORDS = "the cat sat zoe muller ran to red house and slept there of a very long day who . , : % ! ? 42"


def settings_of(kind="wordpiece", length=14, stride=3, size=90, **changes):
    texts = [WORDS, CONTEXT, "who?"]
    tokenizer = train_tokenizer(texts, kind, size, lowercase=kind == "wordpiece", ends=True)
    form = {"length": length, "stride": stride, "padding_id": 0, "segments": True}
    return {**form, "tokenizer": tokenizer.to_text(), **changes}


SETTINGS = {kind: settings_of(kind, length=40, size=400 if kind == "byte_bpe" else 90) for kind in ("wordpiece", "bpe")}
SETTINGS["byte_bpe"] = settings_of("byte_bpe", length=40, size=400)


@pytest.mark.parametrize(
    "raw",
    [
        ("who?", "the cat"),
        {"question": "who?", "context": "the cat"},
        [("who?", "the cat")],
        [["who?", "the cat"]],
        [{"context": "the cat", "question": "who?"}],
        {"question": ["who?"], "context": ["the cat"]},
        {"question": np.array(["who?"], object), "context": np.array(["the cat"], object)},
        np.array([["who?", "the cat"]]),
    ],
)
def test_forms_of_raw_input(raw):
    assert questions_of(raw) == [("who?", "the cat")]


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        ("who?", "a text alone"),
        (["who?"], "0: 'who"),
        ([("who?", "cat"), ("who?",)], r"1: \('who"),
        ([("who?", None)], "raw must be questions"),
        ([("who?", " ")], "context of a question must hold text; got '0: ' ''|context of a question must hold text"),
        ([("", "cat")], "question of a question must hold text"),
        ({"question": "who?"}, r"a dict with \['question'\]"),
        ({"question": ["who?"], "context": []}, "two lists of one length"),
        ({"question": "who?", "context": ["cat"]}, "two texts, or two lists"),
        ({"who?"}, "set"),
        (7, "int"),
    ],
)
def test_other_forms_are_refused(raw, error):
    with pytest.raises(ArgumentError, match=error):
        questions_of(raw)


@pytest.mark.parametrize(("length", "stride"), [(14, 3), (9, 0), (12, 6), (60, 20)])
def test_every_token_of_the_text_is_in_a_window_and_places_are_those_of_the_text(length, stride):
    form = settings_of(length=length, stride=stride)
    windows = windows_of([Question("who?", CONTEXT)], form)
    seen = [tuple(span) for window in windows for span in window.spans.tolist()]
    whole = windows_of([Question("who?", CONTEXT)], settings_of(length=200, stride=0))[0]
    assert sorted(set(seen)) == [tuple(span) for span in whole.spans.tolist()]
    for before, after in itertools.pairwise(windows):
        shared = {*map(tuple, before.spans.tolist())} & {*map(tuple, after.spans.tolist())}
        assert len(shared) == stride
    tokens = inputs_of(windows, form)
    assert tokens["tokens"].shape == (len(windows), length)
    for row, kinds, window in zip(tokens["tokens"], tokens["segments"], windows, strict=True):
        assert row[: len(window.encoded.ids)].tolist() == list(window.encoded.ids)
        assert not row[len(window.encoded.ids) :].any()
        assert set(kinds[window.places]) == {1}
        assert not kinds[: window.places[0]].any()
        assert window.encoded.tokens[0] == "[BOS]"
    assert inputs_of(windows, {**form, "segments": False}).tolist() == tokens["tokens"].tolist()


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("cat", "cat"),
        ("Zoë Müller", "Zoë Müller"),
        (" Zoë Müller ", "Zoë Müller"),
        ("42", "42"),
        ("to   the red", "to   the red"),
        ("day!", "day!"),
        ("The", "The"),
    ],
)
def test_an_answer_comes_back_from_its_tokens(answer, found):
    start = CONTEXT.index(answer)
    for form in SETTINGS.values():
        windows = windows_of([Question("who?", CONTEXT)], form)
        spans = [(window, window.tokens_of(Answer(answer, start))) for window in windows]
        assert any(span for _, span in spans)
        for window, span in spans:
            if span is not None:
                ends = [window.encoded.offsets[place] for place in span]
                assert CONTEXT[ends[0][0] : ends[1][1]].strip() == found


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_span_of_words_is_covered_by_its_tokens_or_by_no_part(data):
    words = data.draw(st.lists(st.sampled_from(["cat", "Zoë", "slept", "42%", "🐈", "ok"]), min_size=1, max_size=14))
    gaps = data.draw(st.lists(st.sampled_from([" ", "  ", "\n", "\u00a0"]), min_size=len(words), max_size=len(words)))
    text = "".join(word + gap for word, gap in zip(words, gaps, strict=True))
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    start = sum(len(word) + len(gap) for word, gap in zip(words[:first], gaps[:first], strict=True))
    size = sum(len(word) + len(gap) for word, gap in zip(words[first:last], gaps[first:last], strict=True))
    answer = Answer(text[start : start + size + len(words[last])], start)
    windows = windows_of([Question("who?", text)], {**SETTINGS["byte_bpe"], "length": 24, "stride": 5})
    for window in windows:
        span = window.tokens_of(answer)
        whole = window.spans[0, 0] <= start and window.spans[-1, 1] >= start + len(answer.text)
        assert (span is not None) == bool(whole)
        if span is not None:
            ends = [window.encoded.offsets[place] for place in span]
            assert text[ends[0][0] : ends[1][1]].strip() == answer.text


def test_labels_stand_at_the_answer_and_windows_without_it_are_left_out_or_say_so():
    form = settings_of(length=14, stride=3)
    questions = [Question("who?", CONTEXT), Question("who?", "The cat sat.")]
    answers = [(Answer("ran", 25), Answer("cat", 4)), ()]
    windows = windows_of(questions, form)
    chosen, labels, missing = labels_of(windows, answers, no_answer=True)
    assert chosen == windows
    assert not missing
    at = [place for place, row in enumerate(labels.tolist()) if row != [0, 0]]
    assert at
    for place in at:
        window, (first, last) = windows[place], labels[place]
        assert CONTEXT[window.encoded.offsets[first][0] : window.encoded.offsets[last][1]] == "ran"
    fewer, rows, _ = labels_of(windows[:-1], answers, no_answer=False)
    assert fewer == [windows[place] for place in at]
    assert rows.tolist() == labels[at].tolist()
    long = (Answer(CONTEXT, 0),)
    assert labels_of(windows, [long, ()], no_answer=True)[1:][1] == [0]
    nothing = labels_of(windows, [long, ()], no_answer=False)
    assert nothing[0] == []
    assert nothing[1].shape == (0, 2)


def test_questions_without_room_and_texts_without_tokens_are_refused():
    form = settings_of(length=10, stride=3)
    with pytest.raises(ArgumentError, match="must leave its text more than 3 tokens, the stride, of the 10"):
        windows_of([Question("the cat sat who?", CONTEXT)], form)
    with pytest.raises(ArgumentError, match="text of a question must have a token"):
        windows_of([Question("who?", "\u0001\u0002")], form)


def test_texts_of_a_pair_are_told_apart_where_segments_are_not():
    tokenizer = train_tokenizer([WORDS], "word", 60)
    encoded = tokenizer.encoded("who ?", "the cat")
    assert encoded.texts == (0, 0, 1, 1)
    assert train_tokenizer([WORDS], "word", 60, ends=True).encoded("who", "cat").texts == (None, 0, None, 1, None)
