"""Fine-tuning of a Keras 3 model whose layers are wrapped by TFMOT, and the transfer of the weights back."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tf_keras

from kerasdl.core import checks
from kerasdl.core.startup.worker_startup import has_joined
from kerasdl.train import RunConfig, fit

from ..keras2.bridge import Bridge, LayerWrapper, bridge
from ..keras2.training_adapter import TFKerasAdapter, refuse_mixed_precision, refuse_task_with_trainer

FINE_TUNING = RunConfig(epochs=3, learning_rate=1e-4, schedule="cosine", clip_norm=1.0)


def train_wrapped(
    model: keras.Model,
    train: Any,
    wrap: LayerWrapper,
    start: Callable[[Bridge], None],
    finish: Callable[[Bridge], None],
    *,
    identity: Mapping[str, Any],
    config: RunConfig,
    **settings: Any,
) -> keras.Model:
    """Trains a model with wrapped layers, and returns a Keras 3 model with the trained weights.

    Args:
        model: the Keras 3 model; it stays as it is.
        train: the training data.
        wrap: takes each tf_keras layer and returns it, wrapped or not.
        start: called before training.
        finish: called after training; it makes the wrappers write the weights that they compute into the layers.
        identity: plain values by which this run differs from others in the same folder.
        config: the settings of the run; the last epoch counts, not the best.
        settings: further arguments of `fit`.
    """
    refuse_mixed_precision(config.mixed_precision)
    if settings.get("loss") is None:
        refuse_task_with_trainer(model, settings.get("task"), train, "training of wrapped layers")
    if config.strategy == "auto" and not has_joined():
        config = dataclasses.replace(config, strategy=None)  # the wrappers of TFMOT work on one device
    bridged = bridge(model, split=True, wrap=wrap)
    start(bridged)
    adapter = TFKerasAdapter(bridged.model, model, identity)
    fit(adapter, train, config=dataclasses.replace(config, restore_best=False), **settings)
    finish(bridged)
    return bridged.pull()


def wrappers_of(bridged: Bridge, kind: type) -> list[tf_keras.layers.Layer]:
    """Returns the wrappers of one class in a bridged model.

    Raises:
        ArgumentError: the model has none.
    """
    wrappers = [layer for layer in bridged.model.layers if isinstance(layer, kind)]
    if not wrappers:
        names = [layer.name for layer in bridged.source.layers]
        checks.refuse("the model must have a layer to work on", names, "Name others, or take another pattern.")
    return wrappers
