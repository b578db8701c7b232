"""Record of a time series: times in equal steps, columns by role, missing values as NaN."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from kerasdl.core import checks
from kerasdl.core.display.results import Displayed, names_text

from .scaling import with_gaps

ROLES = ("target", "past", "future")


@dataclass(frozen=True, eq=False, repr=False)
class TimeSeries(Displayed):
    """Time series with its covariates, one value of each column at each time.

    Args:
        times: (T,) in equal steps, rising: whole numbers, or `datetime64` of any unit; months and years have their own
            units, since they differ in days.
        columns: (T,) numbers of each column by its name; NaN is a missing value.
        target: names of the columns to forecast.
        past: names of the covariates that are known up to now, such as the wind that was measured.
        future: names of the covariates that are known in advance, such as holidays or a price that is set.
        static: numbers of the series as a whole by name, such as the size of a shop.
        name: name of the series.
        licence: the terms under which the data may be used.

    Raises:
        ArgumentError: times or columns break their rule, or a role names a column that is not there.

    Example:
        >>> sales = TimeSeries(np.arange(4), {"sold": [3.0, 5.0, np.nan, 4.0]}, target=("sold",))
        >>> sales.size, sales.values("target").shape, int(sales.missing)
        (4, (4, 1), 1)
    """

    times: np.ndarray
    """(T,) whole numbers or datetime64."""
    columns: Mapping[str, np.ndarray]
    """(T,) float64 of each column."""
    target: tuple[str, ...]
    """Names of the columns to forecast."""
    past: tuple[str, ...] = ()
    """Names of the covariates known up to now."""
    future: tuple[str, ...] = ()
    """Names of the covariates known in advance."""
    static: Mapping[str, float] = field(default_factory=dict)
    """Numbers of the series as a whole."""
    name: str = "series"
    """Name of the series."""
    licence: str = "yours"
    """The terms under which the data may be used."""

    def __post_init__(self):
        times = check_times(np.asarray(self.times))
        columns = {name: _numbers(name, values, len(times)) for name, values in self.columns.items()}
        roles = {role: _names(role, getattr(self, role)) for role in ROLES}
        chosen = [name for names in roles.values() for name in names]
        for name in chosen:
            checks.one_of("a column of a role", name, columns)
        if not roles["target"] or len(set(chosen)) < len(chosen):
            checks.refuse("a series must have a target, and each column one role", roles)
        static = {name: checks.within(f"static {name}", value, -1e30, 1e30) for name, value in self.static.items()}
        kept = {name: columns[name] for name in chosen}
        for key, value in {**roles, "times": times, "columns": kept, "static": static}.items():
            object.__setattr__(self, key, MappingProxyType(value) if isinstance(value, dict) else value)

    @property
    def size(self) -> int:
        """Number of steps."""
        return len(self.times)

    @property
    def missing(self) -> int:
        """Number of missing values over all columns."""
        return sum(int(np.isnan(values).sum()) for values in self.columns.values())

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels of a window: targets, past and future covariates, static numbers."""
        return (*self.target, *self.past, *self.future, *self.static)

    def values(self, role: str = "all") -> np.ndarray:
        """Returns the columns of a role side by side, (T, columns) in float64; `all` are the channels of a window.

        Raises:
            ArgumentError: there is no such role.
        """
        checks.one_of("role", role, (*ROLES, "static", "all"))
        names = self.channels if role == "all" else tuple(self.static) if role == "static" else getattr(self, role)
        columns = [
            np.full(self.size, self.static[name]) if name in self.static else self.columns[name] for name in names
        ]
        return np.stack(columns, axis=1) if columns else np.zeros((self.size, 0))

    def part(self, start: int, stop: int) -> "TimeSeries":
        """Returns the steps from `start` to before `stop`.

        Raises:
            ArgumentError: the steps are not of the series.
        """
        if not 0 <= start < stop <= self.size:
            checks.refuse(
                f"start and stop must be steps of {self.name}, 0 <= start < stop <= {self.size}", (start, stop)
            )
        columns = {name: values[start:stop] for name, values in self.columns.items()}
        return dataclasses.replace(self, times=self.times[start:stop], columns=columns)

    def _shown(self):
        rows = {
            "times": f"{self.size} from {self.times[0]} to {self.times[-1]}",
            **{role: names_text(getattr(self, role)) for role in ROLES},
            "static": names_text(tuple(self.static)),
            "missing": self.missing or None,
        }
        return f"TimeSeries {self.name}", {key: value for key, value in rows.items() if value}


def check_times(times: np.ndarray) -> np.ndarray:
    """Returns times that rise in equal steps; raises `ArgumentError` otherwise."""
    if times.ndim != 1 or len(times) < 2 or times.dtype.kind not in "iuM":
        got = f"shape {times.shape}, {times.dtype}"
        checks.refuse("times must be two or more whole numbers or datetime64 (T,)", got)
    if times.dtype.kind == "M" and np.isnat(times).any():
        checks.refuse("times must be known", f"NaT at step {int(np.argmax(np.isnat(times)))}")
    steps = np.diff(times.astype("int64"))
    wrong = np.flatnonzero((steps <= 0) | (steps != steps[0]))
    if wrong.size:
        place = int(wrong[0])
        hint = "read_series fills steps that are missing; months are datetime64[M]."
        checks.refuse("times must rise in equal steps", f"{times[place]} and {times[place + 1]} after it", hint)
    return times


def _numbers(name: str, values: Sequence[float], steps: int) -> np.ndarray:
    try:
        numbers = with_gaps(values)
    except (TypeError, ValueError):
        checks.refuse(f"column {name} must hold numbers", f"{values!r}"[:60])
    if numbers.shape != (steps,):
        checks.refuse(f"column {name} must have the shape {(steps,)} of the times", numbers.shape)
    if np.isinf(numbers).any():
        step = int(np.argmax(np.isinf(numbers)))
        checks.refuse(
            f"column {name} must be finite, or NaN where a value is missing", f"{numbers[step]} at step {step}"
        )
    return numbers


def _names(role: str, names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        return (names,)
    if not all(isinstance(name, str) for name in names):
        checks.refuse(f"{role} must be names of columns", names)
    return tuple(names)
