"""Generated pairs of texts: dates to ISO form, sums, copies and reversals.

Pairs come from a seed, and their split from their content alone: a date, a sum or a word is in one split whatever the
seed is. A larger set begins with the smaller one of the same seed.
"""

import datetime
import zlib
from collections.abc import Callable

import numpy as np

from kerasdl.core import checks

from ..dataset import Dataset
from ..sources import Examples
from ..splits import SPLITS

LICENCE = "generated: free of terms"
SIZES = {"train": 10_000, "validation": 1000, "test": 1000}
FIRST, DAYS = datetime.date(1950, 1, 1), 36_525
"""First of the dates, and their number: a century."""
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September", "October"),
    *("November", "December"),
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")
WAYS = (
    *("{d} {month} {y}", "{month} {d}, {y}", "{d} {mon} {y}", "{mon} {d}, {y}", "{nth} {month} {y}"),
    *("{month} {nth}, {y}", "{nth} of {month} {y}", "the {nth} of {month}, {y}", "{weekday}, {d} {month} {y}"),
    *("{weekday}, {month} {d}, {y}", "{day} {d} {mon} {y}", "{day}, {mon} {d}, {y}", "{d:02}.{m:02}.{y}"),
    *("{d}.{m}.{y}", "{y}/{m:02}/{d:02}", "{y}{m:02}{d:02}", "{d:02}-{mon}-{y}", "{y} {month} {d}"),
    *("{MONTH} {d}, {y}", "{d} {roman} {y}"),
)
"""Twenty ways of writing a date; a number before another one with a dot between is always the day."""
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))
LONGEST = 12
"""Letters of a word to copy, at most."""
DIGITS = 3
"""Digits of a number to add or subtract, at most."""

Pair = tuple[str, str, str]


def _date(rng: np.random.Generator) -> Pair:
    day = FIRST + datetime.timedelta(days=int(rng.integers(DAYS)))
    return written_date(day, int(rng.integers(len(WAYS)))), day.isoformat(), day.isoformat()


def written_date(day: datetime.date, way: int) -> str:
    """Returns a date in one of the twenty ways, `WAYS`."""
    month, weekday = MONTHS[day.month - 1], WEEKDAYS[day.weekday()]
    ending = "th" if day.day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    names = {"month": month, "mon": month[:3], "MONTH": month.upper(), "roman": ROMAN[day.month - 1]}
    names |= {"weekday": weekday, "day": weekday[:3], "nth": f"{day.day}{ending}"}
    return WAYS[way].format(d=day.day, m=day.month, y=day.year, **names)


def _sum(rng: np.random.Generator) -> Pair:
    a, b = (int(rng.integers(10 ** rng.integers(1, DIGITS + 1))) for _ in range(2))
    sign = "+-"[int(rng.integers(2))]
    return f"{a}{sign}{b}", str(a + b if sign == "+" else a - b), f"{a}{sign}{b}"


def _copy(rng: np.random.Generator) -> Pair:
    word = "".join(rng.choice(LETTERS, rng.integers(1, LONGEST + 1)))
    return word, word, word


def _reverse(rng: np.random.Generator) -> Pair:
    word, _, key = _copy(rng)
    return word, word[::-1], key


KINDS: dict[str, Callable[[np.random.Generator], Pair]] = {
    "dates": _date,
    "arithmetic": _sum,
    "copy": _copy,
    "reverse": _reverse,
}


def split_of(key: str) -> str:
    """Returns the split of a date, sum or word: 60, 20 and 20 per cent of all, whatever the seed."""
    place = zlib.crc32(key.encode()) % 5
    return SPLITS[max(0, place - 2)]


def draw_pairs(kind: str, split: str = "train", size: int | None = None, *, seed: int = 0) -> Dataset:
    """Returns generated pairs of texts.

    Args:
        kind: `dates` (twenty ways of writing a date of 1950 to 2049, and its ISO form), `arithmetic` (sums and
            differences of numbers up to 999), `copy` or `reverse` (words of up to 12 letters).
        split: `train`, `validation` or `test`; no date, sum or word is in two of them.
        size: number of pairs, any; None draws 10,000 for training and 1,000 else. Short words and sums may come twice.
        seed: 0 or more.

    Returns:
        A `Dataset` of strings whose labels are strings.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> source, target = draw_pairs("dates", size=3)[0]
        >>> len(target)
        10
    """
    checks.one_of("kind", kind, KINDS)
    checks.one_of("split", split, SPLITS)
    rng = np.random.default_rng(checks.at_least("seed", seed, 0))
    size = SIZES[split] if size is None else checks.at_least("size", size, 1)
    pairs: list[tuple[str, str]] = []
    while len(pairs) < size:
        source, target, key = KINDS[kind](rng)
        if split_of(key) == split:
            pairs.append((source, target))
    sources, targets = (np.array(column) for column in zip(*pairs, strict=True))
    return Dataset(
        name=kind,
        task="sequence_to_sequence",
        class_names=(),
        input_shape=(),
        input_dtype="string",
        size=size,
        licence=LICENCE,
        seekable=True,
        scale=None,
        source=Examples(sources, targets),
    )
