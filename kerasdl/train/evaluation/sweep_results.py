"""Sweep results: means over seeds with confidence intervals, and differences to the first cell."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import special

from kerasdl.core.display.results import Displayed
from kerasdl.core.plotting import keep

from .sweep_plots import sweep_figure


@dataclass(frozen=True)
class Interval:
    """Mean with its confidence interval by Student's t."""

    mean: float
    """The mean."""
    deviation: float | None
    """Standard deviation of the values, with n - 1; None for a single one."""
    low: float | None
    """Lower end of the interval; None for a single value."""
    high: float | None
    """Upper end of the interval; None for a single value."""
    n: int
    """Number of values."""


def interval_of(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Returns the mean of values with its interval, mean -+ t(n - 1) * deviation / sqrt(n); None for no values.

    Source: Student 1908, The probable error of a mean.

    Args:
        values: independent measurements of one quantity.
        confidence: share of such intervals that contain the true mean, for normally distributed values.
    """
    n = len(values)
    if n == 0:
        return None
    mean = float(np.mean(values))
    if n == 1:
        return Interval(mean, None, None, None, 1)
    deviation = float(np.std(values, ddof=1))
    reach = float(special.stdtrit(n - 1, (1 + confidence) / 2)) * deviation / math.sqrt(n)
    return Interval(mean, deviation, mean - reach, mean + reach, n)


@dataclass(frozen=True)
class Cell:
    """Results of one setting over its seeds."""

    label: str
    """Text that distinguishes this setting from the others."""
    setting: Mapping[str, Any]
    """The setting."""
    values: Mapping[int, float]
    """The figure by seed, of the runs that succeeded."""
    failures: Mapping[int, str]
    """Error by seed, of the runs that failed."""
    interval: Interval | None
    """Mean and interval of the values; None where every run failed."""
    difference: Interval | None
    """Mean and interval of the differences to the first cell, seed by seed; None for the first cell itself."""
    verdict: str
    """`"first"`; `"better"` or `"worse"` where the interval of the difference excludes zero; else `"unclear"`."""
    seconds: float
    """Total time of its runs."""


@dataclass(frozen=True, repr=False)
class SweepResult(Displayed):
    """Comparison of settings over the same seeds."""

    figure: str
    """Name of the measured figure."""
    mode: str
    """`"max"` where higher is better, else `"min"`."""
    confidence: float
    """Confidence of the intervals."""
    seeds: tuple[int, ...]
    """The seeds of every cell."""
    cells: tuple[Cell, ...]
    """The settings in the order of the call; the others are compared with the first."""

    @cached_property
    def best(self) -> Cell | None:
        """The cell with the best mean; None where every run failed."""
        successful = [cell for cell in self.cells if cell.interval is not None]
        sign = 1 if self.mode == "max" else -1
        return max(successful, key=lambda cell: sign * cell.interval.mean, default=None)

    def _shown(self) -> tuple[str, str]:
        best = "no run succeeded" if self.best is None else f"best {self.best.label}"
        return f"SweepResult: {self.figure} over {len(self.seeds)} seeds, {best}", self.table()

    def _picture(self) -> Figure:
        return self.plot()

    def table(self) -> str:
        """Returns the result as a text table."""
        percent = f"{100 * self.confidence:g} %"
        head = [
            "setting",
            self.figure,
            f"{percent} interval",
            "deviation",
            "n",
            "to the first",
            f"{percent} interval",
            "",
        ]
        rows = [head, *(self._row(cell) for cell in self.cells)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        failed = [
            f"{cell.label}, seed {seed} failed: {message}"
            for cell in self.cells
            for seed, message in cell.failures.items()
        ]
        return "\n".join([*lines, *([""] if failed else []), *failed])

    def _row(self, cell: Cell) -> list[str]:
        total = len(self.seeds)
        n = f"{total}" if not cell.failures else f"{len(cell.values)} of {total}"
        verdict = "" if cell.verdict == "first" else cell.verdict
        deviation = None if cell.interval is None else cell.interval.deviation
        mean, reach = _interval_text(cell.interval)
        difference, its_reach = _interval_text(cell.difference, signed=True)
        return [cell.label, mean, reach, _number(deviation), n, difference, its_reach, verdict]

    def to_json(self) -> str:
        """Returns the result as JSON text, with null for unknown values."""
        return json.dumps(asdict(self), indent=2, default=_plain)

    def plot(self, path: str | os.PathLike | None = None) -> Figure:
        """Returns a figure of mean, interval and single seeds of each cell; with a path, writes it there too."""
        return keep(sweep_figure(self.figure, self.confidence, self.cells), path)


def compare_cells(
    figure: str,
    mode: str,
    confidence: float,
    seeds: Sequence[int],
    cells: Sequence[tuple[str, Mapping[str, Any], Mapping[int, float], Mapping[int, str], float]],
) -> SweepResult:
    """Returns the result of cells, each a tuple of label, setting, values and failures by seed, and seconds."""
    first = cells[0][2]
    results = []
    for index, (label, setting, values, failures, seconds) in enumerate(cells):
        pairs = [values[seed] - first[seed] for seed in seeds if seed in values and seed in first]
        difference = interval_of(pairs, confidence) if index else None
        verdict = _verdict(difference, mode) if index else "first"
        interval = interval_of(list(values.values()), confidence)
        results.append(Cell(label, setting, values, failures, interval, difference, verdict, seconds))
    return SweepResult(figure, mode, confidence, tuple(seeds), tuple(results))


def _verdict(difference: Interval | None, mode: str) -> str:
    if difference is None or difference.low is None or difference.low <= 0 <= difference.high:
        return "unclear"
    return "better" if (difference.low > 0) == (mode == "max") else "worse"


def _interval_text(interval: Interval | None, signed: bool = False) -> tuple[str, str]:
    if interval is None:
        return "", ""
    ends = "unknown" if interval.low is None else f"{_number(interval.low, signed)} to {_number(interval.high, signed)}"
    return _number(interval.mean, signed), ends


def _number(value: float | None, signed: bool = False) -> str:
    if value is None:
        return ""
    style = ".4f" if value == 0 or 1e-4 <= abs(value) < 1e5 else ".3g"
    return format(value, ("+" if signed else "") + style)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
