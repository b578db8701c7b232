"""Time series of CSV files on the command line: windows to learn from and to measure, a new net, the next steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import kerasdl
from kerasdl.bundles import Bundle, EvaluationData
from kerasdl.core import checks
from kerasdl.core.errors import DataError
from kerasdl.data.series import TimeSeries, read_series, window_series
from kerasdl.data.series.windowing import SeriesWindows

from .text_start import FRESH
from .training_data import TrainingData

CSV, TASK, NET = "csv:", "forecasting", "tcn_forecaster"
QUANTILES = (0.1, 0.5, 0.9)
OF_QUANTILES = ("gru_forecaster", "lstm_forecaster", "patchtst", "tcn_forecaster")
LEAST_LENGTH, SEASONS = 24, 3
USUAL_EPOCHS, EPOCHS = 5, 30
"""Epochs where none are asked for: of any bundle, and of a new net of series, whose windows are few."""


@dataclass(frozen=True)
class SeriesColumns:
    """Columns of a CSV file by role, and steps of windows; a value of None is left to the bundle."""

    time: str | None = None
    """Column of times."""
    target: tuple[str, ...] = ()
    """Columns to forecast."""
    past: tuple[str, ...] = ()
    """Columns known up to now."""
    future: tuple[str, ...] = ()
    """Columns known in advance."""
    series: str | None = None
    """Column that names the series of a row."""
    horizon: int | None = None
    """Steps to forecast."""
    length: int | None = None
    """Steps of a window."""

    @classmethod
    def of(cls, time, target, past, future, series, horizon, length) -> "SeriesColumns | None":
        """Returns the columns of options, names between commas; None where none is given."""
        if {time, target, past, future, series, horizon, length} == {None}:
            return None
        return cls(time, *(_names(each) for each in (target, past, future)), series, horizon, length)


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(each.strip() for each in text.split(",") if each.strip()) if text else ()


def takes_series(bundle: Bundle, data: str) -> bool:
    """Tells whether a bundle forecasts and data are a CSV file."""
    return bundle.task.name == TASK and data.startswith(CSV)


def of_bundle(bundle: Bundle, time: str | None, series: str | None) -> SeriesColumns:
    """Returns the columns and steps of a forecasting bundle.

    Args:
        bundle: the bundle.
        time: column of times; None takes that of the file it learnt from on the command line.
        series: column that names the series of a row; None takes the same.

    Raises:
        ArgumentError: the column of times is not known.
    """
    settings = bundle.preprocess
    channels, targets, future = settings["channels"], settings["targets"], tuple(settings["future"])
    time, series = time or settings.get("time"), series or settings.get("series")
    if not isinstance(time, str) or not isinstance(series, str | None):
        checks.refuse("the column of times must be known", time, "Pass --time COLUMN.")
    past = tuple(name for name in channels[targets:] if name not in future)
    return SeriesColumns(time, tuple(channels[:targets]), past, future, series, settings["horizon"], settings["length"])


def read_windows(data: str, columns: SeriesColumns) -> SeriesWindows:
    """Returns the windows of the series of a CSV file.

    Raises:
        ArgumentError: the series are too short for such windows.
        DataError: the file cannot be read, or a column is missing.
    """
    length = columns.length or max(LEAST_LENGTH, SEASONS * columns.horizon)
    return window_series(_read(data, columns), length, columns.horizon)


def _read(data: str, columns: SeriesColumns) -> list[TimeSeries]:
    if not data.startswith(CSV):
        checks.refuse("data of series must be csv:FILE", data)
    roles = {"target": columns.target, "past": columns.past, "future": columns.future}
    return read_series(data, time=columns.time, series=columns.series, **roles)


def series_to_learn(
    data: str,
    columns: SeriesColumns,
    task: str | None,
    bundle: list[str],
    model: str | None,
    other: Mapping[str, Any],
) -> tuple[TrainingData, Bundle]:
    """Returns windows to train and to validate on, and the bundle that learns: the named one, or a new net.

    Args:
        data: `csv:FILE`.
        columns: its columns; the steps of a named bundle are its own.
        task: the task that is asked for, or None.
        bundle: a bundle's name, or nothing.
        model: a registered net for a new bundle; None is `tcn_forecaster`.
        other: options that are not for series by name, which must be None.

    Raises:
        ArgumentError: an option is missing, or of another task, or the series are too short.
        DataError: the file cannot be read.
    """
    checks.one_of("the task of --time and --target", task, (None, TASK))
    for name, value in other.items():
        if value is not None:
            checks.refuse(f"{name.removeprefix('--')} is not for time series", value)
    if bundle:
        loaded = kerasdl.load_bundle(bundle[0])
        checks.one_of(f"the task of {bundle[0]}", loaded.task.name, (TASK,))
        own = of_bundle(loaded, columns.time, columns.series)
        for name in ("target", "past", "future", "horizon", "length"):
            if (given := getattr(columns, name)) and given != getattr(own, name):
                checks.refuse(f"{name} must be that of the bundle, {getattr(own, name)}", given)
        windows = read_windows(data, own)
    else:
        missing = [name for name in ("time", "target", "horizon") if not getattr(columns, name)]
        if missing:
            checks.refuse("a new net needs --time, --target and --horizon", f"none of {missing}")
        checks.at_least("horizon", columns.horizon, 1)
        windows = read_windows(data, columns)
        loaded = _new_bundle(windows, columns, model or NET)
    counts = {name: getattr(windows, name).size for name in ("train", "validation", "test")}
    notes = (
        f"{data}: {len(windows.series)} series; windows of {windows.length} steps to forecast {windows.horizon}.",
        f"Split: {counts['train']} windows to train, {counts['validation']} to validate, {counts['test']} left for "
        "`kerasdl evaluate`; the first 60 % of the time, the next 20 and the last 20 %.",
        naive_note(windows, "validation"),
    )
    return TrainingData(windows.train, windows.validation, notes), loaded


def _new_bundle(windows: SeriesWindows, columns: SeriesColumns, model: str) -> Bundle:
    """Returns a bundle of an untrained net for windows, which keeps the columns of time and series."""
    spec, first = kerasdl.spec(model), windows.series[0]
    checks.one_of(f"the task of {spec.name}", spec.task, (TASK,))
    sizes = {"channels": len(first.channels), "targets": len(first.target), "future": len(first.future)}
    usual = {"channels": 1, "targets": 1, "future": 0}
    arguments = {"length": windows.length, "horizon": windows.horizon}
    arguments |= {name: size for name, size in sizes.items() if size != usual[name]}
    arguments |= {"distribution": QUANTILES} if spec.name in OF_QUANTILES else {}
    return Bundle.of(
        kerasdl.build(spec.name, **arguments),
        name=spec.name,
        task=TASK,
        preprocess={**windows.settings, "time": columns.time, "series": columns.series},
        labels=first.target,
        builder=spec.name,
        arguments=arguments,
        provenance={"start": FRESH},
    )


def epochs_of(epochs: int | None, bundle: Bundle) -> int:
    """Returns the epochs that are asked for, else 5, or 30 of a new forecaster."""
    is_new = bundle.task.name == TASK and bundle.manifest.provenance.get("start") == FRESH
    return epochs if epochs is not None else EPOCHS if is_new else USUAL_EPOCHS


def naive_note(windows: SeriesWindows, split: str) -> str:
    """Returns a sentence on the mean absolute error of the last value, repeated, the least that a net should beat."""
    scaling, arrays = windows.scaling, getattr(windows, split).source
    inputs = arrays.inputs["window"] if isinstance(arrays.inputs, Mapping) else arrays.inputs
    last = scaling.unscaled(inputs[:, -1:, : scaling.targets])
    errors = np.abs(scaling.unscaled(arrays.labels) - last)
    known = np.ones(errors.shape[:2]) if arrays.weights is None else arrays.weights
    return f"The last value, repeated, has an mae of {errors[known > 0].mean():.4g} on {split}."


def series_to_measure(bundle: Bundle, data: str, columns: SeriesColumns, split: str | None) -> EvaluationData:
    """Returns the windows of a split of a CSV file, by default the last part of the time.

    Raises:
        ArgumentError: there is no such split, or the series are too short.
        DataError: the file cannot be read.
    """
    split = checks.one_of("split", split or "test", ("train", "validation", "test"))
    windows = read_windows(data, columns)
    dataset = getattr(windows, split)
    return EvaluationData(dataset, split, dataset.size, 0, (naive_note(windows, split),))


def next_steps(bundle: Bundle, data: str, columns: SeriesColumns) -> tuple[list[str], list[dict[str, Any]]]:
    """Returns names and forecasts of the series of a CSV file, behind the last known targets.

    Args:
        bundle: a forecasting bundle.
        data: `csv:FILE`; rows without targets behind the last known ones hold covariates known in advance.
        columns: its columns.

    Raises:
        ArgumentError: the windows do not fit the bundle.
        DataError: the file cannot be read, or a series is too short, or lacks covariates in advance.
    """
    windows, ahead, times, names = [], [], [], []
    for each in _read(data, columns):
        known = np.flatnonzero(~np.isnan(each.values("target")).any(axis=1))
        start = int(known[-1]) + 1 if known.size else 0
        if start < columns.length:
            raise DataError(f"{each.name} must have {columns.length} steps up to its last known value; it has {start}.")
        steps = each.values("future")[start : start + columns.horizon]
        if columns.future and len(steps) < columns.horizon:
            rule = f"{each.name} must have {columns.horizon} rows of {', '.join(columns.future)} behind its last value"
            raise DataError(f"{rule}; it has {len(steps)}.")
        windows.append(each.values()[start - columns.length : start])
        ahead.append(steps)
        step = each.times[1] - each.times[0]
        times.append([str(each.times[start - 1] + step * (k + 1)) for k in range(columns.horizon)])
        names.append(each.name)
    raw = {"window": np.stack(windows), "future": np.stack(ahead)} if columns.future else np.stack(windows)
    results = bundle.predict(raw)
    return names, [{"times": when, **result} for when, result in zip(times, results, strict=True)]


def forecasts_of(
    bundle: Bundle, inputs: list[str], time: str | None, series: str | None
) -> tuple[list[str], list[dict[str, Any]]]:
    """Returns names and forecasts of all series of CSV files; the name of one of several files begins with the file."""
    names, results = [], []
    for data in inputs:
        found, answers = next_steps(bundle, data, of_bundle(bundle, time, series))
        stem = Path(data.removeprefix(CSV)).stem
        names += [each if len(inputs) == 1 or each == stem else f"{stem}/{each}" for each in found]
        results += answers
    return names, results
