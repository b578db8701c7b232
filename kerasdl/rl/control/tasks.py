"""Control tasks: bundles of policies that turn observations into one of several actions, or into real-number actions.

A fine-tuning of such a bundle on observations and actions is behaviour cloning.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.blocks import classification_task
from kerasdl.core import checks, register_task
from kerasdl.core.outputs.model_shapes import check_labels, input_shape_of
from kerasdl.data import Dataset

DTYPES = ("float32", "int32", "uint8")


def _check(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    found = input_shape_of(model)
    shape = settings.get("observation_shape")
    if not isinstance(shape, (list, tuple)) or tuple(shape) != found:
        checks.refuse(f"observation_shape must be {list(found)}, the input of the model", shape)
    checks.one_of("observation_dtype", settings.get("observation_dtype"), DTYPES)
    name = settings.get("environment")
    if not isinstance(name, str) or not name:
        checks.refuse("environment must be a name", name)
    check_labels(labels, model)


def _check_real(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    _check(settings, labels, model)
    width = model.outputs[0].shape[-1]
    for name in ("low", "high"):
        bounds = settings.get(name)
        if not isinstance(bounds, (list, tuple)) or len(bounds) != width or not all(map(_is_number, bounds)):
            checks.refuse(f"{name} must be a list of one finite number for each of {width} actions", bounds)
    if any(low > high for low, high in zip(settings["low"], settings["high"], strict=True)):
        checks.refuse("low must not exceed high", (settings["low"], settings["high"]))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _preprocess(raw: Any, settings: Mapping[str, Any]) -> tuple[np.ndarray, None]:
    shape, dtype = tuple(settings["observation_shape"]), settings["observation_dtype"]
    rule = f"observations must be numbers (B, {', '.join(map(str, shape))})" if shape else "observations must be (B,)"
    try:
        given = np.asarray(raw, np.float64)
    except (TypeError, ValueError):  # texts, rows of unlike length, objects
        checks.refuse(rule, type(raw).__name__)
    if given.ndim != len(shape) + 1 or given.shape[1:] != shape:
        hint = "Give one observation a first axis, observation[None]." if given.shape == shape else ""
        checks.refuse(rule, f"shape {given.shape}", hint)
    if not np.isfinite(given).all():
        checks.refuse("observations must be finite", f"{np.count_nonzero(~np.isfinite(given))} numbers that are not")
    if dtype != "float32" and ((given != np.round(given)) | (given < 0)).any():
        checks.refuse(f"observations must be whole numbers from 0, for {dtype}", given.ravel()[:3].tolist())
    return given.astype(dtype), None


def _preprocess_real(raw: Any, settings: Mapping[str, Any]) -> tuple[np.ndarray, Mapping[str, Any]]:
    """Returns observations, and as context the settings, whose bounds `_decode_real` takes."""
    return _preprocess(raw, settings)[0], settings


def _ready_real(dataset: Dataset, settings: Mapping[str, Any]) -> Dataset:
    """Returns the dataset: observations are inputs of the model as they are."""
    if dataset.task not in ("unknown", "continuous_control"):
        checks.refuse("data must be of the task continuous_control", f"{dataset.name}: {dataset.task}")
    return dataset


def _no_layers(settings: Mapping[str, Any], raw_shape: tuple) -> list[keras.Layer]:
    return []


def _observations(model: keras.Model, batch: int, rng: np.random.Generator) -> np.ndarray:
    shape, dtype = (batch, *model.input_shape[1:]), keras.backend.standardize_dtype(model.inputs[0].dtype)
    return rng.normal(size=shape).astype("float32") if dtype == "float32" else np.zeros(shape, dtype)


def _chosen(model: keras.Model, batch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return _observations(model, batch, rng), rng.integers(0, model.output_shape[-1], batch).astype("int32")


def _moved(model: keras.Model, batch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return _observations(model, batch, rng), rng.uniform(-1, 1, (batch, model.output_shape[-1])).astype("float32")


def _decode_real(outputs: Any, labels: Sequence[str], settings: Mapping[str, Any]) -> list[dict]:
    """Returns `{"action": [...]}` for each row of outputs, within the bounds."""
    clipped = np.clip(np.asarray(outputs, np.float64), settings["low"], settings["high"])
    return [{"action": row.tolist()} for row in clipped]


discrete = register_task(
    dataclasses.replace(
        classification_task(
            "discrete_control",
            module=__name__,
            check=_check,
            preprocess=_preprocess,
            preprocess_layers=_no_layers,
            example=_chosen,
            summary="chooses the next action from an observation",
        ),
        limits="It knows one environment, and chooses an action for any observation, also for one that it never met.",
    )
)
register_task(
    dataclasses.replace(
        discrete,
        name="continuous_control",
        loss=keras.losses.MeanSquaredError,
        metrics=lambda: [keras.metrics.MeanAbsoluteError(name="mae")],
        monitor=("val_mae", "min"),
        check=_check_real,
        preprocess=_preprocess_real,
        ready=_ready_real,
        decode=_decode_real,
        example=_moved,
        activation=None,
        label_arguments=lambda labels: {"targets": len(labels)},
    )
)
