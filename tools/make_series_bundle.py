"""Builder of the embedded bundle `series_tcn` from a fixed seed, about 3 minutes on two cores.

A small TCN that forecasts carbon dioxide in the air, half a year in weeks, as three quantiles
(`kerasdl.data.series.load_series("co2")`).
"""

from pathlib import Path

import keras
from bundle_making import bundle_of, embed

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.bundles.listing import EMBEDDED
from kerasdl.data.series import check_leakage, load_series, window_series
from kerasdl.sequence import Forecaster
from kerasdl.train import RunConfig, fit

NAME, BUILDER, SEED, EPOCHS = "series_tcn", "tcn_forecaster", 0, 30
ARGUMENTS = {
    "length": 104,
    "horizon": 26,
    "filters": 24,
    "depth": 5,
    "dropout": 0.2,
    "distribution": (0.1, 0.5, 0.9),
}


def make() -> Bundle:
    """Trains the net on the first part of the series and measures it on the last one."""
    keras.utils.set_random_seed(SEED)
    series = load_series("co2")
    data = check_leakage(window_series(series, ARGUMENTS["length"], ARGUMENTS["horizon"]))
    network = kerasdl.build(BUILDER, **ARGUMENTS)
    config = RunConfig(epochs=EPOCHS, learning_rate=3e-3, schedule="cosine", seed=SEED, strategy=None)
    run = fit(Forecaster(network), data.train, validation=data.validation, config=config)
    bundle = bundle_of(
        run.model,
        name=NAME,
        task="forecasting",
        preprocess=data.settings,
        labels=series.target,
        builder=BUILDER,
        arguments=ARGUMENTS,
        made_by=__file__,
        data="co2, weekly over Mauna Loa, the first 60 % of 1958 to 2001",
        data_licence=series.licence,
        epochs=EPOCHS,
        seed=SEED,
    )
    return bundle.with_metrics("co2 test", bundle.evaluate(data.test))


def main(folder: Path = EMBEDDED) -> None:
    """Writes the bundle."""
    embed(make(), folder)


if __name__ == "__main__":
    main()
