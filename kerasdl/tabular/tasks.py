"""Tabular classification and regression tasks."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.blocks import classification_task
from kerasdl.core import checks, register_task
from kerasdl.core.outputs.decoding import decode_values
from kerasdl.core.outputs.model_shapes import check_labels, input_shape_of


def _check(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    input_shape = input_shape_of(model)
    for name, low in (("mean", -1e30), ("std", 1e-30)):
        values = settings.get(name)
        if not isinstance(values, (list, tuple)) or (len(values),) != input_shape:
            checks.refuse(f"{name} must be a list of one number for each feature of {input_shape}", values)
        for value in values:
            checks.within(f"a value of {name}", value, low, 1e30)
    check_labels(labels, model)


def _preprocess(raw: Any, settings: Mapping[str, Any]) -> tuple[np.ndarray, None]:
    features = len(settings["mean"])
    rule = f"raw rows must be numbers (B, {features})"
    try:
        rows = np.asarray(raw, np.float64)
    except (TypeError, ValueError):  # texts, rows of unlike length, objects
        shown = " ".join(f"{type(raw).__name__} {raw!r}".split())[:80]
        checks.refuse(rule, shown, f"Give a list of rows of {features} numbers each.")
    if rows.ndim != 2 or rows.shape[1] != features:
        checks.refuse(rule, f"shape {rows.shape}", "Give one row a first axis, rows[None]." if rows.ndim == 1 else "")
    if not np.isfinite(rows).all():
        row, feature = np.argwhere(~np.isfinite(rows))[0]
        hint = "Leave such rows out, or fill them as the training data were."
        checks.refuse("raw rows must be finite", f"{rows[row, feature]} in row {row}, feature {feature}", hint)
    return ((rows - settings["mean"]) / settings["std"]).astype("float32"), None


def _preprocess_layers(settings: Mapping[str, Any], raw_shape: tuple) -> list[keras.Layer]:
    variance = np.square(settings["std"])
    return [keras.layers.Normalization(mean=settings["mean"], variance=variance, name="standardise")]


def _rows(model: keras.Model, batch: int, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(batch, model.input_shape[-1])).astype("float32")


def _classified(model: keras.Model, batch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return _rows(model, batch, rng), rng.integers(0, model.output_shape[-1], batch).astype("int32")


def _measured(model: keras.Model, batch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return _rows(model, batch, rng), rng.normal(size=(batch, model.output_shape[-1])).astype("float32")


classification = register_task(
    classification_task(
        "tabular_classification",
        module=__name__,
        check=_check,
        preprocess=_preprocess,
        preprocess_layers=_preprocess_layers,
        example=_classified,
        summary="names what a row of numbers describes",
    )
)
register_task(
    dataclasses.replace(
        classification,
        name="tabular_regression",
        loss=keras.losses.MeanSquaredError,
        metrics=lambda: [keras.metrics.MeanAbsoluteError(name="mae")],
        monitor=("val_mae", "min"),
        decode=decode_values,
        example=_measured,
        activation=None,
        label_arguments=lambda labels: {"targets": len(labels)},
        summary="predicts a number from a row of numbers",
        limits="It gives a value for any input, also for one unlike all that it was trained on.",
    )
)
