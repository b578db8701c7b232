"""The replicas and workers of one run: whose part of the data, what is built in the scope, what all start from."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import DataError, TrainingError
from kerasdl.data import Dataset
from kerasdl.data.batching.sharding import Share

from ..loop.coordination import Coordinator
from ..trainer import Trainer, has_call, has_own_train_step
from . import strategies
from .workers import Workers, broadcast_variables


class TrainingWarning(UserWarning):
    """Says that a run does not do what is expected of it, though it can go on.

    Example:
        >>> issubclass(TrainingWarning, UserWarning)
        True
    """


class ReplicaContext:
    """What a strategy means for a run; `strategy` is None where one device computes."""

    def __init__(self, strategy: tf.distribute.Strategy):
        self.strategy = None if strategy is strategies.plain() else strategy
        self.num_replicas = strategy.num_replicas_in_sync
        resolver = getattr(strategy, "cluster_resolver", None)
        of_workers = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        self.workers = Workers(strategy) if of_workers and len(resolver.cluster_spec().jobs) else None
        self.coordinator = self.workers or Coordinator()

    def scope(self) -> AbstractContextManager:
        """Returns the scope in which variables are made."""
        return nullcontext() if self.strategy is None else self.strategy.scope()

    def check(self, batch_size: int, data: Dataset) -> None:
        """Refuses a batch that leaves replicas without an example."""
        sizes = data.sizes(batch_size)
        least = batch_size if sizes is None or data.sampler is None else int(sizes.min())
        if self.num_replicas > least and not data.foreign:
            checks.refuse(f"batch_size must be at least {self.num_replicas}, the number of replicas", least)

    def check_lengths(self, length: int | None) -> None:
        """Refuses data of which one worker has more batches than another: they would wait for each other."""
        lengths = self.coordinator.all_gather(-1 if length is None else length)
        if len(set(lengths)) > 1:
            raise DataError(f"all workers must have as many batches; they have {lengths}. Cut the longer ones.")

    def check_callbacks(self, callbacks: Sequence) -> None:
        """Refuses what would give one worker other weights than the rest."""
        if self.workers is not None and any(isinstance(each, keras.callbacks.BackupAndRestore) for each in callbacks):
            checks.refuse("several workers go on by RunConfig(folder=...)", "BackupAndRestore", "Leave it out.")

    def share(self, data: Dataset) -> Share | None:
        """Returns which parts of each batch of some data this process computes; None for whole batches."""
        if self.strategy is None:
            return None
        local = self.num_replicas if self.workers is None else self.workers.local_replicas
        if self.workers is None or _is_sharded_already(data):
            return Share(0, local, local)
        return Share(self.workers.index * local, local, self.num_replicas)

    def build(self, model: keras.Model, element_spec: Any) -> None:
        """Makes the variables of metrics and losses in the scope, where a step could not."""
        loss, is_trainer = getattr(model, "loss", None), isinstance(model, Trainer)
        if not has_call(model) or (is_trainer and loss is None and has_own_train_step(model)):
            return  # a model that trains by its step alone makes them itself
        batch = tf.nest.map_structure(_zeros, element_spec[0][0])
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        with self.scope(), keras.StatelessScope():
            outputs = model(x, training=False)
            if loss is not None:
                model.compute_loss(x, y, outputs, weight, training=False)
            if loss is not None or is_trainer:
                model.compute_metrics(x, y, outputs, weight)

    def broadcast_variables(self, weights: Sequence, extras: Sequence) -> None:
        """Lets all workers start from the chief's values."""
        if self.workers is not None:
            values = [variable.value for variable in [*weights, *extras]]
            broadcast_variables(
                self.strategy, [value for value in values if value.aggregation != tf.VariableAggregation.SUM]
            )

    @contextmanager
    def reporting_lost_workers(self) -> Iterator[None]:
        """Says in our words that another worker is gone, for which a collective operation fails.

        Raises:
            TrainingError: one is.
        """
        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
            if self.workers is None:
                raise
            raise TrainingError(
                f"another worker is gone ({str(error.message).splitlines()[0]}). Start all workers again: a run with a "
                "folder goes on from its last checkpoint; `kerasdl launch` does so by itself."
            ) from error

    def warn_about_batch_norms(self, model: keras.Model) -> None:
        """Warns once of batch norms that each replica computes for itself."""
        if self.num_replicas == 1:
            return
        norms = [
            layer.name
            for layer in model._flatten_layers()  # Keras has no public way to the layers inside a layer
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable and not layer.synchronized
        ]
        if norms:
            warnings.warn(
                f"{len(norms)} batch norms, {norms[0]} first, normalise each replica's part of a batch by itself, and "
                "their statistics are averaged; BatchNormalization(synchronized=True) normalises whole batches",
                TrainingWarning,
                stacklevel=5,
            )


def _is_sharded_already(data: Dataset) -> bool:
    """Returns whether a foreign pipeline gives each worker its own batches, which TensorFlow's option says."""
    if not data.foreign:
        return False
    policy = data.source.options().experimental_distribute.auto_shard_policy
    return policy == tf.data.experimental.AutoShardPolicy.OFF


def _zeros(spec: tf.TensorSpec) -> tf.Tensor:
    return tf.zeros([1 if size is None else size for size in spec.shape], spec.dtype)
