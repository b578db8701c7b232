"""Forecasts of real series by LSTM and TCN beside the baselines: MASE over rolling origins, over seeds.

    python benchmarks/forecasting.py                       # all series, three seeds
    python benchmarks/forecasting.py sunspots --seeds 1
    python benchmarks/forecasting.py --table               # the table of what was measured so far

Each series, forecaster and seed is a line of JSON in `forecasting.jsonl` of the working folder; what stands there is
not measured again. Series are cut by time, 60, 20 and 20 %; networks learn from the first part, the epoch is chosen by
the second, and all are measured from the same origins of the third. Baselines have no seed: the last value, the last
season, drift, and ETS of statsmodels, which is fitted again at each origin to all steps before it. `random_walk` has
nothing to learn: there the last value is hard to beat.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kept_lines
import keras

import kerasdl
from kerasdl.data.series import SeriesWindows, load_series, window_series
from kerasdl.sequence import Forecaster, backtest
from kerasdl.sequence.series.baselines import has_statsmodels
from kerasdl.train import RunConfig, fit

RESULTS, KEYS = Path("forecasting.jsonl"), ("series", "forecaster", "seed")
NETS = ("lstm_forecaster", "tcn_forecaster")
LEVELS = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Case:
    """Series, its windows and the training of its networks."""

    period: int
    """Steps of a season."""
    length: int
    """Steps of a window."""
    horizon: int
    """Steps to forecast."""
    step: int
    """Steps between origins."""
    epochs: int
    """Passes over the train part."""
    nets: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Arguments of the builders that are not the same for all."""


CASES = {
    "co2": Case(52, 104, 26, 13, 30, {"tcn_forecaster": {"depth": 5}}),
    "sunspots": Case(11, 44, 11, 1, 80),
    "sea_temperature": Case(12, 36, 12, 3, 60),
    "random_walk": Case(1, 30, 5, 5, 20),
}
COMMON = {
    "lstm_forecaster": {"units": 32, "depth": 1, "dropout": 0.2},
    "tcn_forecaster": {"filters": 24, "dropout": 0.2},
}


def windows(name: str) -> SeriesWindows:
    """Returns the windows of a series."""
    case = CASES[name]
    return window_series(load_series(name), case.length, case.horizon)


def trained(name: str, builder: str, seed: int) -> dict:
    """Trains one network with one seed, and returns its figures over the origins of the test part."""
    case, data = CASES[name], windows(name)
    keras.utils.set_random_seed(seed)
    settings = {**COMMON[builder], **case.nets.get(builder, {}), "distribution": LEVELS}
    network = kerasdl.build(builder, length=case.length, horizon=case.horizon, **settings)
    config = RunConfig(
        epochs=case.epochs,
        learning_rate=3e-3,
        batch_size=32,
        schedule="cosine",
        seed=seed,
        strategy=None,
        progress="off",
    )
    cpu = time.process_time()
    run = fit(Forecaster(network), data.train, validation=data.validation, config=config)
    forecaster = Forecaster(run.model, scaling=data.scaling)
    figures = backtest({builder: forecaster}, data, period=case.period, step=case.step, ets=False).figures[builder]
    return {**rounded(figures), "weights": network.count_params(), "cpu_s": round(time.process_time() - cpu)}


def baselines(name: str, baseline: str) -> dict:
    """Returns the figures of a baseline."""
    case, cpu = CASES[name], time.process_time()
    table = backtest({}, windows(name), period=case.period, step=case.step, ets=baseline == "ETS")
    return {**rounded(table.figures[baseline]), "weights": 0, "cpu_s": round(time.process_time() - cpu)}


def rounded(figures: dict) -> dict:
    """Returns figures with four digits, without those that are missing."""
    return {key: float(f"{value:.4g}") for key, value in figures.items() if value == value}


def main() -> None:
    """Measures what is missing, and prints the table."""
    asked = kept_lines.asked(__doc__, CASES, kind="series")
    jobs = {}
    for name in asked.names:
        simple = ["naive", "drift", *(["seasonal naive"] if CASES[name].period > 1 else [])]
        for baseline in [*simple, *(["ETS"] if has_statsmodels() else [])]:
            jobs[name, baseline, 0] = lambda name=name, baseline=baseline: baselines(name, baseline)
        for seed in range(asked.seeds):
            for builder in NETS:
                jobs[name, builder, seed] = lambda n=name, b=builder, s=seed: trained(n, b, s)
    if not asked.table:
        kept_lines.measure(RESULTS, KEYS, jobs)
    figures = {"MASE": ".3f", "MAE": ".3g", "sMAPE": ".3g", "coverage": ".2f", "weights": ".0f", "cpu_s": ".0f"}
    kept_lines.means(RESULTS, KEYS[:2], figures)


if __name__ == "__main__":
    main()
