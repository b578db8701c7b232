"""Planted anomalies: spikes, flat lines and stretches of foreign shape in a series, with the steps that hold them."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from kerasdl.core import checks

from .records import TimeSeries

KINDS = ("spike", "flat", "noise")


def plant_anomalies(
    series: TimeSeries,
    count: int,
    *,
    kinds: Sequence[str] = KINDS,
    length: int = 8,
    size: float = 3.0,
    start: int = 0,
    seed: int = 0,
) -> tuple[TimeSeries, np.ndarray]:
    """Plants anomalies into the targets of a series; they do not touch each other.

    A `spike` lifts or lowers one step. A `flat` line repeats the value before it, as a sensor that hangs. `noise` is
    added over a stretch, as a bad contact does.

    Args:
        series: the series.
        count: number of anomalies, whose kinds take turns.
        kinds: some of `spike`, `flat` and `noise`.
        length: steps of a flat line and of noise.
        size: height of a spike and standard deviation of the noise, in standard deviations of the changes from step to
            step.
        start: first step that may hold one, such as the first of the test part.
        seed: the seed.

    Returns:
        The series with anomalies, and (T,) int32, 1 at each of their steps.

    Raises:
        ArgumentError: an argument breaks its rule, the series has no room for so many, a target does not change, or an
            anomaly would fall on missing values.

    Example:
        >>> planted, labels = plant_anomalies(load_series("seasonal"), 3, kinds=["spike"])
        >>> labels.sum()
        np.int64(3)
    """
    for kind in kinds:
        checks.one_of("a kind of anomalies", kind, KINDS)
    checks.at_least("length", length, 1)
    checks.within("start", start, 0, series.size)
    cells = (series.size - start) // (2 * length)  # each anomaly is in the first half of a cell of its own
    if checks.at_least("count", count, 1) > cells or not kinds:
        checks.refuse(f"count must be at most {cells}, for which {series.name} has room", count)
    units = {name: size * np.nanstd(np.diff(series.columns[name])) for name in series.target}
    for name, unit in units.items():
        if not unit > 1e-12 * np.nanmax(np.abs(series.columns[name]), initial=0.0):
            checks.refuse(
                f"size must be above 0, and {name} change by different amounts, to hold anomalies", float(unit)
            )
    rng = np.random.default_rng(seed)
    places = np.sort(rng.permutation(cells)[:count]) * 2 * length + start
    columns, labels = {name: values.copy() for name, values in series.columns.items()}, np.zeros(series.size, np.int32)
    for number, place in enumerate(places):
        kind = kinds[number % len(kinds)]
        first = int(place) + int(rng.integers(1, length + 1))
        steps = slice(first, first + (1 if kind == "spike" else length))
        labels[steps] = 1
        for name, unit in units.items():
            if np.isnan(columns[name][first - 1 : steps.stop]).any():
                hint = "Fill them, or take another start, count or seed."
                checks.refuse(f"{name} must have values where an anomaly is planted", f"NaN at step {first}", hint)
            if kind == "spike":
                columns[name][steps] += unit * rng.choice([-1, 1])
            elif kind == "flat":
                columns[name][steps] = columns[name][first - 1]
            else:
                columns[name][steps] += unit * rng.normal(size=len(columns[name][steps]))
    return dataclasses.replace(series, columns=columns, name=f"{series.name} with anomalies"), labels
