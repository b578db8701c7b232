"""Series of a CSV file: a column of times, targets, covariates, and the series that a row belongs to."""

import csv
import itertools
import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from kerasdl.core.errors import DataError
from kerasdl.core.keywords import explained

from .records import TimeSeries

MISSING = ("", "na", "nan", "null", "none", "?", "-")
MOST_FILLED = 100
"""Largest number of steps, as a multiple of the rows, that missing rows may add."""
WHOLE = re.compile(r"-?\d{1,18}", re.ASCII)
DATE = re.compile(
    r"(\d{4})[-/](\d\d)(?:[-/](\d\d))?(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.0+)?(?:(Z)|([+-])(\d\d):?(\d\d))?)?", re.ASCII
)
"""Year, month, day, clock, Z, and sign, hours and minutes of an offset from UTC."""
RUN_TOGETHER = {6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M"}
"""Dates without separators by their number of digits."""


@explained(lambda: {"time=": 'time="date"', "target=": 'target="sold", columns of the file'})
def read_series(
    path: str | os.PathLike,
    *,
    time: str,
    target: str | Sequence[str],
    past: Sequence[str] = (),
    future: Sequence[str] = (),
    static: Sequence[str] = (),
    series: str | None = None,
    licence: str = "yours",
) -> list[TimeSeries]:
    """Reads the time series of a CSV file with a head line.

    Rows may be in any order. A row that is missing between two others becomes a step of missing values, where all
    steps are multiples of the shortest one, which no other outnumbers; first days of months and of years are steps of
    months and of years. Empty cells, `NA`, `NaN`, `null`, `none`, `?` and `-` are missing values.

    Args:
        path: the file, in UTF-8, also as `csv:FILE`.
        time: column of times: whole numbers (steps, years) or dates as ISO 8601 (`2024-03-01`, `2024-03-01 13:00`).
            Times with an offset (`2024-03-01 13:00+02:00`) become UTC.
        target: column or columns to forecast.
        past: columns of covariates known up to now.
        future: columns of covariates known in advance.
        static: columns of numbers that do not change within a series.
        series: column that names the series of a row; None is one series.
        licence: the terms under which the data may be used.

    Returns:
        The series, in the order in which they appear.

    Raises:
        ArgumentError: an argument is missing or unknown.
        DataError: the file cannot be read, a column is missing, or a line breaks a rule; the message names the line.

    Example:
        >>> _ = Path("shop.csv").write_text("day,sold\\n2024-03-01,3\\n2024-03-02,\\n2024-03-04,5\\n")
        >>> read_series("csv:shop.csv", time="day", target="sold")[0].values("target").T
        array([[ 3., nan, nan,  5.]])
    """
    file = Path(os.fspath(path).removeprefix("csv:")).expanduser()
    target = (target,) if isinstance(target, str) else tuple(target)
    roles = {"target": target, "past": tuple(past), "future": tuple(future)}
    numeric = [name for names in (*roles.values(), static) for name in names]
    found: dict[str, list] = {}
    zones = {}
    for line, row in _rows(file, [time, *numeric, *([series] if series else [])]):
        where = f"{file.name}, line {line}"
        numbers = [_number(row[name], f"{where}, column {name}") for name in numeric]
        when, has_zone = _time(row[time], where)
        zones.setdefault(has_zone, line)
        found.setdefault(row[series] if series else file.stem, []).append((when, numbers, line))
    if len(zones) > 1:
        rule = f"{file.name}: all times or none must have an offset from UTC"
        raise DataError(f"{rule}; line {zones[True]} has one, line {zones[False]} has none.")
    return [_series(file, name, rows, roles, tuple(static), licence) for name, rows in found.items()]


def _rows(file: Path, needed: list[str]):
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, strict=True)
            for name in needed:
                if (reader.fieldnames or []).count(name) != 1:
                    raise DataError(f"{file.name} must have one column {name!r}; it has {reader.fieldnames}.")
            count = 0
            for row in reader:
                count += 1
                if None in row or None in row.values():
                    rule = f"{file.name}, line {reader.line_num}: a row must have {len(reader.fieldnames)} cells"
                    raise DataError(f"{rule}. Quote cells that hold a comma.")
                yield reader.line_num, row
            if not count:
                raise DataError(f"{file.name} must have rows under its head line; it has none.")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as a CSV file in UTF-8: {error}.") from None


def _number(text: str, where: str) -> float:
    if text.strip().lower() in MISSING:
        return np.nan
    try:
        number = float(text)
    except ValueError:
        number = np.inf
    if not np.isfinite(number):
        raise DataError(f"{where}: a cell must be a finite number or empty; got {text!r}.")
    return number


