"""Checks of a tokenizer.json before the package `tokenizers` reads it: its size, its form and its patterns."""

import base64
import json
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

from kerasdl.core.errors import DataError, first_line

MAX_BYTES = 64 * 2**20
MAX_VOCABULARY = 2**20
MAX_PATTERN = 2_000
MAX_DEPTH = 16
MODELS = ("WordLevel", "WordPiece", "BPE", "Unigram")
CHARACTER = r"[\s\S]"
"""Pattern by which a tokenizer of kind `char` cuts."""
MAX_UNBOUNDED = 3
MAX_CHOICES = 16
MAX_GROWTH = 100
# An escape, a set, the beginning of a group, a repetition (also lazy or possessive), or one other character.
_PARTS = re.compile(
    r"\\[pP]\{[^}]*\}|\\.|\[(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|\(\?[a-z-]*[:=!>]|\(\?<[=!]|[*+?][?+]?|\{\d*,?\d*\}[?+]?|.",
    re.S,
)


def refuse(rule: str, got: Any) -> NoReturn:
    """Raises `DataError` on a file of a tokenizer."""
    raise DataError(f"a tokenizer's file: {rule}; got {str(got)[:200]}. The file was not used.")


def backend_of(text: str) -> Any:
    """Returns the `tokenizers.Tokenizer` of the text of a tokenizer.json, without truncation and padding."""
    import tokenizers

    check_document(text)
    backend = guarded(tokenizers.Tokenizer.from_str, text)
    backend.no_truncation()
    backend.no_padding()
    ids = backend.get_vocab().values()
    if not ids or max(ids) >= MAX_VOCABULARY:
        refuse(f"ids must be from 0 to {MAX_VOCABULARY - 1}, one or more", max(ids, default="no token"))
    return backend


def guarded(function, *arguments, **named) -> Any:
    """Calls a function of `tokenizers`; its errors, and its panics, become one `DataError`."""
    try:
        return function(*arguments, **named)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of Rust is no Exception
        raise DataError(f"the package tokenizers refuses this file: {first_line(error)}") from None


def check_document(text: str) -> None:
    """Checks the size and form of a tokenizer.json.

    Raises:
        DataError: it is too large, is not JSON of a tokenizer, or has a pattern that may run without end.
    """
    if not isinstance(text, str) or len(text) > MAX_BYTES:
        got = f"{len(text)} characters" if isinstance(text, str) else type(text).__name__
        refuse(f"the text may have at most {MAX_BYTES} characters", got)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        refuse("the text must be JSON", first_line(error))
    model = document.get("model") if isinstance(document, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), (dict, list)):
        refuse('the JSON must be that of a tokenizer, with "model" and its "vocab"', _shown(document))
    if model.get("type", "BPE") not in MODELS:
        refuse(f"the model must be one of {MODELS}", model.get("type"))
    if len(model["vocab"]) > MAX_VOCABULARY:
        refuse(f"the vocabulary may have at most {MAX_VOCABULARY} tokens", len(model["vocab"]))
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        for pattern in _patterns(document.get(part)):
            check_pattern(pattern)
        check_tables(document.get(part))
        if _growth(document.get(part)) > MAX_GROWTH:
            refuse(f"the replacements of its {part} may lengthen a text at most {MAX_GROWTH} times", "more")
    if model.get("dropout"):
        refuse("dropout of BPE would give other ids each time and must be null", model["dropout"])


