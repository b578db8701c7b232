"""What tells one run from another: the build of the model, and the data."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import keras

from kerasdl.data import Dataset


def identity_of(
    model: keras.Model,
    train: Dataset,
    validation: Dataset | None,
    callbacks: Sequence[keras.callbacks.Callback],
) -> dict[str, Any]:
    """Returns plain values that differ where model, data, loss, metrics or callbacks do."""
    metrics = [getattr(metric, "name", str(metric)) for metric in model.metrics]
    own = {"trainer": model.run_identity()} if hasattr(model, "run_identity") else {}
    return {
        **own,
        "model": {
            "layers": len(model.layers),
            "weights": model.count_params(),
            "build": _digest(model),
        },
        "loss": _described(getattr(model, "loss", None)),
        "metrics": metrics,
        "train": _data(train),
        "validation": None if validation is None else _data(validation),
        "callbacks": [type(callback).__name__ for callback in callbacks],
    }


def _data(data: Dataset) -> dict[str, Any]:
    fields = {"name": data.name, "size": data.size, "input_shape": list(data.input_shape)}
    return {**fields, "fingerprint": data.fingerprint()}


def _described(loss: Any) -> Any:
    if not isinstance(loss, keras.losses.Loss):
        return _name(loss)
    return {"class": type(loss).__name__, **{key: str(value) for key, value in loss.get_config().items()}}


def _digest(model: keras.Model) -> str:
    layers = [[type(layer).__name__, _without_names(_config(layer))] for layer in model.layers]
    weights = [[list(variable.shape), str(variable.dtype), variable.trainable] for variable in model.weights]
    text = json.dumps([layers, weights], sort_keys=True, default=_name)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _config(layer: keras.Layer) -> dict[str, Any]:
    try:
        return layer.get_config()
    except NotImplementedError:  # a layer that Keras cannot save is known by its class alone
        return {}


def _without_names(value: Any) -> Any:
    # Automatic names count up in a process, so that a model built again there has others.
    if isinstance(value, dict):
        return {str(key): _without_names(part) for key, part in value.items() if key not in ("name", "dtype")}
    return [_without_names(part) for part in value] if isinstance(value, (list, tuple)) else value


def _name(value: Any) -> str:
    return getattr(value, "__name__", type(value).__name__) if not isinstance(value, str) else value
