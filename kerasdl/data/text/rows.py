"""Rows of texts with their places: bad rows are named, duplicates share a split, and a dataset is made of the rest."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kerasdl.core import checks
from kerasdl.core.errors import DataError

from ..dataset import Dataset
from ..folders.reader import DataWarning
from ..sources import Examples
from ..splits import SPLITS

SHOWN = 8
"""Number of bad rows that a message names."""
MEMORY_LIMIT = 2**31
FEWEST = 3
"""Number of texts of a class from which one is for validation and one for the test."""


@dataclass(frozen=True)
class Row:
    """A text of a file."""

    place: str
    """Words that name it, such as `line 7` or a file's name."""
    text: str
    label: str | None = None
    """The name of its class; None if rows have none."""
    fault: str = ""
    """The reason for which it cannot be used, if there is one."""
    split: str | None = None
    """The split whose folder it lies in; None where a split is drawn."""
    second: str | None = None
    """The second text of a pair."""


def fault_of(text: str, label: str | None = None) -> str:
    """Returns the reason for which a text or its label cannot be used, empty if there is none.

    Example:
        >>> fault_of("  "), fault_of("good", "a")
        ('its text is empty', '')
    """
    if any("\ud800" <= letter <= "\udfff" for letter in text + (label or "")):
        return "it is not UTF-8"
    if "\0" in text:
        return "its text has a NUL"
    if not text.strip():
        return "its text is empty"
    return "its label is empty" if label is not None and not label.strip() else ""


def read_rows(
    name: str,
    rows: Sequence[Row],
    split: str,
    *,
    on_bad: str,
    seed: int,
    licence: str = "yours",
) -> Dataset:
    """Returns a split of rows as a dataset of strings, with labels where the rows have them.

    Rows whose split is not fixed are divided 80, 10 and 10 per cent in each class, by a hash of the seed and the text.
    Texts that differ only in capitals and spaces are in one split.

    Args:
        name: name of the dataset.
        rows: rows of the whole file.
        split: `train`, `validation`, `test` or `all`.
        on_bad: `skip` leaves bad rows out with a `DataWarning` that names them; `refuse` raises.
        seed: seed of the split.
        licence: the terms of the texts.

    Returns:
        The dataset; classes are sorted by name.

    Raises:
        ArgumentError: there is no such split.
        DataError: a row is bad (`on_bad="refuse"`), no row is left, or there is one class alone.

    Example:
        >>> rows = [Row(f"line {k}", f"text {k}", "ab"[k % 2]) for k in range(20)]
        >>> read_rows("mine", rows, "train", on_bad="skip", seed=0).size
        16
    """
    checks.one_of("split", split, (*SPLITS, "all"))
    bad = [row for row in rows if row.fault]
    good = [row for row in rows if not row.fault]
    if bad:
        report_bad_rows(name, bad, len(rows), on_bad)
    if not good:
        raise DataError(f"{name} must hold a text; {len(rows)} rows were read and none can be used.")
    labelled = any(row.label is not None for row in good)
    names = tuple(sorted({row.label for row in good})) if labelled else ()
    if len(names) == 1:
        rule = f"a classifier needs two classes or more; {name} holds {names[0]!r} alone"
        if split != "all":
            raise DataError(f"{rule}. Check the column of labels.")
        checks.warn(f"{rule}.", DataWarning)
    if labelled:
        _warn_of_single_labels(name, good)
    homes = [row.split for row in good] if any(row.split for row in good) else drawn_splits(good, seed)
    chosen = [row for row, home in zip(good, homes, strict=True) if split in ("all", home)]
    if not chosen:
        raise DataError(f"split {split!r} of {name} holds no text: {len(good)} rows are too few. Take 'all'.")
    labels = np.array([names.index(row.label) for row in chosen], np.int32) if labelled else None
    return Dataset(
        name=name,
        task="text_classification" if labelled else "unknown",
        class_names=names,
        input_shape=(2,) if chosen[0].second is not None else (),
        input_dtype="string",
        size=len(chosen),
        licence=licence,
        seekable=True,
        scale=None,
        source=Examples(_array(name, chosen), labels),
    )


def text_key(text: str) -> str:
    """Returns what texts have in common that differ only in capitals and spaces.

    Example:
        >>> text_key(" A  good film")
        'a good film'
    """
    return " ".join(text.casefold().split())


def report_bad_rows(name: str, bad: Sequence[Row], total: int, on_bad: str) -> None:
    """Warns of rows that cannot be used, or refuses them; see `read_rows`.

    Raises:
        DataError: `on_bad` is `refuse`.
    """
    named = "; ".join(f"{row.place}: {row.fault}" for row in bad[:SHOWN])
    more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    rule = f"{len(bad)} of {total} rows of {name} cannot be used: {named}{more}"
    if on_bad == "refuse":
        raise DataError(f"{rule}. Repair or remove them, or pass on_bad='skip'.")
    checks.warn(f"{rule}; left out. Repair or remove them.", DataWarning)


def _warn_of_single_labels(name: str, rows: Sequence[Row]) -> None:
    """Warns of labels that a single row has, where others are frequent: most are misspelt."""
    first: dict[str, Row] = {}
    counts: dict[str, int] = {}
    for row in rows:
        first.setdefault(row.label, row)
        counts[row.label] = counts.get(row.label, 0) + 1
    single = [first[label] for label, count in counts.items() if count == 1]
    if single and len(rows) >= 10 * len(counts):
        named = ", ".join(f"{row.label!r} ({row.place})" for row in single[:SHOWN])
        text = f"{name} has labels that one row alone has: {named}. Check their spelling"
        checks.warn(f"{text}.", DataWarning)


def drawn_splits(rows: Sequence[Row], seed: int) -> list[str]:
    """Returns the split of each row: a tenth of the texts of each class to validate, a tenth to test."""
    keys = [text_key(f"{row.text} {row.second or ''}") for row in rows]
    classes: dict[str, str | None] = {}
    for row, key in zip(rows, keys, strict=True):
        classes.setdefault(key, row.label)
    drawn: dict[str, str] = {}
    for label in {*classes.values()}:
        members = sorted((key for key, each in classes.items() if each == label), key=_hash(seed))
        count = max(1, round(len(members) / 10)) if len(members) >= FEWEST else 0
        for place, key in enumerate(members):
            drawn[key] = "validation" if place < count else "test" if place < 2 * count else "train"
    return [drawn[key] for key in keys]


def _hash(seed: int) -> Callable[[str], str]:
    return lambda key: hashlib.sha256(f"{seed}/{key}".encode()).hexdigest()


def _array(name: str, rows: Sequence[Row]) -> np.ndarray:
    """Returns the texts as one array (N,), of pairs (N, 2), whose rows all take the memory of the longest."""
    is_pair = rows[0].second is not None
    longest = max(rows, key=lambda row: max(len(row.text), len(row.second or "")))
    size = max(len(longest.text), len(longest.second or ""))
    if 4 * size * len(rows) * (1 + is_pair) > MEMORY_LIMIT:
        rule = f"texts of {name} must fit in {MEMORY_LIMIT // 2**20} MiB, each as long as the longest"
        got = f"{len(rows)} rows, and {longest.place} has {size} characters"
        raise DataError(f"{rule}; got {got}. Cut long texts into several rows.")
    return np.array([(row.text, row.second) if is_pair else row.text for row in rows])
