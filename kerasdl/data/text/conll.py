"""Files of tagged tokens in the column form of CoNLL: a token a line, an empty line between sentences."""

import os
import re
from pathlib import Path

import numpy as np

from kerasdl.core import checks
from kerasdl.core.errors import DataError

from ..dataset import Dataset
from ..sources import Examples

DOCUMENT = "-DOCSTART-"
PART = re.compile(r"\d+[-.]\d+")
"""Number of several tokens, or of an empty one, in files of Universal Dependencies."""


def read_conll(place: str | os.PathLike) -> Dataset:
    """Reads sentences of tagged tokens from a file in the column form of CoNLL.

    A line is a token and its columns, with spaces or tabs between them; an empty line ends a sentence. The token is the
    first column, and the tag the last one. `FILE#2,4` takes columns by their numbers. Where the token is not the first
    column, as in the files of Universal Dependencies, comments (`#`) and parts of tokens (`1-2`, `1.1`)
    are left out. Lines of `-DOCSTART-` always are; a space within a token becomes `_`.

    Source: https://aclanthology.org/W03-0419, section 3.2; columns by number: https://universaldependencies.org/format.

    Args:
        place: the file, UTF-8; after `#` the columns of token and tag, counted from 1.

    Returns:
        A `Dataset` of texts, the tokens between single spaces, with as many tags in the same form.

    Raises:
        ArgumentError: the columns are not two numbers.
        DataError: the file is missing or empty, or a line is faulty; it is named by its number.

    Example:
        >>> _ = Path("two.conll").write_text("Ada B-PER\\nslept O\\n\\nRome B-LOC\\n")
        >>> read_conll("two.conll").source.labels.tolist()
        ['B-PER O', 'B-LOC']
    """
    path, columns = _columns(os.fspath(place))
    try:
        lines = Path(path).expanduser().read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Pass the path of a file.") from error
    sentences, rows, width = [], [], None
    is_numbered = bool(columns and columns[0])  # the token is not the first column, its number may be
    for number, raw in enumerate([*lines, b""], start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"line {number} of {path} must be UTF-8; byte {error.start} is {raw[error.start]:#x}."
            ) from error
        cells = line.split("\t") if columns and "\t" in line else line.split()
        if not line.strip():
            sentences += [rows] if rows else []
            rows = []
        elif cells[0] == DOCUMENT or (is_numbered and (line.startswith("#") or PART.fullmatch(cells[0]))):
            continue
        else:
            width = len(cells) if width is None else width
            rows.append(_token_and_tag(cells, columns, width, f"line {number} of {path}"))
    if not sentences:
        raise DataError(f"{path} must hold at least one tagged token; it holds none.")
    texts, tags = ([" ".join(row[part] for row in rows) for rows in sentences] for part in (0, 1))
    return Dataset(
        name=f"conll:{place}",
        task="token_tagging",
        class_names=(),
        input_shape=(),
        input_dtype="string",
        size=len(texts),
        licence="yours",
        seekable=True,
        scale=None,
        source=Examples(np.array(texts), np.array(tags)),
    )


def _columns(place: str) -> tuple[str, tuple[int, int] | None]:
    """Returns the path, and the columns of token and tag counted from 0, None for the first and the last."""
    path, mark, text = place.rpartition("#")
    if not mark or Path(place).expanduser().exists():
        return place, None
    parts = text.split(",")
    if len(parts) != 2 or not all(part.isdigit() and int(part) for part in parts):
        checks.refuse("columns of a CoNLL file must be two numbers from 1, such as FILE#2,4", f"#{text}")
    return path, (int(parts[0]) - 1, int(parts[1]) - 1)


def _token_and_tag(cells: list[str], columns: tuple[int, int] | None, width: int, where: str) -> tuple[str, str]:
    first, last = columns or (0, width - 1)
    if len(cells) != width:
        raise DataError(f"{where} must have {width} columns, as the lines before it; it has {len(cells)}.")
    if max(first, last) >= len(cells) or first == last:
        raise DataError(f"{where} must have a token and its tag; it has the columns {cells}.")
    token, tag = "_".join(cells[first].split()), cells[last].strip()
    if not token or len(tag.split()) != 1:
        raise DataError(f"{where} must have a token and a tag without spaces; it has {cells[first]!r} and {tag!r}.")
    return token, tag
