"""Pictures of docs/forecasting.md: `make pictures`, or

python tools/make_forecast_pictures.py
"""

from pathlib import Path

import keras
import numpy as np

import kerasdl
from kerasdl.data.series import load_series, plant_anomalies, seasonal_series, window_series
from kerasdl.sequence import Forecaster, draw_anomalies, draw_forecast, forecast_error_scores
from kerasdl.train import RunConfig, fit

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"


def forecast() -> None:
    """Draws a forecast of sea temperatures with its interval."""
    keras.utils.set_random_seed(0)
    data = window_series(load_series("sea_temperature"), 36, 12)
    settings = {"units": 24, "depth": 1, "dropout": 0.2, "distribution": (0.1, 0.5, 0.9)}
    network = kerasdl.build("lstm_forecaster", length=36, horizon=12, **settings)
    config = RunConfig(epochs=30, learning_rate=3e-3, schedule="cosine", seed=0, progress="off", strategy=None)
    run = fit(Forecaster(network), data.train, validation=data.validation, config=config)
    draw_forecast(Forecaster(run.model, scaling=data.scaling), data.series[0], 690, path=PICTURES / "forecast.png")


def anomalies() -> None:
    """Draws planted anomalies and their scores."""
    keras.utils.set_random_seed(0)
    clean = seasonal_series(900, noise=0.05)[0]
    data = window_series(clean, 24, 1)
    network = kerasdl.build("dlinear", length=24, horizon=1, kernel=12)
    config = RunConfig(epochs=15, learning_rate=1e-2, seed=0, progress="off", strategy=None)
    fit(Forecaster(network), data.train, config=config)
    detector = Forecaster(network, scaling=data.scaling)
    threshold = np.nanquantile(forecast_error_scores(detector, clean.part(540, 720)), 0.999)
    planted, labels = plant_anomalies(clean, 4, start=720)
    scores = forecast_error_scores(detector, planted)
    drawn = {"threshold": threshold, "labels": labels[660:], "path": PICTURES / "anomalies.png"}
    draw_anomalies(planted.part(660, 900), scores[660:], **drawn)


if __name__ == "__main__":
    forecast()
    anomalies()
