"""Generated pairs: dates read back by a parser of their own, exact sums, splits by content, seeds."""

import calendar
import datetime
import re

import numpy as np
import pytest

from kerasdl.core.errors import ArgumentError, UnknownNameError
from kerasdl.data import load
from kerasdl.data.text.generated_pairs import DIGITS, KINDS, LONGEST, WAYS, draw_pairs, split_of, written_date

MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_name) if name}
MONTHS |= {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
MONTHS |= {
    name: number
    for number, name in enumerate(["i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii"], start=1)
}


def read_back(text):
    """Returns a date and the weekday in a text, by its words and numbers: the year has four digits."""
    if re.fullmatch(r"\d{8}", text):
        return datetime.date(int(text[:4]), int(text[4:6]), int(text[6:])), None
    words = re.findall(r"\d+|[a-z]+", text.lower())
    numbers = [int(word) for word in words if word.isdigit()]
    (year,) = (number for number in numbers if number >= 1000)
    small = [number for number in numbers if number < 1000]
    named = [MONTHS[word] for word in words if word in MONTHS]
    if named:
        (month,), (day,) = named, small
    else:
        day, month = small[::-1] if words[0] == str(year) else small
    weekday = [word for word in words if word[:3] in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")]
    return datetime.date(year, month, day), weekday[0][:3] if weekday else None


def test_dates_are_read_back_in_all_twenty_ways():
    texts = {}
    for number in range(0, 36_525, 11):
        day = datetime.date(1950, 1, 1) + datetime.timedelta(days=number)
        for way in range(len(WAYS)):
            text = written_date(day, way)
            found, weekday = read_back(text)
            assert found == day, text
            assert weekday in (None, calendar.day_abbr[day.weekday()].lower()), text
            assert texts.setdefault(text, day) == day
    assert len(WAYS) == len(set(WAYS)) == 20
    endings = {day: written_date(datetime.date(2000, 1, day), 4).split()[0] for day in (1, 2, 3, 11, 12, 13, 21, 30)}
    assert list(endings.values()) == ["1st", "2nd", "3rd", "11th", "12th", "13th", "21st", "30th"]


def pairs_of(kind):
    return list(zip(*draw_pairs(kind, size=300).arrays(), strict=True))


def test_pairs_are_right():
    for source, target in pairs_of("dates"):
        assert read_back(str(source))[0].isoformat() == target
    for source, target in pairs_of("arithmetic"):
        a, sign, b = re.fullmatch(r"(\d+)([+-])(\d+)", str(source)).groups()
        assert int(target) == (int(a) + int(b) if sign == "+" else int(a) - int(b))
        assert max(len(a), len(b)) <= DIGITS
    copies, reversals = pairs_of("copy"), pairs_of("reverse")
    assert all(a == b for a, b in copies)
    assert all(a == b[::-1] for a, b in reversals)
    assert {len(str(word)) for word, _ in copies} == set(range(1, LONGEST + 1))


@pytest.mark.parametrize("kind", KINDS)
def test_splits_are_of_other_content_and_a_set_begins_with_the_smaller_one(kind):
    names = ("train", "validation", "test")
    parts = {name: load(kind, name, size=400, seed=seed) for seed, name in enumerate(names)}
    keys = {
        name: set(map(str, data.source.labels if kind == "dates" else data.source.inputs))
        for name, data in parts.items()
    }
    assert not keys["train"] & (keys["validation"] | keys["test"])
    assert not keys["validation"] & keys["test"]
    for name, found in keys.items():
        assert {split_of(key) for key in found} == {name}
    few, many, other = load(kind, size=5), load(kind, size=9), load(kind, size=9, seed=1)
    np.testing.assert_array_equal(few.source.inputs, many.source.inputs[:5])
    assert (many.source.inputs != other.source.inputs).any()
    assert (many.task, many.name, many.size) == ("sequence_to_sequence", kind, 9)
    assert load(kind, "test").size == 1000


def test_splits_have_their_shares():
    days = (datetime.date(1950, 1, 1) + datetime.timedelta(days=number) for number in range(36_525))
    splits = [split_of(day.isoformat()) for day in days]
    for name, share in {"train": 0.6, "validation": 0.2, "test": 0.2}.items():
        assert abs(splits.count(name) / len(splits) - share) < 0.01


def test_what_cannot_be_drawn_is_refused():
    for settings, rule in (({"kind": "years"}, "kind"), ({"split": "all"}, "split"), ({"size": 0}, "size")):
        with pytest.raises(ArgumentError, match=f"{rule} must be"):
            draw_pairs(**{"kind": "dates", **settings})
    with pytest.raises(UnknownNameError):
        load("dates:short")
