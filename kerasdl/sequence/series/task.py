"""Forecasting task: raw windows of a time series in, forecasts in the unit of the series out."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.core import Task, checks, register_task
from kerasdl.core.outputs.broadcast_sums import predicted
from kerasdl.data import Dataset
from kerasdl.data.series import SeriesScaling
from kerasdl.data.series.scaling import with_gaps
from kerasdl.data.trees import unpacked
from kerasdl.metrics import SMAPE, IntervalCoverage, QuantileScore

from .file_form import file_facts, unscaling_layers
from .forecaster import Forecaster, Forecasts, prepared_inputs, read_outputs
from .heads import distribution_of

LARGEST = 1e30


def scaling_of(settings: Mapping[str, Any]) -> SeriesScaling:
    """Returns the scaling of a bundle's settings."""
    places = tuple(list(settings["channels"]).index(name) for name in settings["future"])
    return SeriesScaling(tuple(settings["mean"]), tuple(settings["std"]), settings["targets"], places)


def _check(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    forecaster = Forecaster(model)
    length, channels = forecaster.window_shape
    names = {name: settings.get(name) for name in ("channels", "future")}
    for name, value in names.items():
        if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
            checks.refuse(f"{name} must be a list of names", value)
    if len(names["channels"]) != channels or len(set(names["channels"])) < channels:
        checks.refuse(f"channels must name each of the {channels} of the model", names["channels"])
    if not set(names["future"]) <= set(names["channels"]):
        checks.refuse("future must be names of channels", names["future"])
    ahead = [tensor.shape[-1] for tensor in model.inputs if tensor.name == "future"]
    if (len(model.inputs) == 1 and names["future"]) or ahead not in ([], [len(names["future"])]):
        checks.refuse("future must name each covariate that the model takes in advance", names["future"])
    for name, fits in {"targets": (forecaster.targets,), "horizon": (forecaster.horizon,)}.items():
        checks.one_of(name, settings.get(name), fits)
    if checks.at_least("length", settings.get("length"), 2) != length and length is not None:
        checks.refuse(f"length must be the {length} steps of the model's window", settings["length"])
    for name, low in (("mean", -LARGEST), ("std", 1e-30)):
        values = settings.get(name)
        if not isinstance(values, (list, tuple)) or len(values) != channels:
            checks.refuse(f"{name} must be a list of one number for each of {channels} channels", values)
        for value in values:
            checks.within(f"a value of {name}", value, low, LARGEST)
    if labels and len(labels) != forecaster.targets:
        checks.refuse(f"a bundle must have a label for each of its {forecaster.targets} targets", len(labels))


def _preprocess(raw: Any, settings: Mapping[str, Any]) -> tuple[Any, SeriesScaling]:
    """Returns the last steps of raw windows, scaled, and the scaling for `_decode`."""
    scaling, channels, length = scaling_of(settings), len(settings["channels"]), settings["length"]
    is_pair = isinstance(raw, Mapping)
    if is_pair != bool(settings["future"]) or (is_pair and set(raw) != {"window", "future"}):
        rule = "raw must be a dict of `window` and `future`" if settings["future"] else "raw must be windows alone"
        checks.refuse(rule, sorted(raw) if is_pair else type(raw).__name__)
    windows = _numbers(raw["window"] if is_pair else raw, f"(B, {length} or more, {channels})")
    if windows.ndim == 2 and channels == 1:
        windows = windows[..., np.newaxis]
    if windows.ndim != 3 or windows.shape[2] != channels or windows.shape[1] < length:
        hint = "Give one window as window[None]." if windows.ndim == 2 else ""
        checks.refuse(f"windows must have {length} steps or more of {channels} channels", windows.shape, hint)
    ahead = None
    if is_pair:
        shape = (len(windows), settings["horizon"], len(settings["future"]))
        ahead = _numbers(raw["future"], str(shape))
        if ahead.shape != shape:
            checks.refuse(f"future must have the shape {shape}", ahead.shape)
    return prepared_inputs(windows[:, -length:], ahead, scaling), scaling


def _numbers(raw: Any, shape: str) -> np.ndarray:
    try:
        values = with_gaps(raw)
    except (TypeError, ValueError):
        checks.refuse(f"raw windows must be numbers {shape}", " ".join(f"{raw!r}".split())[:80])
    if np.isinf(values).any():
        checks.refuse("raw windows must be finite, or NaN where a value is missing", "infinity")
    return values


def _preprocess_layers(settings: Mapping[str, Any], raw_shape: tuple) -> list[keras.Layer]:
    if settings["future"]:
        hint = "Export without raw_shape=, and scale the inputs as the settings say."
        checks.refuse("a graph prepares windows alone", settings["future"], hint)
    variance = np.square(settings["std"])
    return [keras.layers.Normalization(mean=settings["mean"], variance=variance, name="standardise")]


def _predict(networks: Mapping[str, keras.Model], inputs: Any, batch_size: int) -> Forecasts:
    network = networks["model"]
    outputs = predicted(network, inputs, batch_size)
    return read_outputs(outputs, distribution_of(network), None)


def _decode(forecasts: Forecasts, labels: Sequence[str], scaling: SeriesScaling) -> list[dict[str, Any]]:
    """Returns `{"forecast": {target: [values]}}` of each window, with `quantiles` and `std` where there are some."""
    names = list(labels) or [str(number) for number in range(scaling.targets)]
    values = scaling.unscaled(forecasts.values)
    quantiles = {level: scaling.unscaled(each) for level, each in forecasts.quantiles.items()}
    results = []
    for number in range(len(values)):
        result = {"forecast": _by_name(names, values[number])}
        if quantiles:
            result["quantiles"] = {f"{level:g}": _by_name(names, each[number]) for level, each in quantiles.items()}
        if forecasts.std is not None:
            result["std"] = _by_name(names, forecasts.std[number] * np.array(scaling.std[: scaling.targets]))
        results.append(result)
    return results


def _by_name(names: Sequence[str], values: np.ndarray) -> dict[str, list[float]]:
    return dict(zip(names, values.T.tolist(), strict=True))


def a_row_a_step(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns a row for each step of a forecast: its number, the value of each target, quantiles, deviations.

    Its time, where `times` of the result say it, stands behind the number.
    """
    columns = dict(result["forecast"])
    columns |= {
        f"{name} {level}": each for level, by in result.get("quantiles", {}).items() for name, each in by.items()
    }
    columns |= {f"{name} std": each for name, each in result.get("std", {}).items()}
    steps = range(1, 1 + len(next(iter(columns.values()))))
    times = {"time": result["times"]} if "times" in result else {}
    columns = {"step": steps, **times, **columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _ready(dataset: Dataset, settings: Mapping[str, Any]) -> Dataset:
    """Returns windows in the scaling of the settings: raw ones are scaled, scaled ones brought to another scaling."""
    if not dataset.any_order:
        checks.refuse("windows must be arrays or a Dataset of series", dataset.name)
    scaling, source = scaling_of(settings), dataset.source
    if dataset.feature_names and tuple(dataset.feature_names) != tuple(settings["channels"]):
        checks.refuse(f"data must have the channels {tuple(settings['channels'])} in this order", dataset.feature_names)
    is_same = dataset.feature_mean == scaling.mean and dataset.feature_std == scaling.std
    if not is_same:
        inputs = source.inputs
        labels, weights = None if source.labels is None else np.asarray(source.labels, np.float64), source.weights
        if dataset.feature_mean:
            own = SeriesScaling(dataset.feature_mean, dataset.feature_std, scaling.targets, scaling.future)
            inputs = _raw_inputs(inputs, own)
            labels = None if labels is None else own.unscaled(labels)
        inputs, _ = _preprocess(inputs, settings)
        if labels is not None:
            labels = labels[..., np.newaxis] if labels.ndim == 2 and scaling.targets == 1 else labels
            known = ~np.isnan(labels).any(axis=-1)
            labels = np.nan_to_num(scaling.scaled_targets(labels), nan=0.0).astype("float32")
            weights = weights if known.all() else _weights_of_known(known, weights)
        source = dataclasses.replace(source, inputs=inputs, labels=labels, weights=weights)
    shape = (settings["horizon"], scaling.targets)
    if source.labels is not None and source.labels.shape[1:] != shape:
        checks.refuse(f"labels must be (B, {shape[0]}, {shape[1]})", source.labels.shape)
    names = {"feature_mean": scaling.mean, "feature_std": scaling.std, "feature_names": tuple(settings["channels"])}
    return dataclasses.replace(
        dataset, source=source, task="forecasting", class_names=(), input_dtype="float32", **names
    )


def _weights_of_known(known: np.ndarray, weights: Any) -> np.ndarray:
    """Returns weights (B, horizon), 0 where labels are missing."""
    if weights is None:
        return known.astype("float32")
    weights = np.asarray(weights, "float32")
    if weights.ndim > 2:
        checks.refuse("weights of windows with missing labels must be (B,) or (B, horizon)", weights.shape)
    return known * (weights[:, np.newaxis] if weights.ndim == 1 else weights)


def _raw_inputs(inputs: Any, scaling: SeriesScaling) -> Any:
    if not isinstance(inputs, Mapping):
        return inputs * np.array(scaling.std) + scaling.mean
    mean, std = (np.array([each[place] for place in scaling.future]) for each in (scaling.mean, scaling.std))
    return {"window": _raw_inputs(inputs["window"], scaling), "future": inputs["future"] * std + mean}


def _figures(networks: Mapping[str, keras.Model], data: Dataset) -> dict[str, float]:
    """Returns MAE, RMSE and sMAPE in the unit of the series; of distributions quantile score and coverage too."""
    network = networks["model"]
    distribution, (_, targets) = distribution_of(network), network.outputs[0].shape[1:3]
    has_scaling = bool(data.feature_mean)
    scaling = SeriesScaling(data.feature_mean, data.feature_std, targets) if has_scaling else None
    errors, squares = keras.metrics.Mean(), keras.metrics.Mean()
    smape, coverage = SMAPE(), IntervalCoverage("coverage")
    levels = () if isinstance(distribution, str) else distribution
    score = QuantileScore(levels) if levels else None
    for batch in data.batches(256):
        inputs, labels, weights = unpacked(batch)
        found = read_outputs(network(inputs, training=False), distribution, scaling)
        labels = np.asarray(labels, np.float64)
        labels = labels if scaling is None else scaling.unscaled(labels)
        if weights is not None:
            labels = np.where(
                np.asarray(weights).reshape(*weights.shape, *[1] * (3 - len(weights.shape))) > 0, labels, np.nan
            )
        known = ~np.isnan(labels)
        errors.update_state(np.abs(labels - found.values)[known])
        squares.update_state(np.square(labels - found.values)[known])
        smape.update_state(labels, found.values)
        if score is not None:
            score.update_state(labels, np.stack(list(found.quantiles.values()), axis=-1))
        if bounds := _bounds(found):
            coverage.update_state(labels, np.stack(bounds, axis=-1))
    figures = {"mae": errors, "smape": smape, **({"quantile_score": score} if score is not None else {})}
    figures |= {"coverage": coverage} if float(coverage.count) else {}
    return {"rmse": float(squares.result()) ** 0.5, **{name: float(each.result()) for name, each in figures.items()}}


def _bounds(forecasts: Forecasts) -> tuple | None:
    """Returns the interval of the outermost quantiles, or of 80 % of normal distributions; None for values alone."""
    if forecasts.std is not None:
        return forecasts.interval(0.8)
    levels = sorted(forecasts.quantiles)
    return (forecasts.quantiles[levels[0]], forecasts.quantiles[levels[-1]]) if len(levels) > 1 else None


def _example(model: keras.Model, batch: int, seed: int) -> tuple[Any, np.ndarray]:
    rng = np.random.default_rng(seed)

    def drawn(tensor):
        return rng.normal(size=(batch, *(side or 16 for side in tensor.shape[1:]))).astype("float32")

    inputs = {tensor.name: drawn(tensor) for tensor in model.inputs}
    inputs = inputs if len(inputs) > 1 else next(iter(inputs.values()))
    return inputs, rng.normal(size=(batch, *model.outputs[0].shape[1:3])).astype("float32")


register_task(
    Task(
        name="forecasting",
        module=__name__,
        loss=lambda: None,
        metrics=list,
        monitor=("val_mae", "min"),
        check=_check,
        preprocess=_preprocess,
        preprocess_layers=_preprocess_layers,
        decode=_decode,
        replace_head=None,
        example=_example,
        predict=_predict,
        trainer=Forecaster,
        ready=_ready,
        figures=_figures,
        answer_layers=unscaling_layers,
        file_facts=file_facts,
        label_arguments=lambda labels: {"targets": len(labels)},
        table=a_row_a_step,
        summary="forecasts the next steps of a time series",
        limits="It gives a forecast for any window, also for one unlike all that it was trained on, and does not"
        " know of events outside the series.",
    )
)
