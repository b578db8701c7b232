"""Weight averaging: SWA over the ends of epochs (https://arxiv.org/abs/1803.05407), and EMA kept by an optimizer."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.data.pipelines import refuse_endless

from ..loop.hooks import RunCallback
from ..optim.optimizers import innermost


class WeightAverage(RunCallback):
    """Mean of the weights at the ends of the last epochs of a run (stochastic weight averaging, SWA).

    Averaging begins at the end of the first epoch by which `share` of the run is over. Under a strategy the object must
    be made inside its scope. Batch norms need `estimate_statistics` once the model has the mean.

    Source: https://arxiv.org/abs/1803.05407, algorithm 1.

    Args:
        model: a built model.
        share: share of the run before averaging begins, from 0 to 1.
        epochs: epochs of the whole run; None averages from the first.

    Raises:
        ArgumentError: a setting is out of its range, or the model is not built.

    Example:
        >>> average = WeightAverage(model, share=0.75, epochs=4)
        >>> [average.first_epoch, float(average.count)]
        [3, 0.0]
    """

    def __init__(self, model: keras.Model, share: float = 0.75, epochs: int | None = None):
        share = checks.within("share", share, 0.0, 1.0)
        if not model.built:
            checks.refuse("a model must be built before its weights are averaged", model.name)
        # Rounded, since 0.7 * 10 need not be exactly 7.
        self.first_epoch = 1 if epochs is None else max(1, math.ceil(round(share * epochs, 6)))
        self.weights = list(model.trainable_weights)
        settings = {"initializer": "zeros", "trainable": False}
        self.count = keras.Variable(shape=(), dtype="int64", name="swa_count", **settings)
        self.means = [
            keras.Variable(shape=weight.shape, dtype=weight.dtype, name="swa_mean", **settings)
            for weight in self.weights
        ]

    @property
    def variables(self) -> Mapping[str, keras.Variable]:
        """Variables for a checkpoint, by stable names."""
        return {"count": self.count, **{f"mean/{index:04d}": mean for index, mean in enumerate(self.means)}}

    def update(self) -> None:
        """Adds the current weights of the model to the mean."""
        self.count.assign_add(1)
        for mean, weight in zip(self.means, self.weights, strict=True):
            count = tf.cast(self.count.value, mean.dtype)
            mean.assign_add((tf.convert_to_tensor(weight) - mean) / count)

    def assign_to_model(self) -> bool:
        """Assigns the mean to the model; returns whether there is one."""
        if not int(self.count.numpy()):
            return False
        for mean, weight in zip(self.means, self.weights, strict=True):
            weight.assign(tf.convert_to_tensor(mean))
        return True

    def end_epoch(self, epoch: int, figures: dict[str, float]) -> str | None:
        if epoch + 1 >= self.first_epoch:
            self.update()


@contextmanager
def averaged(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Context manager under which a model holds the averages of its weights that an optimizer keeps.

    After the block the model has its own weights again, bit for bit; `keras.callbacks.SwapEMAWeights` adds and
    subtracts, which rounds them.

    Args:
        model: the model that the optimizer was built for.
        optimizer: an optimizer with `use_ema=True`, also inside a LossScaleOptimizer or a wrapper.

    Returns:
        A context manager.

    Raises:
        ArgumentError: the optimizer keeps no averages, or has made no update yet.

    Example:
        >>> optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
        >>> optimizer.apply([tf.ones(weight.shape) for weight in model.trainable_weights], model.trainable_weights)
        >>> with averaged(model, optimizer):
        ...     labels = model(x).numpy().argmax(1)
    """
    inner = innermost(optimizer)
    if not inner.use_ema:
        checks.refuse("an optimizer must keep averages of the weights", "use_ema=False", "Pass RunConfig(ema=0.999).")
    if not inner.built:
        checks.refuse("an optimizer must have made an update before its averages are used", inner.name)
    with holding_averages(list(model.trainable_weights), optimizer):
        yield


@contextmanager
def holding_averages(weights: Sequence[keras.Variable], optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Context manager under which weights hold the averages that their optimizer keeps."""
    before = [tf.identity(weight.value) for weight in weights]
    try:
        # The method that Keras calls at the end of its fit; wrappers pass it on.
        optimizer.finalize_variable_values(weights)
        yield
    finally:
        for weight, value in zip(weights, before, strict=True):
            weight.assign(value)


def estimate_statistics(model: keras.Model, batches: Iterable, steps: int | None = None) -> int:
    """Estimates the statistics of batch norms for the current weights, by one pass over data; nothing else changes.

    Moving mean and variance become the plain means over the batches, computed as in training. Frozen norms keep theirs;
    for a norm that a model calls several times, the last call counts. Under a strategy each process computes whole
    batches, so that the same batches give all of them the same result.

    Source: https://arxiv.org/abs/1803.05407, section 3.2.

    Args:
        model: a built model.
        batches: batches as in training: x, (x, y) or (x, y, weights).
        steps: the most batches to read; None reads all.

    Returns:
        The number of batches read; 0 where the model has no batch norm to estimate.

    Raises:
        ArgumentError: there are no batches, or they never end.

    Example:
        >>> estimate_statistics(model, tf.data.Dataset.from_tensors((x, y)))
        1
    """
    norms = [layer for layer in model._flatten_layers() if _estimates(layer)]  # Keras has no public way to inner layers
    statistics = [weight for layer in norms for weight in layer.weights if weight.name.startswith("moving_")]
    if not statistics:
        return 0
    if steps is None:
        refuse_endless("batches to estimate statistics from", batches, "Pass steps=.")
    means, count = [tf.zeros(each.shape, each.dtype) for each in statistics], 0
    with _restoring(model.variables), _without_momentum(norms):
        _reset(statistics)
        take = _compiled(model, statistics)
        for batch in islice(batches, steps):
            count += 1
            means = take(keras.utils.unpack_x_y_sample_weight(batch)[0], means, tf.constant(count, tf.int64))
    if not count:
        checks.refuse("statistics must be estimated from one batch or more", 0)
    for each, mean in zip(statistics, means, strict=True):
        each.assign(mean)
    return count


def _estimates(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization) and layer.trainable


def _reset(statistics: Sequence[keras.Variable]) -> None:
    """Sets statistics to 0, since a momentum of 0 would keep their NaN."""
    for each in statistics:
        each.assign(tf.zeros(each.shape, each.dtype))


def _compiled(model: keras.Model, statistics: Sequence[keras.Variable]) -> Any:
    def take(x, means, count):
        model(x, training=True)
        pairs = zip(statistics, means, strict=True)
        return [mean + (tf.convert_to_tensor(new) - mean) / tf.cast(count, mean.dtype) for new, mean in pairs]

    return tf.function(take, autograph=False, reduce_retracing=True)


@contextmanager
def _restoring(variables: Sequence[keras.Variable]) -> Iterator[None]:
    before = [tf.identity(variable.value) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


@contextmanager
def _without_momentum(norms: Sequence[keras.layers.BatchNormalization]) -> Iterator[None]:
    """Context manager in which the moving statistics of norms are those of the last batch alone."""
    momenta = [layer.momentum for layer in norms]
    try:
        for layer in norms:
            layer.momentum = 0.0
        yield
    finally:
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
