"""Questions about texts with their answers: files in the form of SQuAD, and lists of one's own.

Source: https://arxiv.org/abs/1606.05250; questions without answer: https://arxiv.org/abs/1806.03822.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kerasdl.core import checks
from kerasdl.core.errors import DataError

from ..dataset import Dataset
from ..sources import Examples
from ..splits import SPLITS
from .rows import Row, drawn_splits, fault_of, report_bad_rows

TASK = "question_answering"


class Answer(NamedTuple):
    """An answer and its place in the text of its question."""

    text: str
    start: int
    """Its first character in that text, counted from 0."""


class AnsweredQuestion(NamedTuple):
    """A question about a text with its answers; none where the text has no answer."""

    question: str
    context: str
    answers: tuple[Answer, ...]


class _RowError(Exception):
    """A reason for which a part of a file cannot be used."""


def question_data(
    questions: Sequence[str], contexts: Sequence[str], answers: Sequence[Any], *, name: str = "questions"
) -> Dataset:
    """Returns questions about texts as a dataset of the task `question_answering`.

    Args:
        questions: the questions.
        contexts: the text that each question is about.
        answers: of each question its answers, the one to learn first: pairs of text and first character, or texts that
            occur once in the context. A text alone is one answer, and an empty list none.
        name: name of the dataset.

    Returns:
        A `Dataset` with inputs `{"question", "context"}` and for labels tuples of `Answer`.

    Raises:
        ArgumentError: lists differ in length, or an answer is not in its text, or in several places.

    Example:
        >>> data = question_data(["Who sat?"], ["The cat sat."], ["cat"])
        >>> data[0][1]
        (Answer(text='cat', start=4),)
    """
    if len({len(questions), len(contexts), len(answers)}) > 1 or not len(questions):
        sizes = (len(questions), len(contexts), len(answers))
        checks.refuse("questions, contexts and answers must be lists of one length, 1 or more", sizes)
    rows = []
    for number, (question, context, given) in enumerate(zip(questions, contexts, answers, strict=True)):
        try:
            found = [_answer_in(context, each) for each in ([given] if isinstance(given, str) else given)]
            rows.append(_checked(question, context, found))
        except _RowError as fault:
            checks.refuse("each question must be a text about a text that holds its answers", f"{number}: {fault}")
    return _dataset(name, rows)


def read_squad(place: str | os.PathLike, split: str = "all", *, on_bad: str = "skip", seed: int = 0) -> Dataset:
    """Reads questions from a file in the form of SQuAD 1.1 or 2.0: data, paragraphs, qas, answers.

    A file is cut 80, 10 and 10 per cent by a hash of the seed and the text, so that all questions about one text are in
    one split; `all` is the file. `plausible_answers` are not read.

    Args:
        place: the file, JSON in UTF-8.
        split: `train`, `validation`, `test` or `all`.
        on_bad: `skip` leaves out what is faulty with a `DataWarning` that names it by its place; `refuse` raises.
        seed: seed of the split.

    Returns:
        A `Dataset` as of `question_data`.

    Raises:
        ArgumentError: there is no such split.
        DataError: the file is missing, no JSON or of another form, a part is faulty (`on_bad="refuse"`), or no question
            is left.

    Example:
        >>> qas = [{"id": "1", "question": "Who sat?", "answers": [{"text": "cat", "answer_start": 4}]}]
        >>> paragraphs = [{"context": "The cat sat.", "qas": qas}]
        >>> _ = Path("one.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
        >>> read_squad("one.json").size
        1
    """
    checks.one_of("split", split, (*SPLITS, "all"))
    checks.one_of("on_bad", on_bad, ("skip", "refuse"))
    name, content = f"squad:{place}", _content(Path(place).expanduser())
    found, bad, total, seen = [], [], 0, set()
    for where, value in _parts(content, "data", "the file"):
        for at, paragraph in _nested(value, "paragraphs", where, bad):
            try:
                context = _text(paragraph, "context")
            except _RowError as fault:
                bad.append(Row(at, "", fault=str(fault)))
                continue
            for at_question, question in _nested(paragraph, "qas", at, bad):
                total += 1
                try:
                    found.append(_question(question, context, seen))
                except _RowError as fault:
                    bad.append(Row(at_question, "", fault=str(fault)))
    if bad:
        report_bad_rows(name, bad, max(total, len(bad)), on_bad)
    if not found:
        raise DataError(f"{name} must hold a question; {total} were read and none can be used.")
    homes = drawn_splits([Row("", each.context) for each in found], seed)
    chosen = [each for each, home in zip(found, homes, strict=True) if split in ("all", home)]
    if not chosen:
        texts = len({each.context for each in found})
        raise DataError(f"split {split!r} of {name} holds no question: {texts} texts are too few. Take 'all'.")
    return _dataset(name, chosen)


def _dataset(name: str, rows: Sequence[AnsweredQuestion]) -> Dataset:
    inputs = {"question": _objects([row.question for row in rows]), "context": _objects([row.context for row in rows])}
    return Dataset(
        name=name,
        task=TASK,
        class_names=(),
        input_shape=(),
        input_dtype="string",
        size=len(rows),
        licence="yours",
        seekable=True,
        scale=None,
        source=Examples(inputs, _objects([row.answers for row in rows])),
    )


def _objects(values: Sequence[Any]) -> np.ndarray:
    """Returns objects as an array (N,), in which many questions share the memory of one text."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise DataError(f"cannot read squad:{path}: {error.strerror}. Check the path.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} must be UTF-8; byte {error.start} is not. Save it as UTF-8.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name} must be JSON in the form of SQuAD; it is none ({error}).") from None
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        kind = f"an object with {list(content)[:8]}" if isinstance(content, dict) else type(content).__name__
        raise DataError(f'{path.name} must be an object with a list "data", as files of SQuAD; it is {kind}.')
    return content


