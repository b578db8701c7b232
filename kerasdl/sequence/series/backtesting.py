"""Rolling-origin evaluation: forecasters and baselines over the same origins of the test part, in one table."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from kerasdl.core import checks
from kerasdl.core.display.results import Displayed, text_table
from kerasdl.data.series import SeriesWindows, TimeSeries
from kerasdl.data.series.windowing import windows_at
from kerasdl.metrics import seasonal_naive_error

from .baselines import drift_forecast, ets_forecast, has_statsmodels, naive_forecast, seasonal_naive_forecast
from .forecaster import Forecaster, Forecasts

COLUMNS = ("MASE", "MAE", "RMSE", "sMAPE", "coverage")


@dataclass(frozen=True, repr=False)
class BacktestTable(Displayed):
    """Figures of forecasters and baselines over the same origins, from `backtest`.

    Example:
        >>> data = kerasdl.data.series.window_series(kerasdl.data.series.load_series("sunspots"), 33, 11)
        >>> backtest({}, data, period=11, ets=False)
        BacktestTable: sunspots, 11 steps from each of 52 origins
                           MASE    MAE   RMSE  sMAPE  coverage
          naive           2.525  58.91  73.48  83.69         -
          seasonal naive  1.256  29.29  39.18  44.15         -
          drift           2.554  59.57  74.34  83.75         -
    """

    figures: Mapping[str, Mapping[str, float]]
    """Figures by the name of the forecaster: MASE, MAE, RMSE, sMAPE, and the coverage of its interval or NaN."""
    title: str
    """Series, horizon and number of origins."""
    steps: Mapping[str, np.ndarray]
    """Mean absolute scaled error of each step of the horizon by the name of the forecaster."""

    def table(self) -> str:
        """Returns a line for each forecaster; `-` where it gives no interval."""
        rows = [(name, *(_text(values[column]) for column in COLUMNS)) for name, values in self.figures.items()]
        return text_table(("", *COLUMNS), rows)

    def to_json(self) -> str:
        """Returns the figures as JSON text, with null where there are none."""
        plain = {n: {k: None if np.isnan(v) else v for k, v in each.items()} for n, each in self.figures.items()}
        return json.dumps({"title": self.title, "figures": plain}, indent=2)

    def _shown(self):
        return f"BacktestTable: {self.title}", self.table()


def backtest(
    forecasters: Mapping[str, Forecaster | Callable[[np.ndarray, int], np.ndarray]],
    windows: SeriesWindows,
    *,
    period: int = 1,
    step: int = 1,
    share: float = 0.8,
    ets: bool | None = None,
) -> BacktestTable:
    """Measures forecasters from each origin of the test part, beside the baselines, which are always in the table.

    The origin rolls on: each forecast knows all steps before it, and is compared with the horizon after it. Errors of
    MASE are divided by the seasonal naive error of the train part of each series. Forecasters are trained once, on the
    train part; ETS is fitted again at each origin.

    Source: Tashman 2000, https://doi.org/10.1016/S0169-2070(00)00065-0; `MASE`.

    Args:
        forecasters: by name a `Forecaster` of the same windows, or a function from a history (T, channels) and a
            horizon to (horizon, targets).
        windows: windows of one or several series, from `window_series`.
        period: steps of a season; 1 for none.
        step: steps from one origin to the next, from the first one of each series.
        share: share of values that the intervals are to cover, of forecasters that give them.
        ets: whether ETS is among the baselines; None takes it where statsmodels is installed.

    Returns:
        The table, baselines last.

    Raises:
        ArgumentError: a name is that of a baseline, a forecaster does not fit the windows, or a series repeats itself,
            so that MASE cannot be computed.

    Example:
        >>> data = kerasdl.data.series.window_series(kerasdl.data.series.load_series("sunspots"), 33, 11)
        >>> half = lambda history, horizon: np.repeat(history[-1:], horizon, axis=0) / 2
        >>> table = backtest({"half": half}, data, period=11, ets=False)
        >>> [*table.figures]
        ['half', 'naive', 'seasonal naive', 'drift']
    """
    checks.at_least("step", step, 1)
    origins = windows.origins["test"]
    firsts = np.array([origins[origins[:, 0] == number, 1].min() for number in range(len(windows.series))])
    origins = origins[(origins[:, 1] - firsts[origins[:, 0]]) % step == 0]
    others = _baselines(period, has_statsmodels() if ets is None else ets)
    for name in forecasters:
        if name in others:
            checks.refuse(f"a forecaster must have another name than the baselines {tuple(others)}", name)
    raw, ahead, labels = windows_at(windows.series, origins, windows.length, windows.horizon)
    units = np.stack([_naive_errors(windows, number, period) for number in range(len(windows.series))])[origins[:, 0]]
    figures, steps = {}, {}
    for name, forecaster in {**forecasters, **others}.items():
        if isinstance(forecaster, Forecaster):
            found = forecaster.forecast(raw, ahead if windows.series[0].future else None, horizon=windows.horizon)
        else:
            histories = [each.values("target" if name in others else "all") for each in windows.series]
            found = Forecasts(_each(name, forecaster, histories, origins, labels.shape[1:]), {})
        figures[name], steps[name] = _measured(found, labels, units, share)
    names = ", ".join(dict.fromkeys(each.name for each in windows.series))
    return BacktestTable(figures, f"{names}, {windows.horizon} steps from each of {len(origins)} origins", steps)


def _baselines(period: int, ets: bool) -> dict[str, Callable]:
    found = {"naive": naive_forecast, "drift": drift_forecast}
    if period > 1:
        seasonal = partial(seasonal_naive_forecast, period=period)
        found = {"naive": naive_forecast, "seasonal naive": seasonal, "drift": drift_forecast}
    return found | ({"ETS": partial(ets_forecast, period=period)} if ets else {})


def _naive_errors(windows: SeriesWindows, number: int, period: int) -> np.ndarray:
    series: TimeSeries = windows.series[number]
    later = np.concatenate([windows.origins["validation"], windows.origins["test"]])
    first = later[later[:, 0] == number, 1].min()
    return seasonal_naive_error(series.values("target")[:first], period)


def _each(name: str, forecaster: Callable, histories: list, origins: np.ndarray, shape: tuple) -> np.ndarray:
    """Returns the forecasts (N, horizon, targets) of a function from a history, one origin after the other."""
    found = []
    for number, origin in origins:
        forecast = np.asarray(forecaster(histories[number][:origin], shape[0]), np.float64)
        if forecast.shape == (shape[0], histories[0].shape[1]):
            forecast = forecast[:, : shape[1]]  # of all channels, such as a baseline's
        if forecast.shape != shape or not np.isfinite(forecast).all():
            checks.refuse(f"{name} must forecast finite numbers {shape}", forecast.shape)
        found.append(forecast)
    return np.stack(found)


def _measured(
    forecasts: Forecasts, labels: np.ndarray, units: np.ndarray, share: float
) -> tuple[dict[str, float], np.ndarray]:
    """Returns figures over all known labels, and the scaled error of each step."""
    errors = labels - forecasts.values
    scaled = np.abs(errors) / units[:, np.newaxis]
    sizes = np.abs(labels) + np.abs(forecasts.values)
    relative = 200 * np.abs(errors) / np.where(sizes == 0, 1, sizes)
    covered = _covered(forecasts, labels, share)
    values: dict[str, Any] = {
        "MASE": np.nanmean(scaled),
        "MAE": np.nanmean(np.abs(errors)),
        "RMSE": np.nanmean(errors**2) ** 0.5,
        "sMAPE": np.nanmean(relative),
        "coverage": np.nan if covered is None else covered,
    }
    return {name: float(value) for name, value in values.items()}, np.nanmean(scaled, axis=(0, 2))


def _covered(forecasts: Forecasts, labels: np.ndarray, share: float) -> float | None:
    if forecasts.std is None and not forecasts.quantiles:
        return None
    low, high = forecasts.interval(share)
    known = ~np.isnan(labels)
    return float(((labels >= low) & (labels <= high))[known].mean())


def _text(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4g}"
