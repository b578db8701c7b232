"""Start of a bundle of texts on the command line: a tokenizer of the texts and an untrained net; texts to predict."""

from pathlib import Path
from typing import Any

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.core import checks
from kerasdl.core.errors import DataError
from kerasdl.data import Dataset

MAKERS = {
    "text_classification": "TextClassifier",
    "token_tagging": "TokenTagger",
    "question_answering": "QuestionAnswerer",
}
"""Class of `kerasdl.sequence` by the task whose new bundles it makes."""
QUESTIONS = "question_answering"
FRESH = "untrained net"


def with_columns(text: str | None, label: str | None, *names: str | None) -> list[str | None]:
    """Returns names of rows with their columns, `csv:FILE#TEXT,LABEL`; all as they are where no column is given.

    Raises:
        ArgumentError: columns are given for data without columns.
    """
    if text is None and label is None:
        return list(names)
    for name in names:
        if name is not None and not name.startswith(("csv:", "jsonl:")):
            checks.refuse("--text and --label are for csv:FILE and jsonl:FILE", name)
    return [None if name is None else f"{name}#{text or 'text'},{label or 'label'}" for name in names]


def check_task(task: str | None, train: Dataset) -> None:
    """Checks that data are for the task that is asked for.

    Raises:
        ArgumentError: they are for another one.
    """
    if task not in (None, train.task):
        checks.refuse(f"data of --task {task} must be for it", f"{train.name}: {train.task}")


def text_bundle(train: Dataset, model: str | None = None) -> Bundle:
    """Returns a bundle of an untrained net for texts, with a new tokenizer of them.

    Args:
        train: texts with classes or tags, or questions about texts.
        model: a registered net of the task; None takes the usual one of `from_data` of the task's class.

    Returns:
        The bundle.

    Raises:
        ArgumentError: the net is of another task.
    """
    made = getattr(kerasdl.sequence, MAKERS[train.task]).from_data(train, model)
    return Bundle.of(**made.bundle_parts(made.builder), provenance={"start": FRESH})


def freezing_of(bundle: Bundle) -> str | None:
    """Returns "none" for an untrained net, whose layers must all learn from the start, else None."""
    return "none" if bundle.manifest.provenance.get("start") == FRESH else None


def read_texts(inputs: list[str]) -> tuple[list[str], list[Any], list[str]]:
    """Returns name and text of each argument, and lines about unreadable files.

    A .txt file is read whole; a .json file is a list of texts, pairs, or questions with their texts.
    """
    names, texts, unread = [], [], []
    for each in inputs:
        if each.lower().endswith((".txt", ".json")) and Path(each).is_file():
            try:
                found = _of_file(Path(each))
            except (OSError, UnicodeDecodeError, DataError) as error:
                unread.append(f"{each} cannot be read: {error}")
                continue
        else:
            found = [each if len(each) <= 60 else f"{each[:57]}..."], [each]
        names += found[0]
        texts += found[1]
    return names, texts, unread


def _of_file(path: Path) -> tuple[list[str], list[Any]]:
    """Returns the names and the texts of a .txt or .json file."""
    if path.suffix.lower() == ".txt":
        return [str(path)], [path.read_text(encoding="utf-8")]
    names, rows, unread = kerasdl.cli.read_inputs([path])
    if unread:
        raise DataError(unread[0])
    return names, rows


def with_context(task: str, texts: list[Any], context: str | None) -> list[Any]:
    """Returns questions with the text that they are about, as a bundle takes them; other raw input as it is.

    Args:
        task: name of the bundle's task.
        texts: raw input.
        context: the text, or a .txt file with it; None where raw input has its own.

    Raises:
        ArgumentError: the task takes no context, or questions lack theirs.
        DataError: the file cannot be read.
    """
    bare = [each for each in texts if isinstance(each, str)]
    if task != QUESTIONS:
        if context is not None:
            checks.refuse("--context is for bundles that answer questions", task)
        return texts
    if context is None:
        if bare:
            hint = "Pass --context TEXT or a .txt file, or a .json file with question and context in each object."
            checks.refuse("a question must have a text that it is about", bare[0][:60], hint)
        return texts
    if len(bare) < len(texts):
        checks.refuse("--context is for questions that are texts alone", "questions with texts of their own")
    _, found, unread = read_texts([context])
    if unread or len(found) != 1 or not isinstance(found[0], str):
        raise DataError(unread[0] if unread else f"--context must be a text or a .txt file; got {context[:60]!r}.")
    return [(each, found[0]) for each in texts]
