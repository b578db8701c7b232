"""Baselines of forecasts: last value, last season, drift, and exponential smoothing where statsmodels is installed."""

import importlib
import importlib.util
import warnings
from collections.abc import Callable

import numpy as np

from kerasdl.core import checks
from kerasdl.data.series.scaling import filled

Forecast = Callable[[np.ndarray, int], np.ndarray]


def naive_forecast(history: np.ndarray, horizon: int) -> np.ndarray:
    """Repeats the last value, the best forecast of a random walk.

    Source: Hyndman and Athanasopoulos, Forecasting: Principles and Practice, https://otexts.com/fpp3/, section 5.2.

    Args:
        history: (T, C); a missing value takes the last one before it.
        horizon: steps to forecast.

    Returns:
        (horizon, C) float64.

    Raises:
        ArgumentError: the history has another shape, or no value in a column.

    Example:
        >>> naive_forecast(np.array([[1.0], [4.0]]), 2).T
        array([[4., 4.]])
    """
    return np.repeat(_complete(history)[-1:], checks.at_least("horizon", horizon, 1), axis=0)


def seasonal_naive_forecast(history: np.ndarray, horizon: int, period: int) -> np.ndarray:
    """Repeats the last season.

    Source: as `naive_forecast`.

    Args:
        history: (T, C), a season or more; a missing value takes the last one before it.
        horizon: steps to forecast.
        period: steps of a season.

    Returns:
        (horizon, C) float64.

    Raises:
        ArgumentError: the history is shorter than a season, or has no value in a column.

    Example:
        >>> seasonal_naive_forecast(np.arange(6.0)[:, None], 4, 3).T
        array([[3., 4., 5., 3.]])
    """
    values = _complete(history)
    if len(values) < checks.at_least("period", period, 1):
        checks.refuse(f"history must hold a season of {period} steps", len(values))
    return values[len(values) - period + np.arange(checks.at_least("horizon", horizon, 1)) % period]


def drift_forecast(history: np.ndarray, horizon: int) -> np.ndarray:
    """Continues the line from the first value to the last one.

    Source: as `naive_forecast`.

    Args:
        history: (T, C) of two steps or more; a missing value takes the last one before it.
        horizon: steps to forecast.

    Returns:
        (horizon, C) float64.

    Raises:
        ArgumentError: the history has another shape, or no value in a column.

    Example:
        >>> drift_forecast(np.array([[1.0], [2.0], [5.0]]), 2).T
        array([[7., 9.]])
    """
    values = _complete(history)
    slope = (values[-1] - values[0]) / max(1, len(values) - 1)
    return values[-1] + slope * np.arange(1, checks.at_least("horizon", horizon, 1) + 1)[:, np.newaxis]


def ets_forecast(history: np.ndarray, horizon: int, period: int = 1) -> np.ndarray:
    """Forecasts by exponential smoothing with an additive damped trend and an additive season, of statsmodels.

    Source: Hyndman et al. 2002, https://doi.org/10.1016/S0169-2070(01)00110-8.

    Args:
        history: (T, C), two seasons or more; a missing value takes the last one before it.
        horizon: steps to forecast.
        period: steps of a season; 1 for none.

    Returns:
        (horizon, C) float64.

    Raises:
        ArgumentError: statsmodels is not installed, or the history is too short.

    Example:
        >>> ets_forecast(np.arange(30.0)[:, None] % 5, 5, 5).shape if has_statsmodels() else (5, 1)
        (5, 1)
    """
    if not has_statsmodels():
        checks.refuse("ETS needs the package statsmodels", "none", "pip install statsmodels")
    values = _complete(history)
    if len(values) < 2 * max(period, 5):
        checks.refuse(f"history must hold {2 * max(period, 5)} steps or more", len(values))
    smoothing = importlib.import_module("statsmodels.tsa.holtwinters").ExponentialSmoothing
    season = {"seasonal": "add", "seasonal_periods": period} if period > 1 else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on convergence, for a short history
        columns = [
            smoothing(column, trend="add", damped_trend=True, initialization_method="estimated", **season)
            .fit()
            .forecast(horizon)
            for column in values.T
        ]
    return np.stack(columns, axis=1)


def has_statsmodels() -> bool:
    """Returns whether statsmodels is installed."""
    return importlib.util.find_spec("statsmodels") is not None


def _complete(history: np.ndarray) -> np.ndarray:
    """Returns (T, C) without missing values, which take the last one before them; the first ones take the first."""
    values = np.asarray(history, np.float64)
    if values.ndim != 2 or not len(values) or np.isnan(values).all(axis=0).any():
        checks.refuse("history must be (T, C) with a value in each column", values.shape)
    values = filled(values)
    first = np.argmax(~np.isnan(values), axis=0)
    return np.where(np.isnan(values), values[first, np.arange(values.shape[1])], values)
