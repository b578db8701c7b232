"""Search of the likeliest answers: spans of tokens over all windows of a text, as characters of that text.

Source: BERT, https://arxiv.org/abs/1810.04805, sections 4.2 and 4.3.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasdl.core.errors import DataError

from .question_windows import Question, Window

CANDIDATES = 20
"""Spans of a question among which probabilities are shared."""
SHOWN = 3
"""Answers that a result names."""


def find_answers(
    logits: np.ndarray, questions: Sequence[Question], windows: Sequence[Window], settings: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Returns the likeliest answer to each question.

    The score of a span is the logit of its first token to begin the answer plus that of its last to end it; scores of
    different windows are compared as they are. That there is no answer has the score of the first token of a window,
    the least of all windows.

    Args:
        logits: (W, 2, T), as the net gives them.
        questions: the questions.
        windows: their windows.
        settings: `longest`, tokens of an answer at most; `no_answer`, whether the net may say that there is none;
            `threshold`, by which its score must exceed that of the best span.

    Returns:
        Of each question `answer`, None where there is none, its `score` (its probability among all that were compared),
        `start` and `end`, its characters in the text, and `answers`, the three likeliest of that form.

    Raises:
        DataError: a logit is not a finite number.
    """
    if not np.isfinite(logits).all():
        place = windows[int(np.argwhere(~np.isfinite(logits))[0][0])].owner
        raise DataError(
            f"a net must answer with finite numbers; it does not for question {place}. Look at its weights."
        )
    spans: list[dict[tuple[int, int], float]] = [{} for _ in questions]
    nothing = np.full(len(questions), np.inf)
    for (starts, ends), window in zip(logits, windows, strict=True):
        nothing[window.owner] = min(nothing[window.owner], float(starts[0]) + float(ends[0]))
        found, context = spans[window.owner], questions[window.owner].context
        for first, last, score in best_spans(starts[window.places], ends[window.places], settings["longest"]):
            span = _trimmed(context, int(window.spans[first, 0]), int(window.spans[last, 1]))
            if span[0] < span[1]:
                found[span] = max(score, found.get(span, -np.inf))
    if not settings.get("no_answer", False):
        nothing[:] = -np.inf
    triples = zip(questions, spans, nothing, strict=True)
    return [_result(question.context, found, none, settings.get("threshold", 0.0)) for question, found, none in triples]


def best_spans(starts: np.ndarray, ends: np.ndarray, longest: int) -> list[tuple[int, int, float]]:
    """Returns up to `CANDIDATES` spans with the highest sums of two logits, the best first.

    Args:
        starts: (N,) logits of the tokens of a text to begin the answer.
        ends: (N,) logits to end it.
        longest: tokens of a span at most.

    Returns:
        Place of the first token, of the last one, and the sum; of equal sums the earlier and shorter span comes first.

    Example:
        >>> best_spans(np.array([0.0, 2.0, 1.0]), np.array([3.0, 0.0, 1.0]), 2)[0]
        (0, 0, 3.0)
    """
    count = len(starts)
    places = np.arange(count)[:, None] + np.arange(min(longest, count))  # (N, longest): the last token of each span
    sums = np.asarray(starts, float)[:, None] + np.asarray(ends, float)[np.minimum(places, count - 1)]
    sums[places >= count] = -np.inf
    order = np.argsort(-sums, axis=None, kind="stable")[:CANDIDATES]
    rows, columns = np.unravel_index(order, sums.shape)
    triples = zip(rows.tolist(), places[rows, columns].tolist(), sums[rows, columns].tolist(), strict=True)
    return [triple for triple in triples if triple[2] > -np.inf]


def _trimmed(context: str, start: int, end: int) -> tuple[int, int]:
    """Returns a span without the spaces at its ends, which some tokens contain."""
    text = context[start:end]
    return start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())


def _result(context: str, spans: Mapping[tuple[int, int], float], none: float, threshold: float) -> dict[str, Any]:
    ranked = sorted(spans.items(), key=lambda each: (-each[1], each[0]))[:CANDIDATES]
    if not ranked and none == -np.inf:
        raise DataError(f"a text must have a token that is no space; {context[:60]!r} has none.")
    scores = np.array([score for _, score in ranked] + [none])
    shares = np.exp(scores - scores.max())
    shares = shares / shares.sum()
    answers = [
        {"answer": context[start:end], "score": float(share), "start": start, "end": end}
        for ((start, end), _), share in zip(ranked, shares, strict=False)
    ]
    if none > -np.inf:
        nothing = {"answer": None, "score": float(shares[-1]), "start": None, "end": None}
        is_none = not ranked or none - ranked[0][1] > threshold
        higher = sum(each["score"] >= nothing["score"] for each in answers[1:])
        answers.insert(0 if is_none else 1 + higher, nothing)
    return {**answers[0], "answers": answers[:SHOWN]}
