"""Cached features: the frozen layers of a model are computed once for each example, the layers above learn from that.

The features are those of the training pass itself, so nothing else is learnt. Where an example would not give the same
in every epoch, the run goes without a cache and says why.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core.keras_graph import all_layers
from kerasdl.core.memory import available_memory
from kerasdl.data import Dataset, trees
from kerasdl.data.sources import Examples

from ..config import RunConfig
from ..loop.hooks import RunCallback, overrides
from ..trainer import functional_model
from .gradient_checkpointing import calls_in_order

LIMIT = 2**30
"""The most bytes of features, unless a quarter of the free memory is less."""
READS = ("ReadVariableOp", "ResourceGather", "ResourceGatherNd", "Placeholder", "Assert")
"""TensorFlow's stateful operations that neither draw nor change anything."""
TOLERANCE = 1e-3
"""How far features of one example may differ between batches of two sizes, relative to the largest feature."""


class NotCached(Exception):  # noqa: N818 - no error: the run goes on without a cache
    """Says why features are not cached."""


class FeatureCache:
    """A model cut in two at one tensor: the layers below it are frozen, the layers above it learn.

    Args:
        model: a functional or Sequential model.
        border: the tensor of its graph at which it is cut.
        batch_size: examples computed at once.
    """

    def __init__(self, model: keras.Model, border: keras.KerasTensor, batch_size: int):
        inputs, outputs = _ends(model)
        self.border, self.batch_size = border, batch_size
        self.below = keras.Model(inputs, border)
        self.above = keras.Model(border, outputs)
        self.train: Dataset | None = None
        self.validation: Dataset | None = None
        self._passes: dict[bool, Callable] = {}  # by whether it is the one of training

    def fill(self, train: Dataset, validation: Dataset | None) -> None:
        """Computes the features of all examples, by the weights that the layers hold now."""
        self.train = self._with_features(train, training=True)
        self.validation = None if validation is None else self._with_features(validation, training=False)

    def spec(self, data: Dataset) -> Any:
        """Returns the spec of a batch of features, labels and weights."""
        _, labels, weights = data.spec
        features = tf.TensorSpec((None, *self.border.shape[1:]), self.border.dtype)
        return trees.packed(features, labels, weights)

    def _with_features(self, data: Dataset, training: bool) -> Dataset:
        shape = tuple(self.border.shape[1:])
        features, place = np.empty((data.size, *shape), self.border.dtype), 0
        for batch in dataclasses.replace(data, sampler=None).batches(self.batch_size):
            rows = self._passes[training](trees.unpacked(batch)[0])
            features[place : place + len(rows)] = rows.numpy()
            place += len(rows)
        source = Examples(features, data.source.labels, data.source.weights)
        kind = {"input_shape": shape, "input_dtype": str(features.dtype), "images": False, "scale": None}
        return dataclasses.replace(data, source=source, **kind)

    def check(self, data: Dataset, training: bool) -> None:
        """Traces a pass; passes where an example gives the same at every call, whatever else is in its batch."""

        def compute(inputs: Any) -> tf.Tensor:
            return self.below(inputs, training=training)

        self._passes[training] = tf.function(compute, autograph=False, input_signature=[data.spec[0]])
        graph = self._passes[training].get_concrete_function().graph
        inner = [node.op for each in graph.as_graph_def().library.function for node in each.node_def]
        changing = [each.type for each in graph.get_operations() if each.op_def.is_stateful and each.type not in READS]
        changing += [kind for kind in [*inner, *(each.type for each in graph.get_operations())] if "Random" in kind]
        if changing:
            raise NotCached(f"they draw or change something at each call ({changing[0]})")
        if self.below.losses:
            raise NotCached("they add to the loss")
        batch = next(iter(dataclasses.replace(data, sampler=None).batches(self.batch_size)))
        inputs = trees.unpacked(batch)[0]
        whole = self._passes[training](inputs).numpy()
        half = max(1, len(whole) // 2)
        part = self._passes[training](tf.nest.map_structure(lambda leaf: leaf[:half], inputs)).numpy()
        if not np.allclose(whole[:half], part, rtol=0, atol=TOLERANCE * float(np.abs(whole).max()), equal_nan=True):
            raise NotCached("what they give for an example depends on the others in its batch")


def feature_cache(
    model: keras.Model,
    train: Dataset,
    validation: Dataset | None,
    config: RunConfig,
    callbacks: Sequence,
    several_devices: bool,
) -> tuple[FeatureCache | None, list[str]]:
    """Returns the cache of a run, empty as yet, or None where there is nothing to gain or it is not safe.

    Args:
        model: what is trained.
        train: the training data.
        validation: the validation data, or None.
        config: the settings of the run.
        callbacks: those of the run.
        several_devices: whether a strategy spreads the run over replicas.

    Returns:
        The cache or None, and the lines to show before the first step.
    """
    if not config.cache_features or _passes_of(train, config) <= 1:
        return None, []
    frozen = {id(layer) for layer in all_layers(model) if _is_frozen(layer)}
    if not frozen or type(model) not in (keras.Sequential, functional_model()):
        return None, []
    try:
        _check_settings(config, callbacks, several_devices)
        for data in (train, *([] if validation is None else [validation])):
            _check_data(data)
        cache = FeatureCache(model, _border(model, frozen), config.batch_size)
        count = train.size + (0 if validation is None else validation.size)
        megabytes = _check_memory(cache.border, count)
        for data, training in ((train, True), (validation, False)):
            if data is not None:
                cache.check(data, training)
    except NotCached as reason:
        return None, [f"frozen layers are computed anew in each epoch: {reason}"]
    last = cache.border._keras_history.operation.name
    return cache, [f"frozen layers up to {last!r} are computed once for each of {count} examples, {megabytes:.1f} MB"]


def _is_frozen(layer: keras.layers.Layer) -> bool:
    return bool(layer.weights) and not layer.trainable and not isinstance(layer, keras.layers.BatchNormalization)


def _passes_of(train: Dataset, config: RunConfig) -> float:
    """Returns how often a run goes through its data; 1 where that is not known."""
    length = train.steps(config.batch_size)
    if not length:
        return 1
    per_epoch = min(config.steps_per_epoch or length, length)
    return (config.steps or config.epochs * per_epoch) / length


def _check_settings(config: RunConfig, callbacks: Sequence, several_devices: bool) -> None:
    reasons = {
        "augmentation makes other images in each epoch": config.augment is not None,
        "mixing makes other images in each epoch": config.mix is not None,
        "several replicas compute": several_devices,
        "mixed_precision is set": config.mixed_precision is not None,
        "remat is set": bool(config.remat),
        "swa computes statistics from the data": config.swa is not None,
        "validation_steps leaves out a part of the data": config.validation_steps is not None,
        "a Keras callback may change the model": any(not isinstance(each, RunCallback) for each in callbacks),
        "a callback looks at single updates": any(
            overrides(each, "inspect") for each in callbacks if isinstance(each, RunCallback)
        ),
    }
    for reason, holds in reasons.items():
        if holds:
            raise NotCached(reason)


def _check_data(data: Dataset) -> None:
    if type(data) is not Dataset or not data.any_order:
        raise NotCached(f"{data.name} is a pipeline, whose examples may be others in each epoch")
    if not all(isinstance(leaf, tf.TensorSpec) for leaf in tf.nest.flatten(data.spec[0])):
        raise NotCached(f"inputs of {data.name} differ in length")


def _check_memory(border: keras.KerasTensor, count: int) -> float:
    """Returns the size of the features in megabytes."""
    if None in border.shape[1:]:
        raise NotCached(f"the size of their features {tuple(border.shape[1:])} is not known")
    needed = count * float(np.prod(border.shape[1:])) * np.dtype(border.dtype).itemsize
    if needed > min(LIMIT, available_memory() / 4):
        raise NotCached(f"{count} examples have {needed / 1e6:,.0f} MB of features")
    return needed / 1e6


def _ends(model: keras.Model) -> tuple[Any, Any]:
    return (model.inputs[0], model.outputs[0]) if isinstance(model, keras.Sequential) else (model.input, model.output)


def _border(model: keras.Model, frozen: set[int]) -> keras.KerasTensor:
    """Returns the one tensor that passes from layers that always give the same to layers that learn or draw."""
    moving: set[int] = set()
    crossing: dict[int, keras.KerasTensor] = {}
    first, below = None, []
    for node in calls_in_order(keras.Model(*_ends(model))):
        operation = node.operation
        moves = _learns_or_draws(operation)
        if moves or any(id(tensor) in moving for tensor in node.input_tensors):
            first = first or operation.name
            crossing |= {id(each): each for each in node.input_tensors if id(each) not in moving}
            moving |= {id(each) for each in node.outputs}
        else:
            below.append(operation)
    layers = [operation for operation in below if isinstance(operation, keras.Layer)]
    if not frozen & {id(part) for layer in layers for part in layer._flatten_layers()}:
        raise NotCached(f"{first!r}, which learns or draws at random, stands below them")
    if any(id(tensor) not in moving for tensor in model.outputs):
        raise NotCached("an output of the model comes from them alone")
    if len(crossing) > 1:
        raise NotCached(f"the layers above take {len(crossing)} tensors from them")
    (border,) = crossing.values()
    if border.dtype != "float32":
        raise NotCached(f"their features are {border.dtype}")
    return border


def _learns_or_draws(operation: keras.Operation) -> bool:
    variables = getattr(operation, "variables", ())
    return bool(getattr(operation, "trainable_weights", ())) or len(variables) > len(getattr(operation, "weights", ()))
