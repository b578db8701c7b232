"""Compiled training and validation steps of a Keras model, on one device or under a strategy."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.data.batching.sharding import rows_in

from ..distribute.gradient_sums import GradientAccumulator, add_gradients, all_reduce_sum, scale_gradient
from ..distribute.workers import Workers
from ..objectives.class_weights import ClassWeights
from ..optim.sharpness_aware import SharpnessAware, sharpness_of
from ..optim.sparse_gradients import sum_repeated_rows
from ..trainer import Trainer, has_own_train_step
from .compilation import build_metrics

Values = dict[str, tf.Tensor]


@dataclass(frozen=True)
class StepOptions:
    """Options of a compiled training step."""

    class_weights: ClassWeights | None = None
    """The weight of each class in the loss."""
    own_train_step: bool = False
    """True if the class of the model overrides `train_step`, which then makes the update."""
    soft_labels: bool = False
    """True if training labels are probabilities of the classes, as after mixup; metrics take the largest one."""
    micro_batches: int = 1
    """Parts into which each batch is cut; their gradients are computed in turn and summed for one update."""
    jit_compile: bool = False
    """True if XLA compiles the update."""
    forward: Callable | None = None
    """Function that computes the outputs, such as a rematerialized model or the layers above a feature cache; None for
    the model."""
    strategy: tf.distribute.Strategy | None = None
    """Strategy whose replicas compute a step together, each on its part of the batch (see `data/batching/sharding.py`);
    None for one device, which takes whole batches."""
    workers: Workers | None = None
    """The workers whose stop and save requests are reduced together with the gradients; None for one process."""


def make_train_step(model: keras.Model, class_weights: ClassWeights | None = None) -> Callable[[Any], Values]:
    """Returns a function from an iterator of batches to the values of one update, on one device.

    The values are the loss of the batch and the global norm of its gradients before clipping, or the logs of the
    model's own `train_step`.
    """
    return CompiledSteps(model, StepOptions(class_weights, has_own_train_step(model))).train


def compiled(function: Callable, *first: Any) -> Any:
    """Returns a function compiled by TensorFlow, with its first arguments set.

    A partial function, since TensorFlow counts retracing by source line: many runs in one process that each compile
    the function once would raise its warning.
    """
    return tf.function(functools.partial(function, *first), autograph=False, reduce_retracing=True)


class CompiledSteps:
    """Compiled steps of a model after `compile`; each takes an iterator of batches."""

    def __init__(self, model: keras.Model, options: StepOptions):
        self.model, self.options = model, options
        self.num_replicas = 1 if options.strategy is None else options.strategy.num_replicas_in_sync
        self.update = self._own_update if options.own_train_step else self._plain_update
        own = type(model).test_step is not keras.Model.test_step
        self.evaluate_batch = self._own_evaluation if own else self._plain_evaluation
        if options.jit_compile:
            self.update = tf.function(self.update, jit_compile=True, autograph=False)
        self.outputs: Values = {}
        self.train = compiled(self._on_replicas, self.update)
        self.test = compiled(self._on_replicas, self.evaluate_batch)
        self.run_traced = compiled(self._on_replicas, self._traced_update)
        self._run_many = compiled(self._loop)

    def trace(self, element_spec: Any) -> Values:
        """Traces the training step, which creates every variable that it changes; returns its symbolic outputs."""
        if self.options.strategy is None and not self.options.own_train_step:
            build_metrics(self.model, element_spec, self.options.class_weights is not None, self.options.soft_labels)
        self.outputs = self.train.get_concrete_function(tf.data.IteratorSpec(element_spec)).structured_outputs
        return self.outputs

    def run_many(self, batches: Iterator, count: int) -> Values:
        """Makes `count` updates in one call, after `trace`; returns the values of all, (count, ...)."""
        return self._run_many(batches, tf.constant(count))

    def _loop(self, batches: Any, count: tf.Tensor) -> Values:
        each = {name: (value.dtype, value.shape) for name, value in self.outputs.items()}
        stacked = {name: tf.TensorArray(dtype, count, element_shape=shape) for name, (dtype, shape) in each.items()}

        def body(index, stacked):
            values = self._on_replicas(self.update, batches)
            return index + 1, {name: array.write(index, values[name]) for name, array in stacked.items()}

        _, stacked = tf.while_loop(lambda index, _: index < count, body, (0, stacked), parallel_iterations=1)
        return {name: array.stack() for name, array in stacked.items()}

    # Replicas and micro-batches

    def _on_replicas(self, function: Callable, batches: Any) -> Any:
        strategy, element = self.options.strategy, batches.get_next()

        def on_one(batch, share):
            with _after_batch(batch):
                return function(batch, share)

        if strategy is None:
            return on_one(element, None)
        parts = iter(element)
        each = strategy.experimental_distribute_values_from_function(lambda _: next(parts))
        results = strategy.run(lambda part: on_one(*part), args=(each,))
        return tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0], results)

    def _micro_batches(self, batch: tuple, share: tf.Tensor | None) -> Iterator[tuple[tuple, tf.Tensor | None]]:
        """Yields each micro-batch of a replica's batch with its weight in the loss of the whole batch; None for 1."""
        count = self.options.micro_batches
        if count == 1:
            yield batch, share
            return
        size = _size(batch)
        for number in range(count):
            low, high = number * size // count, (number + 1) * size // count
            weight = tf.cast(high - low, tf.float64) / tf.cast(size, tf.float64)
            stop = tf.maximum(high, low + 1)  # an empty part computes one example, with weight 0
            part = tf.nest.map_structure(lambda whole, low=low, stop=stop: whole[low:stop], batch)
            yield part, weight if share is None else weight * share

    # The update of a model without its own train_step

    def _plain_update(self, batch: tuple, share: tf.Tensor | None) -> Values:
        return self._update_and_gradients(batch, share)[0]

    def _traced_update(self, batch: tuple, share: tf.Tensor | None) -> tuple[Values, list, Any]:
        values, gradients, scale = self._update_and_gradients(batch, share)
        plain = [
            None if each is None else tf.convert_to_tensor(each) / tf.cast(scale, each.dtype) for each in gradients
        ]
        return values, plain, keras.utils.unpack_x_y_sample_weight(batch)[0]

    def _update_and_gradients(self, batch: tuple, share: tf.Tensor | None) -> tuple[Values, list, tf.Tensor]:
        """Makes an update; returns its values, its gradients and the loss scale that they contain."""
        model, optimizer = self.model, self.model.optimizer
        batch = apply_class_weights(batch, self.options.class_weights)
        statistics = self._replica_statistics()
        gradients, loss = self._gradients(batch, share, update_metrics=True)
        gradients, loss, values = self._reduce_over_replicas(gradients, loss, statistics)
        gradients = [self._merged(each) for each in gradients]
        scale = optimizer.scale_loss(tf.ones_like(loss))
        known = [tf.cast(gradient, tf.float32) for gradient in gradients if gradient is not None]
        norm = tf.linalg.global_norm(known) / tf.cast(scale, tf.float32)
        variables = model.trainable_weights  # complete only after the first call of a subclassed model
        sharp = sharpness_of(optimizer)
        applied = gradients if sharp is None else self._sharpness_aware_gradients(sharp, gradients, batch, share)
        optimizer.apply(applied, variables)
        return {"loss": loss, "gradient_norm": norm, **values}, gradients, scale

    def _gradients(self, batch: tuple, share: tf.Tensor | None, update_metrics: bool) -> tuple[list, tf.Tensor]:
        """Returns this replica's contribution to the gradients, with the optimizer's loss scale, and to the loss."""
        model, forward = self.model, self.options.forward or self.model
        total, losses = None, []
        for part, weight in self._micro_batches(batch, share):
            previous = [each for each in total or () if each is not None]
            with tf.control_dependencies(previous):  # so that one micro-batch at a time is in memory
                x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(part)
                with tf.GradientTape() as tape:
                    predictions = forward(x, training=True)
                    loss = self._loss(x, y, predictions, sample_weight)
                    counted = loss if weight is None else loss * tf.cast(weight, loss.dtype)
                    scaled = model.optimizer.scale_loss(counted)
                gradients = tape.gradient(scaled, model.trainable_weights)
                if update_metrics:
                    known = (x, tf.argmax(y, -1), sample_weight) if self.options.soft_labels else part
                    self._update_metrics(known, predictions, loss, weight)
            total = gradients if total is None else add_gradients(total, gradients)
            losses.append(counted)
        return total, sum(losses[1:], losses[0])

    def _loss(self, x: Any, y: Any, predictions: Any, sample_weight: tf.Tensor | None) -> tf.Tensor:
        weights = self.options.class_weights
        if weights is not None and weights.by_label:  # each label becomes a separate prediction with its weight
            y, predictions = (keras.tree.map_structure(_with_last_axis, each) for each in (y, predictions))
        elif (
            weights is not None
        ):  # otherwise Keras averages over steps first, and weighs the example by each step's weight
            y = keras.tree.map_structure(weights.with_last_axis, y)
        return self.model.compute_loss(x, y, predictions, sample_weight, training=True)

    def _sharpness_aware_gradients(
        self, optimizer: SharpnessAware, gradients: list, batch: tuple, share: tf.Tensor | None
    ) -> list:
        """Returns the gradients at the displaced weights of SAM; other state keeps the values of the first pass."""
        states = [*self.model.non_trainable_weights, *_metric_variables(self.model)]
        before = [(each, tf.identity(each)) for each in states]
        with optimizer.displaced(gradients, self.model.trainable_weights):
            gradients = self._reduce_over_replicas(*self._gradients(batch, share, update_metrics=False), ())[0]
        for variable, value in before:
            variable.assign(value)
        return [self._merged(each) for each in gradients]

    def _merged(self, gradient: Any) -> Any:
        return (
            tf.convert_to_tensor(gradient)
            if self.options.jit_compile and gradient is not None
            else sum_repeated_rows(gradient)
        )

    # The update of a model with its own train_step

    def _own_update(self, batch: tuple, share: tf.Tensor | None) -> Values:
        batch = apply_class_weights(batch, self.options.class_weights)
        if self.options.strategy is None and self.options.micro_batches == 1:
            return self.model.train_step(batch)
        gradients_first = isinstance(self.model, Trainer) and self.model.gradients_first
        statistics = self._replica_statistics()
        accumulator = GradientAccumulator(
            self.options.micro_batches, self.options.strategy is not None, gradients_first
        )
        losses: Values = {}
        for number, (part, weight) in enumerate(self._micro_batches(batch, share)):
            with (
                tf.control_dependencies(accumulator.pending),
                accumulator.part(number, weight),
                self._without_padding(weight),
            ):
                logs = self._checked_names(_scalars(self.model.train_step(part)))
            for name in filter(is_loss, logs):
                losses[name] = losses.get(name, 0.0) + scale_gradient(logs[name], weight)
        return self._reduced_logs({**logs, **losses}, statistics)

    def _reduced_logs(self, logs: Values, statistics: Sequence = ()) -> Values:
        """Returns the logs of all replicas: sums of losses, which Keras divides by the replicas, and means."""
        if self.options.strategy is None:
            return logs
        parts = [value if is_loss(name) else value / self.num_replicas for name, value in logs.items()]
        joined, _, values = self._reduce_over_replicas(parts, None, statistics)
        return {**dict(zip(logs, joined, strict=True)), **values}

    # Sums over replicas

    def _reduce_over_replicas(
        self, gradients: list, loss: tf.Tensor | None, statistics: Sequence
    ) -> tuple[list, tf.Tensor | None, Values]:
        """Returns sums over all replicas and the requests of all workers; assigns the mean of replica statistics."""
        if self.options.strategy is None:
            return gradients, loss, {}
        moves = [variable - before for variable, before in statistics]
        requests = [] if self.options.workers is None else [self.options.workers.request_vector.value()]
        count = len(gradients)
        sums = all_reduce_sum([*gradients, loss, *moves, *requests])
        for (variable, before), move in zip(statistics, sums[count + 1 :], strict=False):
            variable.assign(before + move / self.num_replicas)
        return sums[:count], sums[count], {Workers.KEY: sums[-1]} if requests else {}

    def _replica_statistics(self) -> list[tuple[Any, tf.Tensor]]:
        """Returns the statistics that each replica updates by itself, with their current values."""
        return (
            []
            if self.num_replicas == 1
            else [(each, tf.identity(each)) for each in unsynchronized_statistics(self.model)]
        )

    # Validation

    def _plain_evaluation(self, batch: tuple, share: tf.Tensor | None) -> Values:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        predictions = (self.options.forward or self.model)(x, training=False)
        loss = self.model.compute_loss(x, y, predictions, sample_weight, training=False)
        self._update_metrics(batch, predictions, loss, share)
        return {}

    def _own_evaluation(self, batch: tuple, share: tf.Tensor | None) -> Values:
        with self._without_padding(share):
            logs = _scalars(self.model.test_step(batch))
        return self._reduced_logs(self._checked_names(logs))

    def _checked_names(self, logs: Values) -> Values:
        """Returns logs; refuses ambiguous names, since losses are summed over parts and other values averaged."""
        if self.options.strategy is not None or self.options.micro_batches > 1:
            known = {metric.name for metric in self.model.metrics}
            ambiguous = [name for name in logs if "loss" in name and not is_loss(name) and name not in known]
            if ambiguous:
                rule = "losses that a train_step returns for a part of a batch must be called 'loss' or '..._loss'"
                checks.refuse(
                    rule, ambiguous, "Rename them, such as 'd_loss'; names of other values must not contain 'loss'."
                )
        return logs

    @contextmanager
    def _without_padding(self, weight: tf.Tensor | None) -> Iterator[None]:
        """Context manager that undoes the metric updates of the block where its part replaces an empty one."""
        before = [] if weight is None else [(each, tf.identity(each)) for each in _metric_variables(self.model)]
        yield
        for variable, value in before:
            variable.assign(tf.where(weight > 0, variable, value))

    def _update_metrics(self, batch: tuple, predictions: Any, loss: tf.Tensor, weight: tf.Tensor | None) -> None:
        """Updates the metrics with a part of a batch, unless it replaces an empty one."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)

        def update():
            for metric in self.model.metrics:
                if metric.name == "loss":
                    metric.update_state(loss * self.num_replicas, sample_weight=_size(batch))
            self.model.compute_metrics(x, y, predictions, sample_weight)
            return tf.constant(True)

        if weight is None:
            update()
        else:
            tf.cond(weight > 0, update, lambda: tf.constant(False))


@contextmanager
def _after_batch(batch: Any) -> Iterator[None]:
    """Context manager whose operations wait for a batch; otherwise a counter would also run at the end of the data."""

    def create_outside(create: Callable, **settings: Any) -> tf.Variable:
        with tf.control_dependencies(None):  # the initial value is computed outside the step
            return create(**settings)

    with (
        tf.variable_creator_scope(create_outside),
        tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)),
    ):
        yield


def unsynchronized_statistics(model: keras.Model) -> list[keras.Variable]:
    """Returns the variables that replicas update without synchronisation, such as the moving mean of a batch norm."""
    statistics = {}
    for layer in model._flatten_layers():  # Keras has no public way to the layers inside a layer
        has_sublayers = any(True for _ in layer._flatten_layers(include_self=False))
        if layer.trainable and not has_sublayers and not getattr(layer, "synchronized", False):
            floats = [each for each in layer.non_trainable_weights if "float" in each.dtype]
            statistics |= {id(variable): variable for variable in floats}
    return list(statistics.values())


def apply_class_weights(batch: tuple, class_weights: ClassWeights | None) -> tuple:
    """Returns a batch with the weights of its labels' classes as (or multiplied into) its sample weights."""
    if class_weights is None:
        return batch
    x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
    by_class = class_weights.of(y)
    if weight is None:
        return x, y, by_class
    missing = len(by_class.shape) - len(weight.shape)
    if missing < 0 and weight.shape[-1] == 1:  # a column (B, 1)
        return x, y, by_class * weight[..., 0]
    return x, y, by_class * weight[(..., *[None] * missing)]  # a weight of an example weighs each of its labels


def _with_last_axis(tensor: tf.Tensor) -> tf.Tensor:
    """Returns a tensor (...) as (..., 1), with the logits that Keras keeps beside probabilities for its losses."""
    grown, logits = tensor[..., None], getattr(tensor, "_keras_logits", None)
    if logits is not None:
        grown._keras_logits = logits[..., None]
    return grown


def _metric_variables(model: keras.Model) -> list[keras.Variable]:
    return [variable for metric in model.metrics for variable in metric.variables]


def is_loss(name: str) -> bool:
    """Returns whether a value that a `train_step` returns is a loss, by Keras's names: `loss` or `..._loss`."""
    return name == "loss" or name.endswith("_loss")


def _scalars(logs: Mapping[str, Any]) -> Values:
    values = {name: tf.convert_to_tensor(value) for name, value in logs.items()}
    return {name: value for name, value in values.items() if value.shape.rank == 0}


def _size(batch: Any) -> tf.Tensor:
    return tf.cast(rows_in(batch), tf.int32)
