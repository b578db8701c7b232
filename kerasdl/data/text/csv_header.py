"""Header of a CSV file of texts: its delimiter, and the places of the columns that are wanted."""

import csv
from pathlib import Path

from kerasdl.core.errors import DataError

DELIMITERS = ",;\t"
UTF16 = (b"\xff\xfe", b"\xfe\xff")
"""Starts of files that are no UTF-8."""


def parted_place(place: str, text: str, label: str | None) -> tuple[Path, str, str | None]:
    """Returns the path of `FILE#TEXT,LABEL`, and the columns that it names, or those given."""
    path, columns = Path(place).expanduser(), place.rpartition("#")
    if columns[0] and not path.is_file():
        path = Path(columns[0]).expanduser()
        text, _, label = columns[2].partition(",")
    return path, text, label or None


def wanted_columns(name: str, first: str, text: str, label: str | None) -> tuple[list[int], int, str]:
    """Returns the places of the texts, one or two, and of the label in a first line; its columns, and its delimiter.

    Args:
        name: of the file, for messages.
        first: its first line.
        text: column of the texts; `FIRST+SECOND` are two, unless a column has this name.
        label: column of the labels; None for texts alone.

    Raises:
        DataError: the line has no such column, or has one twice.
    """
    first = first.rstrip("\r\n")
    headers = {each: next(csv.reader([first], delimiter=each), []) for each in DELIMITERS}
    forms = [[*each, *([] if label is None else [label])] for each in forms_of(text)]
    fitting = ((form, each) for form in forms for each, header in headers.items() if {*form} <= {*header})
    wanted, delimiter = next(fitting, (forms[-1], None))
    if delimiter is None:
        header = max(headers.values(), key=len)
        missing = [column for column in wanted if column not in header]
        rule = f"{name} must have the columns {wanted} in its first line; it has {header[:20]}, without {missing}"
        text, label = header[:2] if len(header) > 1 else ("TEXT", "LABEL")
        raise DataError(f"{rule}. Name yours: csv:{name}#{text},{label}, or csv:{name}#{text} for texts alone.")
    header = headers[delimiter]
    if any(header.count(column) > 1 for column in wanted):
        raise DataError(f"{name} must have each of the columns {wanted} once; it has {header[:20]}.")
    return [header.index(column) for column in wanted], len(header), delimiter


def forms_of(text: str) -> list[list[str]]:
    """Returns the columns that a name may mean: itself, and two where a + parts it."""
    parts = text.split("+")
    return [[text], parts] if len(parts) == 2 and all(parts) and parts[0] != parts[1] else [[text]]
