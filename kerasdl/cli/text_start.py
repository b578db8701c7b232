"""Start of a text classifier on the command line: a tokenizer of the texts and an untrained net."""

from pathlib import Path

import numpy as np

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.core import checks
from kerasdl.data import Dataset

NET = "gru_classifier"
VOCABULARY = 8_000
LONGEST = 256
SHARE = 95
"""Per cent of the texts that are not cut."""
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
    """Returns a bundle with a new WordPiece tokenizer of the texts and an untrained net for their classes.

    Args:
        train: texts with classes.
        model: a registered net of the task; None is `gru_classifier`.

    Returns:
        The bundle; texts are cut to the length that 95 per cent do not reach, at most 256 tokens.

    Raises:
        ArgumentError: the net is of another task.
    """
    spec = kerasdl.spec(model or NET)
    checks.one_of(f"the task of {spec.name}", spec.task, ("text_classification",))
    ends = "transformer" in spec.tags  # which answer by the first token
    tokenizer = kerasdl.sequence.train_tokenizer(train, "wordpiece", VOCABULARY, lowercase=True, ends=ends)
    texts = train.arrays()[0]
    lengths = [len(tokenizer.encode(text)) for text in texts[:: 1 + len(texts) // 5_000].tolist()]
    length = int(np.clip(np.percentile(lengths, SHARE), 8, LONGEST))
    arguments = {"length": length, "vocabulary": tokenizer.vocabulary, "classes": len(train.class_names)}
    network = kerasdl.build(spec.name, **arguments)
    settings = {"length": length, "padding_id": 0, "tokenizer": tokenizer.to_text()}
    if len(network.inputs) > 1:
        settings["segments"] = True
    return Bundle.of(
        network,
        name=spec.name,
        task=spec.task,
        preprocess=settings,
        labels=train.class_names,
        builder=spec.name,
        arguments=arguments,
        provenance={"start": FRESH},
    )


def freezing_of(bundle: Bundle) -> str | None:
    """Returns "none" for an untrained net, whose layers must all learn from the start, else None."""
    return "none" if bundle.manifest.provenance.get("start") == FRESH else None


def read_texts(inputs: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Returns name and text of each argument, and lines about unreadable files; a .txt file is read whole."""
    names, texts, unread = [], [], []
    for each in inputs:
        if each.lower().endswith(".txt") and Path(each).is_file():
            try:
                text = Path(each).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                unread.append(f"{each} cannot be read: {error}")
                continue
        else:
            text = each
        names.append(each if len(each) <= 60 else f"{each[:57]}...")
        texts.append(text)
    return names, texts, unread
