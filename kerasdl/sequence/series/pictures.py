"""Pictures of forecasts: history, forecast with its interval and what came; scores of anomalies over a series."""

import os
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from kerasdl.core import checks
from kerasdl.core.plotting import FAINT, GREY, INK, TRAIN, VALIDATION, dress, keep, new_figure
from kerasdl.data.series import TimeSeries

from .forecaster import Forecaster


def draw_forecast(
    forecaster: Forecaster,
    series: TimeSeries,
    origin: int,
    *,
    share: float = 0.8,
    target: str | None = None,
    path: str | os.PathLike | None = None,
) -> Figure:
    """Draws the forecast from one origin: the window before it, the forecast, its interval, and what came.

    Args:
        forecaster: a forecaster with a scaling.
        series: the series, with what came after the origin as far as it is known.
        origin: first step to forecast.
        share: share of values that the interval covers, where the network gives a distribution.
        target: target to draw; None takes the first.
        path: file to write, or None.

    Returns:
        A matplotlib figure.

    Raises:
        ArgumentError: there is no window before the origin, no such target, or no interval of that share.

    Example:
        >>> data = kerasdl.data.series.window_series(kerasdl.data.series.load_series("sunspots"), 33, 11)
        >>> network = kerasdl.build("dlinear", length=33, horizon=11, kernel=11)
        >>> type(draw_forecast(Forecaster(network, scaling=data.scaling), data.series[0], 290)).__name__
        'Figure'
    """
    length = forecaster.window_shape[0] or min(64, origin)
    if not length <= origin < series.size:
        checks.refuse(f"origin must have {length} steps before it in {series.name}, and be one of its steps", origin)
    place = series.target.index(checks.one_of("target", target or series.target[0], series.target))
    window, stop = series.values()[np.newaxis, origin - length : origin], origin + forecaster.horizon
    ahead = series.values("future")[np.newaxis, origin:stop] if series.future else None
    found = forecaster.forecast(window, ahead)
    values, times = series.values("target")[:, place], _times(series, stop)
    figure = new_figure(8.0, 3.4)
    axes = figure.subplots()
    came = slice(origin - 1, min(stop, series.size))
    axes.plot(times[origin - length : origin], values[origin - length : origin], color=INK, linewidth=1.4)
    axes.plot(times[came], values[came], color=GREY, linewidth=1.4, linestyle=(0, (2, 2)), label="what came")
    axes.plot(times[origin:stop], found.values[0, :, place], color=TRAIN, linewidth=2, label="forecast")
    if found.std is not None or found.quantiles:
        low, high = (each[0, :, place] for each in found.interval(share))
        axes.fill_between(times[origin:stop], low, high, color=TRAIN, alpha=0.18, label=f"interval of {share:.0%}")
    axes.axvline(times[origin - 1], color=FAINT, linewidth=1)
    dress(axes, f"{series.name}: {forecaster.horizon} steps ahead", "", series.target[place])
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    return keep(figure, path)


def draw_anomalies(
    series: TimeSeries,
    scores: Any,
    *,
    threshold: float,
    labels: Any = None,
    path: str | os.PathLike | None = None,
) -> Figure:
    """Draws a series over the scores of its steps, with the threshold and, where they are known, the anomalies.

    Args:
        series: the series; its first target is drawn.
        scores: (T,) scores; NaN is not drawn.
        threshold: score from which a step counts as an anomaly.
        labels: (T,) 1 at anomalies, or None.
        path: file to write, or None.

    Returns:
        A matplotlib figure.

    Raises:
        ArgumentError: scores or labels do not have a number for each step.

    Example:
        >>> series = kerasdl.data.series.load_series("seasonal")
        >>> type(draw_anomalies(series, np.zeros(600), threshold=1.0)).__name__
        'Figure'
    """
    scores = np.asarray(scores, np.float64)
    for name, each in (("scores", scores), ("labels", labels)):
        if each is not None and np.shape(each) != (series.size,):
            checks.refuse(f"{name} must have one number for each of {series.size} steps", np.shape(each))
    figure = new_figure(8.0, 4.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    times = _times(series, series.size)
    above.plot(times, series.columns[series.target[0]], color=INK, linewidth=0.9)
    below.plot(times, scores, color=TRAIN, linewidth=0.9)
    for number, (start, stop) in enumerate(_runs(np.zeros(series.size) if labels is None else np.asarray(labels))):
        for axes in (above, below):
            label = "anomaly" if not number and axes is above else None
            axes.axvspan(
                times[max(0, start - 1)], times[min(stop, series.size - 1)], color=VALIDATION, alpha=0.25, label=label
            )
    below.axhline(threshold, color=VALIDATION, linewidth=1.2, linestyle=(0, (4, 3)))
    dress(above, series.name, "", series.target[0])
    dress(below, "", "", "score")
    below.set_yscale("symlog", linthresh=max(float(threshold), 1e-6))
    below.set_ylim(bottom=0)
    if labels is not None:
        above.legend(frameon=False, fontsize=9, loc="upper left")
    return keep(figure, path)


def _times(series: TimeSeries, stop: int) -> np.ndarray:
    """Returns times up to a step that may be beyond the series."""
    times = series.times[0] + np.arange(max(stop, series.size)) * (series.times[1] - series.times[0])
    return times.astype("datetime64[s]") if times.dtype.kind == "M" else times


def _runs(labels: np.ndarray) -> np.ndarray:
    """Returns first step and end (N, 2) of each run of ones."""
    return np.flatnonzero(np.diff(np.concatenate([[0], labels > 0, [0]]).astype(int))).reshape(-1, 2)