def _parts(value: Any, key: str, where: str) -> Iterator[tuple[str, Any]]:
    """Returns the parts of a list of an object, each with its place in words."""
    if not isinstance(value, dict):
        raise _RowError(f"it is no object but {type(value).__name__}")
    if not isinstance(value.get(key), list):
        raise _RowError(f"it has no list {key!r}")
    start = "" if where == "the file" else f"{where}."
    return ((f"{start}{key}[{number}]", each) for number, each in enumerate(value[key]))


def _nested(value: Any, key: str, where: str, bad: list[Row]) -> list[tuple[str, Any]]:
    """Returns the parts of a list of an object; without one it is noted as faulty and has none."""
    try:
        return list(_parts(value, key, where))
    except _RowError as fault:
        bad.append(Row(where, "", fault=str(fault)))
        return []


def _question(value: Any, context: str, seen: set[str]) -> AnsweredQuestion:
    """Returns a checked question of a file.

    Raises:
        _RowError: it cannot be used.
    """
    if not isinstance(value, dict):
        raise _RowError(f"it is no object but {type(value).__name__}")
    question, impossible = _text(value, "question"), value.get("is_impossible", False)
    answers, name = value.get("answers", []), value.get("id")
    if not isinstance(impossible, bool):
        raise _RowError(f"its is_impossible is neither true nor false but {impossible!r}")
    if not isinstance(answers, list):
        raise _RowError(f"its answers are no list but {type(answers).__name__}")
    if impossible == bool(answers):
        raise _RowError("it has answers and is_impossible" if impossible else "it has no answer and not is_impossible")
    if name is not None and not isinstance(name, (str, int)):
        raise _RowError(f"its id is no text but {type(name).__name__}")
    if name in seen:
        raise _RowError(f"its id {name!r} is that of another question")
    row = _checked(question, context, [_answer(each) for each in answers])
    seen.update(() if name is None else (name,))
    return row


def _answer(value: Any) -> Answer:
    """Returns an answer of a file, whose place is not checked yet."""
    if not isinstance(value, dict) or not {"text", "answer_start"} <= set(value):
        raise _RowError("an answer of it is no object with text and answer_start")
    start = value["answer_start"]
    if isinstance(start, bool) or not isinstance(start, int):
        raise _RowError(f"answer_start of it is no whole number but {start!r}")
    return Answer(value["text"], start)


def _answer_in(context: Any, answer: Any) -> Answer:
    """Returns an answer that is a pair, or a text that occurs once in its context."""
    if isinstance(answer, str) and isinstance(context, str):
        count = context.count(answer) if answer else 0
        if count != 1:
            places = f"occurs {count} times in its text" if count else "is not in its text"
            hint = "; pass (text, first character)" if count else ""
            raise _RowError(f"its answer {answer[:40]!r} {places}{hint}")
        return Answer(answer, context.index(answer))
    pair = tuple(answer) if isinstance(answer, (tuple, list)) else ()
    if len(pair) != 2 or isinstance(pair[1], bool) or not isinstance(pair[1], (int, np.integer)):
        raise _RowError(f"an answer is neither a text nor (text, first character) but {answer!r}"[:120])
    return Answer(pair[0], int(pair[1]))


def _checked(question: Any, context: Any, answers: Sequence[Answer]) -> AnsweredQuestion:
    """Returns a question whose texts are texts, and whose answers stand at their places.

    Raises:
        _RowError: one is not.
    """
    for kind, text in {"question": question, "context": context}.items():
        _text({kind: text}, kind)
    for text, start in answers:
        if not isinstance(text, str) or not text.strip():
            raise _RowError("an answer of it is empty" if isinstance(text, str) else "an answer of it is no text")
        if start < 0 or context[start : start + len(text)] != text:
            there = context[max(start, 0) : max(start, 0) + len(text)]
            raise _RowError(
                f"its answer {text[:40]!r} is not at character {start} of its text, where {there[:40]!r} is"
            )
    return AnsweredQuestion(question, context, tuple(answers))


def _text(value: Any, key: str) -> str:
    """Returns a text of an object that can be used.

    Raises:
        _RowError: it is missing, empty or no text.
    """
    if not isinstance(value, dict):
        raise _RowError(f"it is no object but {type(value).__name__}")
    text = value.get(key)
    if not isinstance(text, str):
        raise _RowError(f"its {key} is missing" if text is None else f"its {key} is no text but {type(text).__name__}")
    if fault := fault_of(text):
        raise _RowError(fault.replace("its text", f"its {key}"))
    return text
