"""Encoded text: ids with their tokens and places; and the checks of texts before they are encoded."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kerasdl.core import checks


@dataclass(frozen=True)
class Encoded:
    """Encoded text: one entry a token in each field.

    Example:
        >>> tokenizer = kerasdl.sequence.train_tokenizer(["a cat"], "word", 8)
        >>> tokenizer.encoded("a  cat").offsets
        ((0, 1), (3, 6))
    """

    ids: tuple[int, ...]
    """Token ids."""
    tokens: tuple[str, ...]
    """The tokens as the vocabulary spells them."""
    offsets: tuple[tuple[int, int], ...]
    """First character of each token in its text and the one behind the last; (0, 0) of special tokens."""
    segments: tuple[int, ...]
    """0 in the first text, 1 in the second of a pair."""
    special: tuple[bool, ...]
    """True where the template added the token."""
    texts: tuple[int | None, ...]
    """0 in the first text, 1 in the second of a pair, whatever segments the template has; None where it added the
    token."""


def encoded_of(encoding: Any) -> Encoded:
    """Returns the encoding of `tokenizers` as `Encoded`."""
    return Encoded(
        tuple(encoding.ids),
        tuple(encoding.tokens),
        tuple(map(tuple, encoding.offsets)),
        tuple(encoding.type_ids),
        tuple(map(bool, encoding.special_tokens_mask)),
        tuple(encoding.sequence_ids),
    )


def checked_texts(texts: Iterable[str], name: str = "texts") -> list[str]:
    """Returns the texts as a list of str; bytes are read as UTF-8.

    Raises:
        ArgumentError: one is no text, not UTF-8, or has half of a surrogate pair.
    """
    if isinstance(texts, (str, bytes)):
        checks.refuse(f"{name} must be a list of texts", type(texts).__name__, "Give one text as [text].")
    if isinstance(texts, Mapping) or hasattr(texts, "columns"):  # which would give their keys
        checks.refuse(f"{name} must be a list of texts", type(texts).__name__, "Pass the column that holds them.")
    rows = list(texts.tolist() if hasattr(texts, "tolist") else texts)
    for number, text in enumerate(rows):
        if isinstance(text, bytes):
            rows[number] = _decoded(text, name, number)
        elif not isinstance(text, str):
            checks.refuse(f"{name} must be texts", f"{name}[{number}] of type {type(text).__name__}")
    try:
        "".join(rows).encode()
    except UnicodeEncodeError:
        for number, text in enumerate(rows):
            checked_text(text, f"{name}[{number}]")
    return rows


def checked_text(text: str, name: str = "text") -> str:
    """Returns one text if every character of it can be written as UTF-8.

    Raises:
        ArgumentError: it is no str, or has half of a surrogate pair.
    """
    if not isinstance(text, str):
        checks.refuse(f"{name} must be a text", type(text).__name__, "Lists of texts are for encode_batch.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        rule = f"{name} must be valid Unicode, without half of a surrogate pair"
        hint = "Read the file again with encoding='utf-8', errors='replace'."
        checks.refuse(rule, f"U+{ord(text[error.start]):04X} at character {error.start}", hint)
    return text


def _decoded(text: bytes, name: str, number: int) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        checks.refuse(f"{name} that are bytes must be UTF-8", f"{name}[{number}]: {error.reason} at byte {error.start}")
