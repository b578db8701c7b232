"""Gradient sums over replicas and micro-batches, before `optimizer.apply`.

Keras clips before it sums over replicas, does not support uneven parts, and accumulates in a way that strategies
refuse. So each replica weighs its gradients, they are summed over replicas here, and the optimizer gets the gradients
of the whole batch. Its own reduction is switched off, by a method of Keras that is not public
(tests/train/engine/test_keras_internals.py).
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import TrainingError

from ..optim.optimizers import innermost
from ..optim.sparse_gradients import sum_repeated_rows

_SUMMING = "_all_reduce_sum_gradients"
# A single buffer for all gradients took 280 MiB more in a run of 135 MB of weights, and no less time.
COMMUNICATION = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=16 * 2**20)
_CURRENT = threading.local()  # each replica of a MirroredStrategy traces in its own thread


@contextmanager
def reductions_by_engine(optimizers: Sequence[keras.optimizers.Optimizer]) -> Iterator[None]:
    """Context manager in which optimizers do not reduce gradients over replicas, since the engine did.

    Raises:
        TrainingError: this version of Keras reduces in another way.
    """
    inner = [innermost(optimizer) for optimizer in optimizers]
    for optimizer in inner:
        if not hasattr(optimizer, _SUMMING):
            raise TrainingError(
                f"this Keras ({keras.__version__}) sums gradients over replicas in another way than 3.15. "
                "Install the Keras that kerasdl asks for, or train on one device with strategy=None."
            )
        setattr(optimizer, _SUMMING, list)
    try:
        yield
    finally:
        for optimizer in inner:
            delattr(optimizer, _SUMMING)


def all_reduce_sum(values: Sequence[Any]) -> list[Any]:
    """Returns the sums over all replicas, None where a value is None, by one collective operation for each dtype."""
    sums, context = list(values), tf.distribute.get_replica_context()
    for dtype in dict.fromkeys(value.dtype for value in values if value is not None):
        indices = [index for index, value in enumerate(values) if value is not None and value.dtype == dtype]
        # The identity places a captured tensor on the device of the replica, as the reduction requires.
        mine = [tf.nest.map_structure(tf.identity, values[index], expand_composites=True) for index in indices]
        reduced = context.all_reduce(tf.distribute.ReduceOp.SUM, mine, COMMUNICATION)
        for index, value in zip(indices, reduced, strict=True):
            sums[index] = value
    return sums


def scale_gradient(gradient: Any, factor: tf.Tensor | None) -> Any:
    """Returns a gradient times a number; None stays None, and IndexedSlices stay slices."""
    if gradient is None or factor is None:
        return gradient
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(scale_gradient(gradient.values, factor), gradient.indices, gradient.dense_shape)
    return gradient * tf.cast(factor, gradient.dtype)


def add_gradients(first: Sequence[Any] | None, second: Sequence[Any]) -> list[Any]:
    """Returns the sums of two lists of gradients; the first may be None."""
    if first is None:
        return list(second)
    pairs = zip(first, second, strict=True)
    return [b if a is None else a if b is None else tf.convert_to_tensor(a) + tf.convert_to_tensor(b) for a, b in pairs]


class GradientAccumulator:
    """Accumulator of the gradients of micro-batches, for a model's own `train_step`; applies the sums once."""

    def __init__(self, parts: int, over_replicas: bool, gradients_first: bool = False):
        self.parts, self.over_replicas, self.gradients_first = parts, over_replicas, gradients_first
        self.totals: dict[int, list[Any]] = {}
        self.applied: set[int] = set()

    @contextmanager
    def part(self, number: int, factor: tf.Tensor | None) -> Iterator[None]:
        """Context manager that collects the gradients applied inside it as those of one part, times a factor."""
        self.number, self.factor = number, factor
        self.applied.clear()
        _CURRENT.accumulator = self
        try:
            yield
        finally:
            _CURRENT.accumulator = None

    def add(self, optimizer: keras.optimizers.Optimizer, apply: Any, gradients: Sequence, variables: Any) -> None:
        """Adds gradients of an optimizer; applies the sum after the last part."""
        key = id(optimizer)
        if self.parts > 1 and key in self.applied:
            checks.refuse("accumulation needs a train_step that applies each optimizer once", type(optimizer).__name__)
        if self.parts > 1 and self.applied and not self.gradients_first:
            # Sums are applied in the last part only: the gradients of earlier parts would not include the first update.
            rule = "accumulation needs a train_step that makes one update, or computes all gradients before the first"
            hint = "If it does, make the model a Trainer with gradients_first = True in its class."
            checks.refuse(rule, f"a second one, by {type(optimizer).__name__}", hint)
        self.applied.add(key)
        total = add_gradients(self.totals.get(key), [scale_gradient(gradient, self.factor) for gradient in gradients])
        if self.number < self.parts - 1:
            self.totals[key] = total
        else:
            total = all_reduce_sum(total) if self.over_replicas else total
            apply([sum_repeated_rows(each) for each in total], variables)

    @property
    def pending(self) -> list[Any]:
        """Sums of the parts so far, for which the next part waits."""
        return [value for total in self.totals.values() for value in total if value is not None]


@contextmanager
def accumulating_gradients(optimizers: Sequence[keras.optimizers.Optimizer]) -> Iterator[None]:
    """Context manager in which `optimizer.apply` passes gradients to the current `GradientAccumulator`."""
    for optimizer in optimizers:
        optimizer.apply = _accumulating_apply(optimizer, optimizer.apply)
    try:
        yield
    finally:
        for optimizer in optimizers:
            del optimizer.apply


def _accumulating_apply(optimizer: keras.optimizers.Optimizer, apply: Any) -> Any:
    def accumulate(grads, trainable_variables=None):
        accumulator = getattr(_CURRENT, "accumulator", None)
        if accumulator is None:
            return apply(grads, trainable_variables)
        return accumulator.add(optimizer, apply, grads, trainable_variables)

    return accumulate
