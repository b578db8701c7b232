"""Windows of questions and their texts as inputs of a net, and the places of answers in them.

Source: BERT, https://arxiv.org/abs/1810.04805, sections 4.2 and 4.3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from kerasdl.core import checks
from kerasdl.data.text import Answer

from ..text_inputs import tokenizer_of
from ..token_ids import check_rows
from ..tokenizers.encoding import Encoded

KEYS = ("question", "context")
FORM = 'raw must be questions with their texts, (question, context) or {"question": ..., "context": ...}'


class Question(NamedTuple):
    """A question and the text that it is about."""

    question: str
    context: str


@dataclass(frozen=True, eq=False)
class Window:
    """A part of a text with its question, as a net reads it."""

    owner: int
    """Number of the question."""
    encoded: Encoded
    """Its tokens; places are those of the whole text."""
    places: np.ndarray
    """Places (N,) of the tokens of the text among all tokens."""
    spans: np.ndarray
    """First character of each of these tokens in the text, and the one behind its last, (N, 2)."""

    def tokens_of(self, answer: Answer) -> tuple[int, int] | None:
        """Returns the places of the first and the last token of an answer; None where the window lacks a part of it."""
        start, end = answer.start, answer.start + len(answer.text.rstrip())
        start += len(answer.text) - len(answer.text.lstrip())
        inside = np.flatnonzero((self.spans[:, 0] < end) & (self.spans[:, 1] > start))
        if not inside.size or self.spans[inside[0], 0] > start or self.spans[inside[-1], 1] < end:
            return None
        return int(self.places[inside[0]]), int(self.places[inside[-1]])


def questions_of(raw: Any) -> list[Question]:
    """Returns raw input as questions.

    Args:
        raw: a list of pairs (question, context) or of dicts with these keys; one of them alone; or a dict of two lists.

    Raises:
        ArgumentError: it has another form, or a question or text is empty.
    """
    if isinstance(raw, Mapping):
        if not set(KEYS) <= set(raw):
            checks.refuse(FORM, f"a dict with {list(raw)[:6]}")
        columns = [raw[key] for key in KEYS]
        if not all(isinstance(each, str) for each in columns):
            if any(isinstance(each, str) for each in columns) or len({len(each) for each in columns}) > 1:
                checks.refuse("question and context of a dict must be two texts, or two lists of one length", "others")
            raw = list(zip(*columns, strict=True))
    if isinstance(raw, Mapping) or (isinstance(raw, tuple) and len(raw) == 2 and all(map(_is_text, raw))):
        raw = [raw]
    if isinstance(raw, (str, bytes)):
        checks.refuse(FORM, "a text alone")
    check_rows(raw, FORM)
    return [_question(each, number) for number, each in enumerate(raw)]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _question(each: Any, number: int) -> Question:
    if isinstance(each, Mapping):
        each = tuple(each.get(key) for key in KEYS)
    if not isinstance(each, (tuple, list, np.ndarray)) or len(each) != 2 or not all(map(_is_text, each)):
        checks.refuse(FORM, f"{number}: {each!r}"[:100])
    for kind, text in zip(KEYS, each, strict=True):
        if not text.strip():
            checks.refuse(f"the {kind} of a question must hold text", f"{number}: {text!r}")
    return Question(*each)


def windows_of(questions: Sequence[Question], settings: Mapping[str, Any]) -> list[Window]:
    """Returns the windows of all questions, in their order.

    Args:
        questions: the questions.
        settings: `tokenizer`; `length`, tokens of a window with those of the question; `stride`, tokens of the text
            that a window shares with the next one.

    Raises:
        ArgumentError: a question leaves no room for its text, or a text has no token.
    """
    tokenizer, windows = tokenizer_of(settings["tokenizer"]), []
    length, stride = settings["length"], settings["stride"]
    rooms: dict[str, int] = {}
    for owner, (question, context) in enumerate(questions):
        if question not in rooms:
            rooms[question] = length - len(tokenizer.encode(question, ""))
        if rooms[question] <= stride:
            rule = f"a question must leave its text more than {stride} tokens, the stride, of the {length} of a window"
            checks.refuse(rule, f"{rooms[question]} beside {question[:60]!r}", "Shorten it, or take a longer window.")
        found = [_window(owner, each) for each in tokenizer.windows(question, length, stride, pair=context)]
        if not any(len(each.places) for each in found):
            checks.refuse("the text of a question must have a token of the tokenizer", f"{owner}: {context[:60]!r}")
        windows += found
    return windows


def _window(owner: int, encoded: Encoded) -> Window:
    spans = np.array(encoded.offsets, np.int64).reshape(-1, 2)
    of_text = np.array([text == 1 for text in encoded.texts], bool) & (spans[:, 1] > spans[:, 0])
    places = np.flatnonzero(of_text)
    return Window(owner, encoded, places, spans[places])


def inputs_of(windows: Sequence[Window], settings: Mapping[str, Any]) -> Any:
    """Returns windows as inputs of a net: tokens (W, length) int32, and `segments` of that form where it reads them."""
    tokens = np.full((len(windows), settings["length"]), settings["padding_id"], np.int32)
    segments = np.zeros_like(tokens)
    for row, kinds, window in zip(tokens, segments, windows, strict=True):
        row[: len(window.encoded.ids)] = window.encoded.ids
        kinds[: len(window.encoded.segments)] = window.encoded.segments
    return {"tokens": tokens, "segments": segments} if settings.get("segments") else tokens


def labels_of(
    windows: Sequence[Window], answers: Sequence[Sequence[Answer]], *, no_answer: bool
) -> tuple[list[Window], np.ndarray, list[int]]:
    """Returns the windows to learn from, the places of their answers, and the questions of which none was found.

    The first answer of a question counts. A window that lacks a part of it has the places 0, of the first token, where
    a net may say that there is no answer; else it is left out.

    Args:
        windows: all windows.
        answers: the answers of each question.
        no_answer: whether the net may say so.

    Returns:
        Windows; (W, 2) int32; numbers of the questions whose answer is in no window.
    """
    chosen, rows, missing = [], [], {number for number, given in enumerate(answers) if given}
    for window in windows:
        given = answers[window.owner]
        span = window.tokens_of(given[0]) if given else None
        if span is not None:
            missing.discard(window.owner)
        if span is not None or no_answer:
            chosen.append(window)
            rows.append(span or (0, 0))
    return chosen, np.array(rows, np.int32).reshape(-1, 2), sorted(missing)
