"""Description of a run: what tells it from another, and its start-up message on devices, precision and XLA."""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasdl.data import Dataset

from ..config import RunConfig
from ..distribute.replicas import Team
from ..loop.settings import plain_values
from ..trainer import Trainer
from .train_steps import Way


def identity_of(
    model: keras.Model,
    train: Dataset,
    validation: Dataset | None,
    callbacks: Sequence[keras.callbacks.Callback],
) -> dict[str, Any]:
    """Returns plain values that differ where model, data, loss, metrics or callbacks do."""
    metrics = [getattr(metric, "name", str(metric)) for metric in model.metrics]
    own = {}
    if isinstance(model, Trainer):
        optimizers = model.by_role  # one for all is among the settings, or as the user has it
        own = {"trainer": {**model.identity(), **({"optimizers": plain_values(optimizers)} if optimizers else {})}}
    elif hasattr(model, "run_identity"):  # a tf_keras model that stands in for a Keras 3 one
        own = {"trainer": model.run_identity()}
    return {
        **own,
        "model": {
            "layers": len(model.layers),
            "weights": sum(math.prod(variable.shape) for variable in model.weights),
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
    layers = [[type(layer).__name__, _without_names(_config(layer))] for layer in _layers_of(model)]
    weights = [[list(variable.shape), str(variable.dtype), variable.trainable] for variable in model.weights]
    text = json.dumps([layers, weights], sort_keys=True, default=_name)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _layers_of(model: keras.Model) -> list[keras.Layer]:
    """Returns the layers of a model and of those inside it, whose configs hold automatic names of other layers."""
    parts = [_layers_of(each) if isinstance(each, keras.Model) else [each] for each in model.layers]
    return [layer for part in parts for layer in part]


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


def choices_of(way: Way, config: RunConfig, team: Team) -> list[str]:
    """Returns a line on devices, threads and precision, and one on XLA."""
    accelerators = [device.device_type for device in tf.config.list_physical_devices() if device.device_type != "CPU"]
    place = accelerators[0] if accelerators else f"{_threads()} CPU threads"
    if team.replicas > 1:
        workers = "" if team.workers is None else f" in {team.workers.size} workers"
        place = f"{team.replicas} replicas{workers}, {config.batch_size / team.replicas:g} examples each, on {place}"
    precision = config.mixed_precision or "float32"
    return [f"computes on {place} in {precision}; {_xla(way, config, bool(accelerators))}"]


def _threads() -> int:
    chosen = tf.config.threading.get_intra_op_parallelism_threads()
    return chosen or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def _xla(way: Way, config: RunConfig, has_accelerator: bool) -> str:
    if way.jit:
        return "XLA compiles the update"
    if way.strategy is not None:
        return "no XLA, which does not compile updates of several replicas"
    if config.jit_compile == "auto" and not has_accelerator:
        return "no XLA, which is slower on CPUs for most nets"
    return "no XLA"