def _time(text: str, where: str) -> tuple[int | np.datetime64, bool]:
    """Returns a time, dates in UTC if they have an offset, and whether they have one."""
    text = text.strip()
    if WHOLE.fullmatch(text):
        return int(text), False
    try:
        year, month, day, clock, utc, sign, hours, minutes = DATE.fullmatch(text).groups()
        time = np.datetime64(f"{year}-{month}-{day or '01'} {clock or '00:00'}", "s")
    except (AttributeError, ValueError):
        rule = f"{where}: a time must be a whole number or a date such as 2024-03-01 or 2024-03-01 13:00"
        raise DataError(f"{rule}, in whole seconds; got {text!r}.") from None
    if sign:
        time -= np.timedelta64(int(f"{sign}1") * (60 * int(hours) + int(minutes)), "m")
    return time, bool(utc or sign)


def _series(file: Path, name: str, rows: list, roles: dict, static: tuple[str, ...], licence: str) -> TimeSeries:
    if len({isinstance(time, int) for time, *_ in rows}) > 1:
        raise DataError(f"{file.name}: the times of {name} must be all whole numbers or all dates.")
    if len(rows) < 2:
        raise DataError(f"{file.name}: a series must have two rows or more; {name} has {len(rows)}.")
    rows = sorted(rows, key=lambda row: row[0])
    for (time, _, line), (other, _, second) in itertools.pairwise(rows):
        if time == other:
            rule = f"{file.name}, lines {line} and {second}: {name} has the time {time} twice"
            raise DataError(f"{rule}. Name the column that tells series apart by series=, or leave one row out.")
    times = _in_months(np.array([time for time, *_ in rows]))
    _refuse_run_together(times, f"{file.name}: {name}")
    values = np.array([numbers for _, numbers, _ in rows])
    grid, places = _grid(times, f"{file.name}: {name}")
    filled = np.full((len(grid), values.shape[1]), np.nan)
    filled[places] = values
    names = [each for columns in roles.values() for each in columns]
    constants = {each: values[:, len(names) + number] for number, each in enumerate(static)}
    for each, cells in constants.items():
        if len(np.unique(cells)) > 1 or np.isnan(cells).any():
            raise DataError(f"{file.name}: the static column {each!r} must have one number in all rows of {name}.")
    columns = dict(zip(names, filled.T, strict=False))
    numbers = {each: float(cells[0]) for each, cells in constants.items()}
    return TimeSeries(grid, columns, **roles, static=numbers, name=name, licence=licence)


def _in_months(times: np.ndarray) -> np.ndarray:
    """Returns dates in the largest unit that holds them: years, months, days, hours, minutes or seconds."""
    if times.dtype.kind != "M":
        return times
    units = (unit for unit in "YMDhm" if np.array_equal(times.astype(f"datetime64[{unit}]").astype(times.dtype), times))
    return times.astype(f"datetime64[{next(units, 's')}]")


def _refuse_run_together(times: np.ndarray, where: str) -> None:
    """Refuses dates such as 20240131 and 20240201, which as whole numbers would be 70 steps apart."""
    form = RUN_TOGETHER.get(len(str(times[0])))
    if times.dtype.kind == "M" or form is None or len(np.unique(np.diff(times))) == 1:
        return
    try:
        dates = [datetime.strptime(str(time), form) for time in times]
    except ValueError:
        return
    rule = f"{where}: the whole numbers {times[0]} to {times[-1]} are dates run together"
    raise DataError(f"{rule}. Write them as {dates[0]:%Y-%m-%d} or {dates[0]:%Y-%m-%d %H:%M}.")


def _grid(times: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns all times in equal steps, and the places of those that are there."""
    numbers = times.astype("int64")
    gaps = np.diff(numbers)
    lengths, counts = np.unique(gaps, return_counts=True)
    step, place = int(lengths[0]), int(np.argmin(gaps))
    if counts.max() > counts[0]:
        rule = f"{where}: times must be in steps of the shortest, {step} {times.dtype.name}, and no other be commoner"
        got = f"{times[place]} is followed by {times[place + 1]}, but most steps are {lengths[counts.argmax()]}"
        raise DataError(f"{rule}; {got}. Bring them to one step first, or add rows of empty cells.")
    wrong = np.flatnonzero(gaps % step)
    if wrong.size:
        place = int(wrong[0])
        rule = f"{where}: times must be in steps of {step} {times.dtype.name}, the shortest, or multiples of it"
        raise DataError(f"{rule}; {times[place]} is followed by {times[place + 1]}. Bring them to one step first.")
    places = (numbers - numbers[0]) // step
    if places[-1] >= MOST_FILLED * len(times):
        raise DataError(f"{where}: {places[-1] + 1 - len(times)} of {places[-1] + 1} steps are missing.")
    return times[0] + np.arange(places[-1] + 1) * (times[1:] - times[:-1]).min(), places