def check_pattern(pattern: str) -> None:
    """Checks a regular expression of a stranger, so that its search ends in time.

    Each alternative may hold three repetitions without end and 16 choices in all (repetitions and alternatives); what
    holds a choice may not be repeated, since the ways to match it multiply with each turn.

    Raises:
        DataError: it is too long, refers to itself, or breaks these limits.
    """
    if len(pattern) > MAX_PATTERN:
        refuse(f"a pattern may have at most {MAX_PATTERN} characters", len(pattern))
    if re.search(r"\\[1-9gk]|\(\?[&(R\d]", pattern):
        refuse("a pattern may not refer to a part of itself", pattern)
    groups = [[_Choices()]]
    closed = _Choices()
    for part in _PARTS.findall(pattern):
        last = closed
        closed = _Choices()
        if part[0] == "(":
            groups.append([_Choices()])
        elif part == ")" and len(groups) > 1:
            inner = groups.pop()
            closed = _Choices(
                max(each.unbounded for each in inner), sum(each.number for each in inner) + len(inner) - 1
            )
            groups[-1][-1] = groups[-1][-1].and_also(closed)
        elif part == "|":
            groups[-1].append(_Choices())
        elif part[0] in "*+" or (part[0] == "{" and len(part) > 1):
            if last.number:
                refuse("a pattern may not repeat a group that holds repetitions or alternatives", pattern)
            groups[-1][-1] = groups[-1][-1].and_also(_Choices(int(not _is_small(part)), 1))
        elif part[0] == "?":
            groups[-1][-1] = groups[-1][-1].and_also(_Choices(0, 1))
        here = groups[-1][-1]
        if here.unbounded > MAX_UNBOUNDED or here.number > MAX_CHOICES:
            limit = f"{MAX_UNBOUNDED} repetitions without end and {MAX_CHOICES} choices"
            refuse(f"an alternative of a pattern may have at most {limit}", pattern)


def check_tables(part: Any) -> None:
    """Checks that no table of characters (SentencePiece's `precompiled_charsmap`) writes a long text for one.

    Raises:
        DataError: a replacement has more than 100 bytes, or the table is damaged.
    """
    if isinstance(part, dict) and "precompiled_charsmap" in part:
        try:
            table = base64.b64decode(part["precompiled_charsmap"] or "", validate=True)
        except (ValueError, TypeError) as error:
            refuse("precompiled_charsmap must be base64", first_line(error))
        texts = table[4 + int.from_bytes(table[:4], "little") :].split(b"\0")
        if max(map(len, texts)) > MAX_GROWTH:
            refuse(f"precompiled_charsmap may write at most {MAX_GROWTH} bytes for a character", max(map(len, texts)))
    for value in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        check_tables(value)


class _Choices(NamedTuple):
    """Choices of a part of a pattern: repetitions without end, and repetitions and alternatives in all."""

    unbounded: int = 0
    number: int = 0

    def and_also(self, other: "_Choices") -> "_Choices":
        return _Choices(self.unbounded + other.unbounded, self.number + other.number)


def kind_of(text: str) -> str:
    """Returns the kind of tokenizer that a tokenizer.json holds: `char`, `word`, `wordpiece`, `bpe`, ..."""
    document = json.loads(text)
    model = document["model"].get("type", "BPE")
    if model == "WordLevel":
        return "char" if CHARACTER in _patterns(document.get("pre_tokenizer")) else "word"
    if model == "BPE":
        parts = (document.get("pre_tokenizer"), document.get("decoder"))
        return "byte_bpe" if "ByteLevel" in json.dumps(parts) else "bpe"
    return model.lower()


def _is_small(braces: str) -> bool:
    numbers = [int(each) for each in re.findall(r"\d+", braces)]
    return ",}" not in braces and bool(numbers) and max(numbers) <= 16


def _patterns(part: Any, depth: int = 0) -> Iterator[str]:
    """Yields the regular expressions inside a part of the document."""
    if depth > MAX_DEPTH:
        refuse(f"its parts may be nested {MAX_DEPTH} deep", "more")
    if isinstance(part, dict):
        if isinstance(part.get("Regex"), str):
            yield part["Regex"]
        for value in part.values():
            yield from _patterns(value, depth + 1)
    elif isinstance(part, list):
        for value in part:
            yield from _patterns(value, depth + 1)


def _growth(part: Any) -> float:
    """Returns a bound of the factor by which the replacements of a part lengthen a text."""
    if isinstance(part, list):
        return math.prod(map(_growth, part))
    if not isinstance(part, dict):
        return 1.0
    growth = math.prod(map(_growth, part.values()))
    new = part.get("content", part.get("prepend", ""))
    if not isinstance(new, str):
        return growth
    pattern = part.get("pattern")
    old = pattern.get("String") if isinstance(pattern, dict) else None
    return growth * max(1.0, len(new) / max(1, len(old) if isinstance(old, str) else 1))


def _shown(document: Any) -> str:
    return f"keys {list(document)[:5]}" if isinstance(document, dict) else type(document).__name__
