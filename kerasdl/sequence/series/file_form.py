"""Forecasts of an exported file: layers that bring them to the unit of the series, and facts for the app that asks."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from .heads import distribution_of


def unscaling_layers(settings: Mapping[str, Any], network: keras.Model) -> list[keras.layers.Layer]:
    """Returns a layer that brings the output of a forecasting network to the unit of the series.

    Of normal distributions it brings the mean, and adds the logarithm of the deviation of the series to the other.

    Args:
        settings: settings of the preprocessing of a bundle.
        network: its network.
    """
    targets, distribution = settings["targets"], distribution_of(network)
    mean, std = (np.array(settings[name][:targets]) for name in ("mean", "std"))
    if distribution == "gaussian":
        std, mean = np.stack([std, np.ones(targets)], axis=1), np.stack([mean, np.log(std)], axis=1)  # (targets, 2)
    elif distribution != "point":
        std, mean = std[:, np.newaxis], mean[:, np.newaxis]  # (targets, 1), for all levels
    name = f"{network.output_names[0]}_in_unit"
    return [keras.layers.Rescaling(std.tolist(), mean.tolist(), dtype="float32", name=name)]


def file_facts(
    networks: Mapping[str, keras.Model], settings: Mapping[str, Any], raw_shape: tuple | None
) -> dict[str, Any]:
    """Returns what an app must know to ask an exported forecaster, with steps in words; JSON can hold it.

    Args:
        networks: networks by role.
        settings: settings of the preprocessing.
        raw_shape: shape of a raw window where the file scales it and its forecasts, else None.
    """
    distribution, is_raw = distribution_of(networks["model"]), raw_shape is not None
    levels = [] if isinstance(distribution, str) else list(distribution)
    channels, names = len(settings["channels"]), ", ".join(settings["channels"])
    steps = [
        f"Take the last {settings['length']} steps of these columns, oldest first: {names}.",
        "Put the last value before it in the place of a missing one; where there is none, the mean of its column.",
        *([] if is_raw else ["Feed value = (value - mean) / std of its column, float32."]),
        f"The input has the shape (1, {settings['length']}, {channels}){', in the unit of the series' * is_raw}.",
        *_ahead(settings),
        f"The output has the {settings['horizon']} next steps of each of the {settings['targets']} first columns"
        + {"point": "", "gaussian": ": means and logarithms of standard deviations"}.get(
            str(distribution), f": quantiles {levels}, to be sorted"
        )
        + ".",
        *([] if is_raw else [_back(distribution)]),
    ]
    kept = ("channels", "future", "targets", "length", "horizon", "mean", "std")
    facts = {name: settings[name] for name in kept}
    kind = distribution if isinstance(distribution, str) else "quantiles"
    return {"series": {**facts, "distribution": kind, "levels": levels, "in_unit": is_raw, "steps": steps}}


def _ahead(settings: Mapping[str, Any]) -> list[str]:
    if not settings["future"]:
        return []
    names, horizon = ", ".join(settings["future"]), settings["horizon"]
    return [f"Feed the next {horizon} steps of these columns as `future`, scaled by the same rule: {names}."]


def _back(distribution: Any) -> str:
    if distribution == "gaussian":
        return "Forecast = mean of the file * std + mean of the column; deviation = exp(logarithm) * std."
    return "Forecast = output * std + mean of its column."
