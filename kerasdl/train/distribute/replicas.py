"""Replicas and workers of one run: shares of the data, variables in the scope, and initial values from the chief."""

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
    """Warning that a run differs from what its user may expect, though it can continue.

    Example:
        >>> issubclass(TrainingWarning, UserWarning)
        True
    """


class ReplicaContext:
    """Replicas, workers and scope of a strategy in one run; `strategy` is None where one device computes."""

    def __init__(self, strategy: tf.distribute.Strategy):
        self.strategy = None if strategy is strategies.plain() else strategy
        self.num_replicas = strategy.num_replicas_in_sync
        resolver = getattr(strategy, "cluster_resolver", None)
        of_workers = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        self.workers = Workers(strategy) if of_workers and len(resolver.cluster_spec().jobs) else None
        self.coordinator = self.workers or Coordinator()

    def scope(self) -> AbstractContextManager:
        """Returns the scope in which variables must be created."""
        return nullcontext() if self.strategy is None else self.strategy.scope()

    def check_batch_size(self, batch_size: int, data: Dataset) -> None:
        """Refuses a batch size with fewer examples than replicas."""
        sizes = data.sizes(batch_size)
        least = batch_size if sizes is None or data.sampler is None else int(sizes.min())
        if self.num_replicas > least and not data.foreign:
            checks.refuse(f"batch_size must be at least {self.num_replicas}, the number of replicas", least)

    def check_lengths(self, length: int | None) -> None:
        """Refuses data with unequal numbers of batches on the workers, which would then wait for each other."""
        lengths = self.coordinator.all_gather(-1 if length is None else length)
        if len(set(lengths)) > 1:
            raise DataError(f"all workers must have as many batches; they have {lengths}. Cut the longer ones.")

    def check_callbacks(self, callbacks: Sequence) -> None:
        """Refuses callbacks that would give one worker other weights than the rest."""
        if self.workers is not None and any(isinstance(each, keras.callbacks.BackupAndRestore) for each in callbacks):
            checks.refuse("several workers resume by RunConfig(folder=...)", "BackupAndRestore", "Leave it out.")

    def share(self, data: Dataset) -> Share | None:
        """Returns the parts of each batch that this process computes; None for whole batches."""
        if self.strategy is None:
            return None
        local = self.num_replicas if self.workers is None else self.workers.local_replicas
        if self.workers is None or _is_sharded_already(data):
            return Share(0, local, local)
        return Share(self.workers.index * local, local, self.num_replicas)

    def build_metrics(self, model: keras.Model, element_spec: Any) -> None:
        """Creates the variables of metrics and losses in the scope, which a step under a strategy cannot."""
        loss, is_trainer = getattr(model, "loss", None), isinstance(model, Trainer)
        if not has_call(model) or (is_trainer and loss is None and has_own_train_step(model)):
            return  # the step of such a model creates them itself
        batch = tf.nest.map_structure(_zeros, element_spec[0][0])
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        with self.scope(), keras.StatelessScope():
            outputs = model(x, training=False)
            if loss is not None or (is_trainer and model.objective_is_own):
                model.compute_loss(x, y, outputs, weight, training=False)
            if loss is not None or is_trainer:
                model.compute_metrics(x, y, outputs, weight)

    def broadcast_variables(self, weights: Sequence, extras: Sequence) -> None:
        """Assigns the chief's values to the variables of all workers."""
        if self.workers is not None:
            values = [variable.value for variable in [*weights, *extras]]
            broadcast_variables(
                self.strategy, [value for value in values if value.aggregation != tf.VariableAggregation.SUM]
            )

    @contextmanager
    def reporting_lost_workers(self) -> Iterator[None]:
        """Context manager that reports the loss of another worker, for which a collective operation fails.

        Raises:
            TrainingError: another worker is gone.
        """
        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
            if self.workers is None:
                raise
            raise TrainingError(
                f"another worker is gone ({str(error.message).splitlines()[0]}). Start all workers again: a run with a "
                "folder continues from its last checkpoint; `kerasdl launch` restarts them itself."
            ) from error

    def warn_about_batch_norms(self, model: keras.Model) -> None:
        """Warns once about batch norms without synchronisation over replicas."""
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
    """Returns whether TensorFlow's options of a foreign pipeline say that each worker gets its own batches."""
    if not data.foreign:
        return False
    policy = data.source.options().experimental_distribute.auto_shard_policy
    return policy == tf.data.experimental.AutoShardPolicy.OFF


def _zeros(spec: tf.TensorSpec) -> tf.Tensor:
    return tf.zeros([1 if size is None else size for size in spec.shape], spec.dtype)
