"""Description of a run: the identity that distinguishes it from others, and its start-up message."""

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
from ..distribute.replicas import ReplicaContext
from ..loop.settings import plain_values
from ..trainer import Trainer
from .train_steps import StepOptions


def run_identity_of(
    model: keras.Model,
    train: Dataset,
    validation: Dataset | None,
    callbacks: Sequence[keras.callbacks.Callback],
) -> dict[str, Any]:
    """Returns plain values that differ where model, data, loss, metrics or callbacks differ."""
    metrics = [getattr(metric, "name", str(metric)) for metric in model.metrics]
    own = {}
    if isinstance(model, Trainer):
        optimizers = model.by_role  # a single optimizer is in the settings, or set by the user
        own = {"trainer": {**model.identity(), **({"optimizers": plain_values(optimizers)} if optimizers else {})}}
    elif hasattr(model, "run_identity"):  # an adapter of a tf_keras model
        own = {"trainer": model.run_identity()}
    loss_weights = getattr(model, "_compile_config", None) and model._compile_config.config.get("loss_weights")
    return {
        **own,
        **({"loss_weights": plain_values(loss_weights)} if loss_weights else {}),
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
    """Returns the layers of a model and of its nested models, whose own configs hold automatic layer names."""
    parts = [_layers_of(each) if isinstance(each, keras.Model) else [each] for each in model.layers]
    return [layer for part in parts for layer in part]


def _config(layer: keras.Layer) -> dict[str, Any]:
    try:
        return layer.get_config()
    except NotImplementedError:  # a layer that Keras cannot save is identified by its class alone
        return {}


def _without_names(value: Any) -> Any:
    # Automatic names count up in a process, so they differ for a model that is built twice.
    if isinstance(value, dict):
        return {str(key): _without_names(part) for key, part in value.items() if key not in ("name", "dtype")}
    return [_without_names(part) for part in value] if isinstance(value, (list, tuple)) else value


def _name(value: Any) -> str:
    return getattr(value, "__name__", type(value).__name__) if not isinstance(value, str) else value


def computation_notes(options: StepOptions, config: RunConfig, replica_context: ReplicaContext) -> list[str]:
    """Returns the start-up message: devices, threads, precision and XLA."""
    accelerators = [device.device_type for device in tf.config.list_physical_devices() if device.device_type != "CPU"]
    devices = accelerators[0] if accelerators else f"{_threads()} CPU threads"
    if replica_context.num_replicas > 1:
        count, workers = replica_context.num_replicas, replica_context.workers
        processes = "" if workers is None else f" in {workers.size} workers"
        devices = f"{count} replicas{processes}, {config.batch_size / count:g} examples each, on {devices}"
    precision = config.mixed_precision or "float32"
    return [f"computes on {devices} in {precision}; {_xla(options, config, bool(accelerators))}"]


def _threads() -> int:
    chosen = tf.config.threading.get_intra_op_parallelism_threads()
    return chosen or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def _xla(options: StepOptions, config: RunConfig, has_accelerator: bool) -> str:
    if options.jit_compile:
        return "XLA compiles the update"
    if options.strategy is not None:
        return "no XLA, which does not compile updates of several replicas"
    if config.jit_compile == "auto" and not has_accelerator:
        return "no XLA, which is slower on CPUs for most nets"
    return "no XLA"
