"""The steps of a Keras model in training and validation as compiled functions, on one device or under a strategy."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.data.batching.sharding import rows_in

from ..distribute.gradient_sums import Collector, plus, summed, times
from ..distribute.workers import Workers
from ..objectives.class_weights import ClassWeights
from ..optim.sharpness_aware import SharpnessAware, sharpness_of
from ..optim.sparse_gradients import folded
from ..trainer import Trainer, has_own_train_step

Values = dict[str, tf.Tensor]


@dataclass(frozen=True)
class Way:
    """How steps compute, apart from what they learn."""

    class_weights: ClassWeights | None = None
    """The weights of the classes in the loss."""
    own_step: bool = False
    """Whether the model makes the update, by its own `train_step`."""
    shares: bool = False
    """Whether labels in training are shares of the classes, of which metrics take the largest."""
    parts: int = 1
    """Parts into which each batch is cut, computed one after the other before the one update."""
    jit: bool = False
    """Whether XLA compiles the update."""
    forward: Callable | None = None
    """What computes the outputs in training; None for the model."""
    strategy: tf.distribute.Strategy | None = None
    """Whose replicas take the step together, each its part of a batch (see `data/batching/sharding.py`); None for one
    device, which takes batches as they are."""
    crew: Workers | None = None
    """The workers whose wishes travel with the sums."""


def make_train_step(model: keras.Model, class_weights: ClassWeights | None = None) -> Callable[[Any], Values]:
    """Returns a function from an iterator of batches to the values of one update, on one device.

    They are the loss of the batch and the global norm of its gradients before clipping, or what the model's own
    `train_step` returns.
    """
    return Steps(model, Way(class_weights, has_own_train_step(model))).train


def compiled(function: Callable, *first: Any) -> Any:
    """Returns a function compiled by TensorFlow, with its first arguments set.

    TensorFlow counts retracing by source line, and would warn of a function that each run of many compiles once; a
    partial one counts by itself.
    """
    return tf.function(functools.partial(function, *first), autograph=False, reduce_retracing=True)


class Steps:
    """The compiled steps of a compiled model; each takes an iterator of batches."""

    def __init__(self, model: keras.Model, way: Way):
        self.model, self.way = model, way
        self.replicas = 1 if way.strategy is None else way.strategy.num_replicas_in_sync
        self.update = self._own_update if way.own_step else self._plain_update
        own = type(model).test_step is not keras.Model.test_step
        self.measure = self._own_measurement if own else self._plain_measurement
        if way.jit:
            self.update = tf.function(self.update, jit_compile=True, autograph=False)
        self.outputs: Values = {}
        self.train = compiled(self._on_replicas, self.update)
        self.test = compiled(self._on_replicas, self.measure)
        self.inspected = compiled(self._on_replicas, self._seen_update)
        self._several = compiled(self._loop)

    def trace(self, element_spec: Any) -> Values:
        """Makes every variable that the training step changes, without a step; returns its outputs, symbolic."""
        self.outputs = self.train.get_concrete_function(tf.data.IteratorSpec(element_spec)).structured_outputs
        return self.outputs

    def several(self, batches: Iterator, count: int) -> Values:
        """Makes `count` updates in one call, once traced; returns the values of all, (count, ...)."""
        return self._several(batches, tf.constant(count))

    def _loop(self, batches: Any, count: tf.Tensor) -> Values:
        each = {name: (value.dtype, value.shape) for name, value in self.outputs.items()}
        kept = {name: tf.TensorArray(dtype, count, element_shape=shape) for name, (dtype, shape) in each.items()}

        def body(index, kept):
            values = self._on_replicas(self.update, batches)
            return index + 1, {name: array.write(index, values[name]) for name, array in kept.items()}

        _, kept = tf.while_loop(lambda index, _: index < count, body, (0, kept), parallel_iterations=1)
        return {name: array.stack() for name, array in kept.items()}

    # Where

    def _on_replicas(self, function: Callable, batches: Any) -> Any:
        strategy, element = self.way.strategy, batches.get_next()

        def on_one(batch, share):
            with _once_there_is(batch):
                return function(batch, share)

        if strategy is None:
            return on_one(element, None)
        parts = iter(element)
        each = strategy.experimental_distribute_values_from_function(lambda _: next(parts))
        results = strategy.run(lambda part: on_one(*part), args=(each,))
        return tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0], results)

    def _summed(self, values: Sequence) -> list:
        return list(values) if self.way.strategy is None else summed(values)

    def _parts(self, batch: tuple, share: tf.Tensor | None) -> Iterator[tuple[tuple, tf.Tensor | None]]:
        """Yields each part of a replica's batch with its weight in the loss of the whole batch; None for 1."""
        count = self.way.parts
        if count == 1:
            yield batch, share
            return
        size = _size(batch)
        for number in range(count):
            low, high = number * size // count, (number + 1) * size // count
            weight = tf.cast(high - low, tf.float64) / tf.cast(size, tf.float64)
            stop = tf.maximum(high, low + 1)  # an empty part computes one example that does not count
            part = tf.nest.map_structure(lambda whole, low=low, stop=stop: whole[low:stop], batch)
            yield part, weight if share is None else weight * share

    # The update of a model that leaves it to us

    def _plain_update(self, batch: tuple, share: tf.Tensor | None) -> Values:
        return self._update_and_gradients(batch, share)[0]

    def _seen_update(self, batch: tuple, share: tf.Tensor | None) -> tuple[Values, list, Any]:
        values, gradients, scale = self._update_and_gradients(batch, share)
        plain = [
            None if each is None else tf.convert_to_tensor(each) / tf.cast(scale, each.dtype) for each in gradients
        ]
        return values, plain, keras.utils.unpack_x_y_sample_weight(batch)[0]

    def _update_and_gradients(self, batch: tuple, share: tf.Tensor | None) -> tuple[Values, list, tf.Tensor]:
        """Makes an update; returns its values, and its gradients with the factor of a scaled loss in them."""
        model, optimizer = self.model, self.model.optimizer
        batch = weigh(batch, self.way.class_weights)
        drifting = self._drifting()
        gradients, loss = self._gradients(batch, share, take_in=True)
        gradients, loss, values = self._over_replicas(gradients, loss, drifting)
        gradients = [self._folded(each) for each in gradients]
        scale = optimizer.scale_loss(tf.ones_like(loss))
        known = [tf.cast(gradient, tf.float32) for gradient in gradients if gradient is not None]
        norm = tf.linalg.global_norm(known) / tf.cast(scale, tf.float32)
        variables = model.trainable_weights  # complete only after the first call of a subclassed model
        sharp = sharpness_of(optimizer)
        applied = gradients if sharp is None else self._at_the_top(sharp, gradients, batch, share)
        optimizer.apply(applied, variables)
        return {"loss": loss, "gradient_norm": norm, **values}, gradients, scale

    def _gradients(self, batch: tuple, share: tf.Tensor | None, take_in: bool) -> tuple[list, tf.Tensor]:
        """Returns what this replica adds to the gradients, scaled as the optimizer wants, and to the loss."""
        model, forward = self.model, self.way.forward or self.model
        total, losses = None, []
        for part, weight in self._parts(batch, share):
            done = [each for each in total or () if each is not None]
            with tf.control_dependencies(done):  # so that one part at a time is in memory
                x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(part)
                with tf.GradientTape() as tape:
                    predictions = forward(x, training=True)
                    loss = self._loss(x, y, predictions, sample_weight)
                    counted = loss if weight is None else loss * tf.cast(weight, loss.dtype)
                    scaled = model.optimizer.scale_loss(counted)
                gradients = tape.gradient(scaled, model.trainable_weights)
                if take_in:
                    known = (x, tf.argmax(y, -1), sample_weight) if self.way.shares else part
                    self._take_in(known, predictions, loss, weight)
            total = gradients if total is None else plus(total, gradients)
            losses.append(counted)
        return total, sum(losses[1:], losses[0])

    def _loss(self, x: Any, y: Any, predictions: Any, sample_weight: tf.Tensor | None) -> tf.Tensor:
        weights = self.way.class_weights
        if weights is not None and weights.by_label:  # each label becomes a prediction of its own, with its weight
            y, predictions = (keras.tree.map_structure(lambda each: each[..., None], each) for each in (y, predictions))
        elif (
            weights is not None
        ):  # else Keras takes the mean over steps first, and each step's weight for the example's
            y = keras.tree.map_structure(weights.with_last_axis, y)
        return self.model.compute_loss(x, y, predictions, sample_weight, training=True)

    def _at_the_top(self, optimizer: SharpnessAware, gradients: list, batch: tuple, share: tf.Tensor | None) -> list:
        """Returns the gradients where the loss is steepest nearby; all else learns from the first pass alone."""
        states = [*self.model.non_trainable_weights, *_metric_variables(self.model)]
        kept = [(each, tf.identity(each)) for each in states]
        with optimizer.displaced(gradients, self.model.trainable_weights):
            gradients = self._over_replicas(*self._gradients(batch, share, take_in=False), ())[0]
        for variable, value in kept:
            variable.assign(value)
        return [self._folded(each) for each in gradients]

    def _folded(self, gradient: Any) -> Any:
        return tf.convert_to_tensor(gradient) if self.way.jit and gradient is not None else folded(gradient)

    # The update of a model that has its own

    def _own_update(self, batch: tuple, share: tf.Tensor | None) -> Values:
        batch = weigh(batch, self.way.class_weights)
        if self.way.strategy is None and self.way.parts == 1:
            return self.model.train_step(batch)
        gradients_first = isinstance(self.model, Trainer) and self.model.gradients_first
        drifting = self._drifting()
        collector = Collector(self.way.parts, self.way.strategy is not None, gradients_first)
        losses: Values = {}
        for number, (part, weight) in enumerate(self._parts(batch, share)):
            with tf.control_dependencies(collector.pending), collector.part(number, weight), self._counting(weight):
                logs = self._named(_scalars(self.model.train_step(part)))
            for name in filter(is_loss, logs):
                losses[name] = losses.get(name, 0.0) + times(logs[name], weight)
        return self._joined_logs({**logs, **losses}, drifting)

    def _joined_logs(self, logs: Values, drifting: Sequence = ()) -> Values:
        """Returns the sums of losses over the replicas, which are parts of them by Keras's rule, and the means else."""
        if self.way.strategy is None:
            return logs
        parts = [value if is_loss(name) else value / self.replicas for name, value in logs.items()]
        joined, _, values = self._over_replicas(parts, None, drifting)
        return {**dict(zip(logs, joined, strict=True)), **values}

    # Over replicas

    def _over_replicas(
        self, gradients: list, loss: tf.Tensor | None, drifting: Sequence
    ) -> tuple[list, tf.Tensor | None, Values]:
        """Returns the sums over all replicas, and the wishes of all; what drifted apart is brought together."""
        if self.way.strategy is None:
            return gradients, loss, {}
        moves = [variable - before for variable, before in drifting]
        wishes = [] if self.way.crew is None else [self.way.crew.asked.value()]
        count = len(gradients)
        sums = summed([*gradients, loss, *moves, *wishes])
        for (variable, before), move in zip(drifting, sums[count + 1 :], strict=False):
            variable.assign(before + move / self.replicas)
        return sums[:count], sums[count], {Workers.KEY: sums[-1]} if wishes else {}

    def _drifting(self) -> list[tuple[Any, tf.Tensor]]:
        """Returns the statistics that each replica would keep for itself, with their values now."""
        return [] if self.replicas == 1 else [(each, tf.identity(each)) for each in statistics_apart(self.model)]

    # Validation

    def _plain_measurement(self, batch: tuple, share: tf.Tensor | None) -> Values:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        predictions = self.model(x, training=False)
        loss = self.model.compute_loss(x, y, predictions, sample_weight, training=False)
        self._take_in(batch, predictions, loss, share)
        return {}

    def _own_measurement(self, batch: tuple, share: tf.Tensor | None) -> Values:
        with self._counting(share):
            logs = _scalars(self.model.test_step(batch))
        return self._joined_logs(self._named(logs))

    def _named(self, logs: Values) -> Values:
        """Refuses what might be a loss, or not, where losses are summed over parts and all else is averaged."""
        if self.way.strategy is not None or self.way.parts > 1:
            known = {metric.name for metric in self.model.metrics}
            doubtful = [name for name in logs if "loss" in name and not is_loss(name) and name not in known]
            if doubtful:
                rule = "losses that a train_step returns for a part of a batch must be called 'loss' or '..._loss'"
                checks.refuse(rule, doubtful, "Rename them, such as 'd_loss'; all else must not hold 'loss'.")
        return logs

    @contextmanager
    def _counting(self, weight: tf.Tensor | None) -> Iterator[None]:
        """Lets metrics forget what the block takes in, where its part only stands in for an empty one."""
        kept = [] if weight is None else [(each, tf.identity(each)) for each in _metric_variables(self.model)]
        yield
        for variable, before in kept:
            variable.assign(tf.where(weight > 0, variable, before))

    def _take_in(self, batch: tuple, predictions: Any, loss: tf.Tensor, weight: tf.Tensor | None) -> None:
        """Takes a part into the metrics, unless it stands in for an empty one."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)

        def take():
            for metric in self.model.metrics:
                if metric.name == "loss":
                    metric.update_state(loss * self.replicas, sample_weight=_size(batch))
            self.model.compute_metrics(x, y, predictions, sample_weight)
            return tf.constant(True)

        if weight is None:
            take()
        else:
            tf.cond(weight > 0, take, lambda: tf.constant(False))


@contextmanager
def _once_there_is(batch: Any) -> Iterator[None]:
    """Lets what does not depend on a batch, such as a count, wait for it: it would run at the end of the data too."""

    def unbound(create: Callable, **settings: Any) -> tf.Variable:
        with tf.control_dependencies(None):  # what a variable starts from is computed outside the step
            return create(**settings)

    with tf.variable_creator_scope(unbound), tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
        yield


def statistics_apart(model: keras.Model) -> list[keras.Variable]:
    """Returns the statistics that replicas keep each for themselves, such as those of a plain batch norm."""
    found = {}
    for layer in model._flatten_layers():  # Keras has no public way to the layers inside a layer
        has_parts = any(True for _ in layer._flatten_layers(include_self=False))
        if layer.trainable and not has_parts and not getattr(layer, "synchronized", False):
            floats = [each for each in layer.non_trainable_weights if "float" in each.dtype]
            found |= {id(variable): variable for variable in floats}
    return list(found.values())


def weigh(batch: tuple, class_weights: ClassWeights | None) -> tuple:
    """Returns a batch with the weights of its labels' classes as (or multiplied into) its sample weights."""
    if class_weights is None:
        return batch
    x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
    by_class = class_weights.of(y)
    return x, y, by_class if weight is None else by_class * weight


def _metric_variables(model: keras.Model) -> list[keras.Variable]:
    return [variable for metric in model.metrics for variable in metric.variables]


def is_loss(name: str) -> bool:
    """Returns whether what a `train_step` returns is a loss: it bears a name that Keras gives to losses."""
    return name == "loss" or name.endswith("_loss")


def _scalars(logs: Mapping[str, Any]) -> Values:
    values = {name: tf.convert_to_tensor(value) for name, value in logs.items()}
    return {name: value for name, value in values.items() if value.shape.rank == 0}


def _size(batch: Any) -> tf.Tensor:
    return tf.cast(rows_in(batch), tf.int32)
