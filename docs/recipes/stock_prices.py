"""Stock prices: a TCN against the last value, on drawn prices or a CSV file. `python docs/recipes/stock_prices.py`.

    python docs/recipes/stock_prices.py                     # a drawn random walk; about 1 minute on two cores
    python docs/recipes/stock_prices.py prices.csv Date Close

It prints a table of both beside the drift. Expected: MASE of the TCN at or above that of the last value. The network
learns changes of the logarithm over five days; those of prices are close to noise, so the best forecast is near none.
A single test part that shows a gain is no proof: look at several series and years before you believe it, and count what
trading costs.
"""

import sys

import keras
import numpy as np

import kerasdl
from kerasdl.data.series import TimeSeries, check_leakage, random_walks, read_series, window_series
from kerasdl.sequence import BacktestTable, Forecaster, backtest
from kerasdl.train import RunConfig, fit

LENGTH, HORIZON = 30, 5


def logarithms(series: TimeSeries) -> TimeSeries:
    """Returns the logarithms of the prices, whose changes are returns."""
    prices = series.columns[series.target[0]]
    return TimeSeries(np.arange(series.size), {"log price": np.log(prices)}, ("log price",), name=series.name)


def compare(series: TimeSeries, seed: int = 0, epochs: int = 10) -> BacktestTable:
    """Returns the table of a TCN, the last value and the drift over the last fifth of a series."""
    keras.utils.set_random_seed(seed)
    data = check_leakage(window_series(logarithms(series), LENGTH, HORIZON))
    network = kerasdl.build("tcn_forecaster", length=LENGTH, horizon=HORIZON, filters=16, depth=3, dropout=0.2)
    config = RunConfig(epochs=epochs, learning_rate=1e-3, seed=seed, progress="off")
    run = fit(Forecaster(network), data.train, validation=data.validation, config=config)
    return backtest({"TCN": Forecaster(run.model, scaling=data.scaling)}, data, ets=False)


def main(path: str = "", time: str = "Date", target: str = "Close") -> None:
    """Prints the table for a file, or for drawn prices."""
    if path:
        series = read_series(path, time=time, target=target)[0]
        known = ~np.isnan(series.columns[target])  # days without trade
        series = TimeSeries(
            np.arange(known.sum()), {target: series.columns[target][known]}, (target,), name=series.name
        )
    else:
        series = random_walks(2000, volatility=0.015, seed=7)[0]
    print(compare(series).table())


if __name__ == "__main__":
    main(*sys.argv[1:4])
