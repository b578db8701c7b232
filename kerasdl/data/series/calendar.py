"""Calendar covariates: hour, weekday, day of the year and month as points of a circle, known in advance."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from kerasdl.core import checks

from .records import TimeSeries

CIRCLES = {"hour": 24.0, "weekday": 7.0, "yearday": 365.2425, "month": 12.0}


def calendar_columns(series: TimeSeries, parts: Sequence[str]) -> TimeSeries:
    """Returns a series with calendar covariates, two columns a part: sine and cosine of its place on the circle.

    December is then beside January, and 23 o'clock beside 0.

    Args:
        series: a series whose times are datetime64.
        parts: some of `hour`, `weekday` (Monday is 0), `yearday` and `month`.

    Returns:
        The series with `month_sin`, `month_cos` and so on among its `future` covariates.

    Raises:
        ArgumentError: the times are no dates, or a part is unknown.

    Example:
        >>> calendar_columns(load_series("sea_temperature"), ["month"]).future
        ('month_sin', 'month_cos')
    """
    if series.times.dtype.kind != "M":
        checks.refuse("a calendar needs times in datetime64", series.times.dtype.name)
    columns = dict(series.columns)
    for part in parts:
        angle = 2 * np.pi * _places(series.times, checks.one_of("part", part, CIRCLES)) / CIRCLES[part]
        columns |= {f"{part}_sin": np.sin(angle), f"{part}_cos": np.cos(angle)}
    future = (*series.future, *(name for name in columns if name not in series.columns))
    return dataclasses.replace(series, columns=columns, future=future)


def _places(times: np.ndarray, part: str) -> np.ndarray:
    days = times.astype("datetime64[D]")
    if part == "hour":
        return (times - days) / np.timedelta64(1, "h")
    if part == "weekday":
        return (days.astype("int64") + 3) % 7  # 1 January 1970 was a Thursday
    if part == "yearday":
        return (days - times.astype("datetime64[Y]").astype("datetime64[D]")).astype("int64")
    return times.astype("datetime64[M]").astype("int64") % 12
