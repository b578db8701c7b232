"""Files with a text in each row: plain text, CSV and JSON lines; faults are named by line."""

import csv
import io
import json
from collections.abc import Callable, Iterator

from kerasdl.core.errors import DataError

from ..dataset import Dataset
from .csv_header import UTF16, forms_of, parted_place, wanted_columns
from .rows import Row, fault_of, read_rows

KINDS = ("text", "csv", "jsonl")


def read_row_file(
    kind: str, place: str, split: str, *, text: str, label: str | None, on_bad: str, seed: int
) -> Dataset:
    """Returns a split of the texts of a file.

    `text`: each line that is not empty is a text without label. `csv`: a header, then rows with a text and a label;
    the delimiter is the comma, semicolon or tab with which the header has the columns. `jsonl`: an object a line.

    Args:
        kind: `text`, `csv` or `jsonl`.
        place: path of the file, UTF-8; `FILE#TEXT,LABEL` names the columns, `FILE#TEXT` that of texts without labels,
            and `FILE#FIRST+SECOND,LABEL` those of pairs of texts.
        split: as in `read_rows`.
        text: column, or key, of the texts; `FIRST+SECOND` are two, unless a column has this name.
        label: column, or key, of the labels; None reads texts alone.
        on_bad: as in `read_rows`.
        seed: as in `read_rows`.

    Returns:
        The dataset.

    Raises:
        DataError: the file is missing, is not UTF-8, has no such column, or `read_rows` refuses its rows.
    """
    path, text, label = parted_place(place, text, label)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {kind}:{place}: {error.strerror}. Check the path.") from None
    if content.startswith(UTF16):
        raise DataError(f"{path.name} must be UTF-8; it is UTF-16, as some spreadsheets write. Save it as UTF-8.")
    # Bytes that are not UTF-8 become half surrogate pairs, by which their row is found.
    whole = content.decode("utf-8-sig", "surrogateescape")
    readers: dict[str, Callable] = {"csv": _csv_rows, "jsonl": _json_rows, "text": _text_rows}
    rows = list(readers[kind](path.name, whole, text, label))
    return read_rows(f"{kind}:{place}", rows, split, on_bad=on_bad, seed=seed)


def _row(place: str, texts: list[str], label: str | None) -> Row:
    """Returns a row of one text or two, with the first fault of them."""
    fault = next((each for each in (fault_of(text, label) for text in texts) if each), "")
    return Row(place, texts[0], label, fault, second=texts[1] if len(texts) > 1 else None)


def _text_rows(name: str, whole: str, text: str, label: str | None) -> Iterator[Row]:
    for number, line in enumerate(io.StringIO(whole), start=1):
        if line.strip():
            line = line.rstrip("\r\n")
            yield Row(f"line {number}", line, fault=fault_of(line))


def _csv_rows(name: str, whole: str, text: str, label: str | None) -> Iterator[Row]:
    columns, count, delimiter = wanted_columns(name, whole.partition("\n")[0], text, label)
    lines = csv.reader(io.StringIO(whole, newline=""), delimiter=delimiter, strict=True)
    limit = csv.field_size_limit(max(csv.field_size_limit(), len(whole)))
    try:
        next(lines)
        while True:
            place = f"line {lines.line_num + 1}"
            try:
                fields = next(lines, None)
            except csv.Error as error:
                if "unexpected end" in str(error):
                    rule = (
                        f"{name}: a quote that opens in the row of {place} is not closed, and takes all rows behind it"
                    )
                    raise DataError(f"{rule}. Close it, or write a quote within a text as two.") from None
                yield Row(place, "", fault=f"its quotes are not those of CSV ({error})")
                continue
            if fields is None:
                return
            if not fields:
                continue
            if len(fields) != count:
                yield Row(place, "", fault=f"it has {len(fields)} fields, the header {count}")
                continue
            tag = None if label is None else fields[columns[-1]].strip()
            yield _row(place, [fields[column] for column in columns][: len(columns) - (label is not None)], tag)
    except csv.Error as error:
        raise DataError(f"{name} is not CSV at line {lines.line_num}: {error}.") from None
    finally:
        csv.field_size_limit(limit)


def _json_rows(name: str, whole: str, text: str, label: str | None) -> Iterator[Row]:
    any_text, seen = False, []
    for number, line in enumerate(io.StringIO(whole), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Row(f"line {number}", "", fault=f"it is not JSON ({error})")
            continue
        if not isinstance(value, dict):
            yield Row(f"line {number}", "", fault=f"it is no object but {type(value).__name__}")
            continue
        if not seen:
            seen = list(value)
            texts = next((form for form in forms_of(text) if {*form} <= {*seen}), forms_of(text)[-1])
            keys = texts if label is None else [*texts, label]
        missing = [key for key in keys if key not in value]
        any_text = any_text or not missing
        tag = value.get(label) if label is not None else None
        if missing:
            yield Row(f"line {number}", "", fault=f"it has no {missing}")
        elif other := [key for key in texts if not isinstance(value[key], str)]:
            yield Row(f"line {number}", "", fault=f"its {other[0]!r} is no text but {type(value[other[0]]).__name__}")
        elif label is not None and (isinstance(tag, bool) or not isinstance(tag, (str, int))):
            yield Row(f"line {number}", "", fault=f"its {label!r} is no text or whole number but {type(tag).__name__}")
        else:
            tag = None if label is None else str(tag).strip()
            yield _row(f"line {number}", [value[key] for key in texts], tag)
    if seen and not any_text:
        rule = f"lines of {name} must be objects with {keys}; the first has {seen[:20]}"
        raise DataError(f"{rule}. Name yours: jsonl:{name}#TEXT,LABEL.")
