"""Tags of tokens and the entities that they spell, by the schemes BIO, BIOES (Ramshaw and Marcus 1995) and runs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kerasdl.core import checks

SCHEMES = ("BIO", "BIOES", "runs")
OUTSIDE = "O"


class TagConstraints(NamedTuple):
    """Tags that a scheme allows, as booleans.

    Example:
        >>> tag_constraints(["O", "I-CITY"], "BIO").start.tolist()
        [True, False]
    """

    transitions: np.ndarray
    """(K, K): whether tag j may follow tag i."""
    start: np.ndarray
    """(K,): whether a tag may be the first one."""
    end: np.ndarray
    """(K,): whether a tag may be the last one."""


class TagSpan(NamedTuple):
    """An entity: its name, and its tokens from `start` up to `end`, which is no part of it.

    Example:
        >>> tag_spans(["O", "B-CITY"], "BIO")
        [TagSpan(label='CITY', start=1, end=2)]
    """

    label: str
    """Name of the entity, such as `CITY`."""
    start: int
    """Its first token, counted from 0."""
    end: int
    """The token after its last one."""


def tag_scheme(tags: Sequence[str]) -> str:
    """Returns the scheme that names of tags follow: `BIO`, `BIOES`, or `runs` for tags that are names themselves.

    Args:
        tags: name of each tag.

    Returns:
        `BIO` if every tag is `O` or begins with `B-` or `I-`, `BIOES` if some begin with `E-` or `S-`, else `runs`.

    Example:
        >>> tag_scheme(["O", "B-CITY", "I-CITY"]), tag_scheme(["City", "Street"])
        ('BIO', 'runs')
    """
    prefixes = {tag[:2] if tag[2:] else tag for tag in map(str, tags)} - {OUTSIDE}
    if not prefixes or not prefixes <= {"B-", "I-", "E-", "S-"}:
        return "runs"
    return "BIOES" if prefixes & {"E-", "S-"} else "BIO"


def tag_constraints(tags: Sequence[str], scheme: str) -> TagConstraints:
    """Returns the tags that a scheme allows after each tag, at the start and at the end.

    In BIO, `I-X` follows `B-X` or `I-X`. In BIOES, an entity is `S-X`, or `B-X`, any number of `I-X`, and `E-X`. Runs
    of one tag allow everything.

    Source: Ramshaw and Marcus 1995, https://arxiv.org/abs/cmp-lg/9505040, section 3; BIOES: Ratinov and Roth 2009,
    https://aclanthology.org/W09-1119, section 3.

    Args:
        tags: name of each tag, such as `O`, `B-CITY`, `I-CITY`.
        scheme: `BIO`, `BIOES` or `runs`.

    Returns:
        `TagConstraints` of these tags.

    Raises:
        ArgumentError: the scheme is unknown, or a tag is none of its.

    Example:
        >>> tag_constraints(["O", "B-CITY", "I-CITY"], "BIO").transitions[0].tolist()
        [True, True, False]
    """
    checks.one_of("scheme", scheme, SCHEMES)
    if scheme == "runs":
        free = np.ones(len(tags), bool)
        return TagConstraints(np.ones((len(tags), len(tags)), bool), free, free)
    parts = [_split(tag, scheme) for tag in tags]
    inner, opening = ("I", "E"), ("B", "I")

    def follows(first: tuple[str, str], second: tuple[str, str]) -> bool:
        goes_on = second[0] in inner
        if goes_on and (first[0] not in opening or first[1] != second[1]):
            return False
        return scheme == "BIO" or goes_on or first[0] not in opening

    transitions = np.array([[follows(first, second) for second in parts] for first in parts], bool)
    start = np.array([prefix not in inner for prefix, _ in parts])
    end = np.array([scheme == "BIO" or prefix not in opening for prefix, _ in parts])
    return TagConstraints(transitions, start, end)


def tag_spans(tags: Sequence[str], scheme: str, *, strict: bool = False) -> list[TagSpan]:
    """Returns the entities that a sequence of tags spells.

    Tags that break the scheme are read as the evaluation of CoNLL reads them: an inner tag after none, or after that of
    another entity, begins one. With `strict` an entity counts only if its tags are as the scheme says.

    Source: the evaluation of CoNLL-2000, https://www.clips.uantwerpen.be/conll2000/chunking/conlleval.txt.

    Args:
        tags: a tag for each token. `O` is of no entity.
        scheme: `BIO`, `BIOES`, or `runs`, in which an entity is a run of one tag.
        strict: whether entities that break the scheme are left out.

    Returns:
        `TagSpan`s in their order.

    Raises:
        ArgumentError: the scheme is unknown, or a tag is none of its.

    Example:
        >>> [span.label for span in tag_spans(["B-CITY", "I-CITY", "O", "I-ROAD"], "BIO")]
        ['CITY', 'ROAD']
    """
    checks.one_of("scheme", scheme, SCHEMES)
    if scheme == "runs":
        parts = [("I", tag) if tag != OUTSIDE else (OUTSIDE, "") for tag in tags]
    else:
        parts = [_split(tag, scheme) for tag in tags]
    spans, begin, before = [], None, (OUTSIDE, "")
    for place, (prefix, label) in enumerate([*parts, (OUTSIDE, "")]):
        is_new = prefix in ("B", "S") or before[0] in ("E", "S", OUTSIDE) or label != before[1]
        if begin is not None and (is_new or prefix == OUTSIDE):
            spans.append(TagSpan(before[1], begin, place))
            begin = None
        if is_new and prefix != OUTSIDE:
            begin = place
        before = (prefix, label)
    if strict and scheme != "runs":
        return [span for span in spans if _is_whole([prefix for prefix, _ in parts[span.start : span.end]], scheme)]
    return spans


def _is_whole(prefixes: list[str], scheme: str) -> bool:
    """Returns whether prefixes of one entity are as the scheme says."""
    if scheme == "BIO":
        return prefixes[0] == "B"
    return prefixes == ["S"] or (len(prefixes) > 1 and prefixes == ["B", *"I" * (len(prefixes) - 2), "E"])


def _split(tag: str, scheme: str) -> tuple[str, str]:
    """Returns prefix and name of a tag of a scheme."""
    prefix, _, label = str(tag).partition("-")
    if str(tag) == OUTSIDE:
        return OUTSIDE, ""
    if prefix not in tuple(scheme.replace(OUTSIDE, "")) or not label:
        hint = 'Take scheme="runs" for tags that are the names of entities themselves.'
        checks.refuse(
            f"a tag of {scheme} must be O, or one of {', '.join(scheme.replace('O', ''))} and a name", tag, hint
        )
    return prefix, label
