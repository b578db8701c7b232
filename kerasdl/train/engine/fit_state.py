"""State of the training loop for one call of `fit`: a compiled model and its data."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import DataError
from kerasdl.data import Dataset

from ..config import RunConfig
from ..distribute.gradient_sums import accumulating_gradients, reductions_by_engine
from ..distribute.replicas import ReplicaContext
from ..loop.hooks import RunCallback, UpdateTrace
from ..loop.runner import run_steps
from ..loop.state import Figures, Run, State
from ..loop.steps_per_execution import timed
from ..objectives.class_weights import class_weights_of
from ..objectives.input_checks import check_finite
from ..objectives.loss_and_metrics import makes_soft_labels
from ..optim import schedules
from ..optim.optimizers import innermost, schedule_of
from ..trainer import Trainer, has_call, owned_by_optimizers
from . import train_steps
from .batch_flow import BatchFlow, data_notes
from .feature_caching import FeatureCache, feature_cache
from .gradient_checkpointing import rematerialized
from .keras_callbacks import keras_callbacks
from .reduce_on_plateau import LowerOnPlateau
from .run_description import computation_notes, run_identity_of
from .weight_averaging import WeightAverage, estimate_statistics, holding_averages


class FitState(State):
    """State of the training loop for one call of `fit`."""

    def __init__(
        self,
        model: keras.Model,
        train: Dataset,
        validation: Dataset | None,
        config: RunConfig,
        strategy: tf.distribute.Strategy,
        own_train_step: bool,
        notes: Sequence[str] = (),
    ):
        # State's constructor is not called: its defaults would replace the methods below.
        self.model, self.train, self.validation, self.config = model, train, validation, config
        self.replica_context = ReplicaContext(strategy)
        self.coordinator, self.large, self.seekable = self.replica_context.coordinator, {}, train.seekable
        self.replica_context.check_batch_size(config.batch_size, train)
        self.validation_batches = None
        if validation is not None:
            self.validation_batches = validation.batches(
                config.batch_size, share=self.replica_context.share(validation)
            )
        self.metric_results = train_steps.compiled(model.get_metrics_result)
        self.plan_notes = notes
        self.own_train_step, self.optimizers_by_role = own_train_step, owned_by_optimizers(model)
        if isinstance(model, Trainer):
            model.check_optimizers()
        self.schedule = schedule_of(model)
        self.last_values: Mapping[str, Any] = {}
        self.weight_average: WeightAverage | None = None
        self.forward: keras.Model | None = None
        self.cache: FeatureCache | None = None
        length = train.steps(config.batch_size)
        self.batch_flow = BatchFlow(train, self.batches, length, config.steps_per_epoch)
        self.reset = model.reset_metrics

    def run(self, callbacks: Sequence, length: int | None) -> Run:
        """Compiles the steps and runs the training loop."""
        self.replica_context.check_lengths(length)
        self.replica_context.check_callbacks(callbacks)
        self.epochs = self._epochs(length)
        optimizers = [optimizer for optimizer, _ in self.optimizers_by_role.values()]
        with contextlib.ExitStack() as stack:
            if self.replica_context.strategy is not None:
                self.replica_context.build_metrics(self.model, self.batches(0, 0).element_spec)
                stack.enter_context(reductions_by_engine(optimizers))
            self._build_optimizers()
            self._make_averages()
            self._cache_features(callbacks)
            options = self._step_options()
            if self.own_train_step and (options.strategy or options.micro_batches > 1):
                stack.enter_context(accumulating_gradients(optimizers))
            self.steps = train_steps.CompiledSteps(self.model, options)
            self._prepare(callbacks, length)
            with self.replica_context.reporting_lost_workers():
                return run_steps(self.step, self, self.config)

    def _epochs(self, length: int | None) -> int | None:
        config = self.config
        if config.steps is None:
            return config.epochs
        if length is None and config.swa is not None:
            checks.refuse("swa with steps= needs data of known length", self.train.name, "Pass steps_per_epoch=.")
        return length and math.ceil(config.steps / length)

    def _build_optimizers(self) -> None:
        model, parts = self.model, self.config.accumulation > 1
        if not model.built and (has_call(model) or not all(layer.built for layer in model.layers)):
            if parts:  # a subclassed model, built by its first batch
                checks.refuse("accumulation needs a model that is built", model.name, "Call it on one batch first.")
            return
        unbuilt = [
            (optimizer, variables) for optimizer, variables in self.optimizers_by_role.values() if not optimizer.built
        ]
        if self.own_train_step and len(self.optimizers_by_role) > 1 and not isinstance(model, Trainer):
            # Only its train_step knows the variables of each optimizer.
            if unbuilt and (self.replica_context.strategy is not None or parts):
                rule = "each of several optimizers must be built for its own variables where a batch is cut into parts"
                hint = "Call optimizer.build(network.trainable_variables), or make the model a Trainer."
                checks.refuse(rule, [optimizer.name for optimizer, _ in unbuilt], hint)
            return
        with self.replica_context.scope():
            for optimizer, variables in unbuilt:
                optimizer.build(variables)

    def _make_averages(self) -> None:
        """Creates the weight average and the rematerialized model, where the settings ask for them."""
        config, model = self.config, self.model
        with self.replica_context.scope():
            if config.swa is not None:
                self.weight_average = WeightAverage(model, config.swa, self.epochs)
            if config.remat:
                graph = model.main if isinstance(model, Trainer) and model.feeds_main else model
                self.forward = rematerialized(graph, None if config.remat is True else config.remat)

    def _cache_features(self, callbacks: Sequence) -> None:
        several = self.replica_context.strategy is not None
        self.cache, self.cache_notes = feature_cache(
            self.model, self.train, self.validation, self.config, callbacks, several
        )
        if self.cache is not None:
            self.forward = self.cache.above

    def _step_options(self) -> train_steps.StepOptions:
        config, model = self.config, self.model
        if config.jit_compile is True and not model.supports_jit:
            rule = "jit_compile=True needs a model that XLA compiles, checks of labels included"
            checks.refuse(rule, type(model).__name__, "Leave it out.")
        jit = model.jit_compile if config.jit_compile == "auto" else config.jit_compile
        return train_steps.StepOptions(
            class_weights=class_weights_of(config.class_weights, getattr(model, "loss", None), model, self.train),
            own_train_step=self.own_train_step,
            soft_labels=makes_soft_labels(config, self.train),
            micro_batches=config.accumulation,
            jit_compile=bool(jit) and self.replica_context.strategy is None,
            forward=self.forward,
            strategy=self.replica_context.strategy,
            workers=self.replica_context.workers,
        )

    def _prepare(self, callbacks: Sequence, length: int | None) -> None:
        """Traces the step, which creates every variable that it changes, and sets what the loop reads."""
        model, train, config, replica_context = self.model, self.train, self.config, self.replica_context
        spec = self.batches(0, 0).element_spec if self.cache is None else self.cache.spec(train)
        outputs, self.tracing_seconds = timed(self.steps.trace, spec)
        named = _weights_of(model)
        weights = list(named.values())
        extras = _other_variables(
            [optimizer for optimizer, _ in self.optimizers_by_role.values()], model.metrics, weights
        )
        extras += [] if self.weight_average is None else self.weight_average.variables.values()
        replica_context.broadcast_variables(weights, extras)
        replica_context.warn_about_batch_norms(model)
        self.weights, self.extras = named, _numbered("other", extras)
        self.steps_per_epoch = length
        self.batch_size = None if train.foreign or train.sampler else config.batch_size
        self.must_be_finite = self._finite_names(outputs)
        if not replica_context.workers:
            self.quick_metrics = None
        figures = self.quick_metrics or self.metrics  # no collective operations between steps
        self.callbacks = keras_callbacks(callbacks, model, config, length, figures, replica_context.coordinator.chief)
        self.run_callbacks = self._run_callbacks(callbacks)
        if not self._can_run_many():
            self.run_many = None
        notes = computation_notes(self.steps.options, config, replica_context) + data_notes(train, config)
        first = config.stage is None or config.stage[0] == 0  # what holds for all stages comes once
        self.notes = [*((*self.plan_notes, *notes) if first else ()), *self.cache_notes]
        self.identity = run_identity_of(model, train, self.validation, callbacks)

    def batches(self, number: int, start: int) -> tf.data.Dataset:
        """Returns the batches of a pass from batch `start` on, and later passes where data have random access."""
        config, train = self.config, self.train if self.cache is None else self.cache.train
        make = train.stream if train.any_order else train.batches
        return make(
            config.batch_size,
            shuffle=config.shuffle,
            seed=config.seed,
            epoch=number,
            start=start,
            augment=config.augment,
            mix=config.mix,
            share=self.replica_context.share(self.train),
        )

    def stream(self, epoch: int, batch: int) -> BatchFlow:
        # Features are computed here, since a resumed run has its weights only now.
        if self.cache is not None and self.cache.train is None:
            self.cache.fill(self.train, self.validation)
            if self.validation is not None:
                self.validation_batches = self.cache.validation.batches(self.config.batch_size)
        return self.batch_flow.at(epoch, batch)

    def _can_run_many(self) -> bool:
        # A call with many updates must not pass the end of the data, and workers must choose the same number.
        known = self.train.steps(self.config.batch_size) is not None or self.batch_flow.endless
        return known and (self.replica_context.workers is None or self.config.steps_per_execution is not None)

    def step(self, flow: BatchFlow) -> Mapping[str, Any]:
        self.last_values = flow.step(self.steps.train)
        return self.last_values

    def run_many(self, flow: BatchFlow, count: int) -> Mapping[str, Any]:
        values = flow.run_many(self.steps.run_many, count)
        self.last_values = {name: value[-1] for name, value in values.items()}
        return values

    def run_traced(self, flow: BatchFlow, step: int) -> tuple[Mapping[str, Any], UpdateTrace]:
        if self.own_train_step:
            checks.refuse("tracing of updates needs a model that trains by compute_loss", type(self.model).__name__)
        weights = self.model.trainable_weights
        before = _by_path(weights)
        self.last_values, gradients, inputs = flow.step(self.steps.run_traced)
        known = [(weight, each) for weight, each in zip(weights, gradients, strict=True) if each is not None]
        slopes = {weight.path: each.numpy() for weight, each in known}
        return self.last_values, UpdateTrace(step, inputs, slopes, before, _by_path(weights))

    def metrics(self) -> Figures:
        if not self.own_train_step:
            return _scalars(self.metric_results())
        # The values that a model's own train_step returns come first: it need not keep metrics.
        return self._reduced_logs(_scalars(self.last_values)) or _scalars(self.metric_results())

    def _reduced_logs(self, logs: Figures) -> Figures:
        """Returns the logs of a model's own step, with metric results over all replicas in place of one replica's."""
        if self.replica_context.strategy is None:
            return logs
        used = {metric.name for metric in self.model.metrics if any(np.any(each.numpy()) for each in metric.variables)}
        results = _scalars(self.metric_results())
        return {name: results[name] if name in used and name in results else value for name, value in logs.items()}

    def quick_metrics(self) -> Figures:
        known = {metric.name for metric in self.model.metrics} if self.own_train_step else ()
        shown = {name: value for name, value in _scalars(self.last_values).items() if name in self.must_be_finite}
        return {name: value for name, value in shown.items() if name not in known}

    def figures(self) -> Figures:
        if isinstance(self.model, Trainer) and len(self.optimizers_by_role) > 1:
            rates = {
                f"{role}_learning_rate": _learning_rate_of(optimizer)
                for role, (optimizer, _) in self.optimizers_by_role.items()
            }
            return {**self.metrics(), **rates}
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is None or not optimizer.built:  # a train_step with other optimizers does not use it
            return self.metrics()
        return {**self.metrics(), "learning_rate": self.learning_rate(int(optimizer.iterations.numpy()))}

    def evaluate(self) -> Figures:
        if self.validation_batches is None:
            return {}
        self.model.reset_metrics()
        self.callbacks.begin_test()
        values: Mapping[str, Any] = {}

        def so_far() -> Figures:
            return self._reduced_logs(_scalars(values)) or _scalars(self.metric_results())

        stream, batch, limit = iter(self.validation_batches), 0, self.config.validation_steps
        length = self.validation.steps(self.config.batch_size)
        while batch not in (length, limit):
            self.callbacks.begin_test_step(batch)
            try:
                values = self.steps.test(stream)
            except tf.errors.OutOfRangeError:
                break
            self.callbacks.end_test_step(batch, dict if self.replica_context.workers else so_far)
            batch += 1
        if batch == 0:
            raise DataError("the validation data hold no batches. Check their size, and filters in the pipeline.")
        figures = so_far()
        if not math.isfinite(figures.get("loss", 0.0)):
            check_finite(self.validation.batches(self.config.batch_size), limit, f"validation {self.validation.name}")
        self.callbacks.end_test(figures)
        return {f"val_{name}": value for name, value in figures.items()}

    def _averaging(self) -> list[tuple[keras.optimizers.Optimizer, Sequence]]:
        """Returns the optimizers whose weight averages are the evaluation weights; a trainer's by own settings."""
        if isinstance(self.model, Trainer):
            return [pair for pair in self.optimizers_by_role.values() if innermost(pair[0]).use_ema]
        return [(self.model.optimizer, self.model.trainable_weights)] if self.config.ema else []

    @contextlib.contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for optimizer, variables in self._averaging():
                stack.enter_context(holding_averages(variables, optimizer))
            yield

    def on_finish(self, restored: bool) -> None:
        for optimizer, variables in [] if restored else self._averaging():
            optimizer.finalize_variable_values(variables)
        if self.weight_average is not None and self.weight_average.assign_to_model():
            config = self.config
            settings = {name: getattr(config, name) for name in ("shuffle", "seed", "augment", "mix")}
            limit = config.steps_per_epoch
            if limit and self.train.steps(config.batch_size) is not None:  # one pass, not only the first batches
                limit *= config.epochs
            estimate_statistics(self.model, self.train.batches(config.batch_size, **settings), limit)

    def learning_rate(self, step: int) -> float:
        if self.schedule is not None:
            return float(self.schedule(step - 1))
        optimizer = getattr(self.model, "optimizer", None)
        return math.nan if optimizer is None else _learning_rate_of(optimizer)

    def _finite_names(self, returned: Mapping[str, Any]) -> list[str]:
        if self.own_train_step:
            return [name for name in returned if "loss" in name]
        # Under loss scaling, overflowing gradients are expected, and their step is skipped.
        scaled = isinstance(self.model.optimizer, keras.optimizers.LossScaleOptimizer)
        return ["loss"] if scaled else ["loss", "gradient_norm"]

    def _run_callbacks(self, callbacks: Sequence) -> list[RunCallback]:
        plateau, monitor = schedules.as_schedule(self.config.schedule), self.config.monitor
        run_callbacks = [self.callbacks, *(each for each in callbacks if isinstance(each, RunCallback))]
        run_callbacks += [] if self.weight_average is None else [self.weight_average]
        if not isinstance(plateau, schedules.Plateau):
            return run_callbacks
        if monitor is None:
            checks.refuse(
                "schedule 'plateau' needs a figure to monitor", None, 'Give validation=, or monitor=("loss", "min").'
            )
        return [*run_callbacks, LowerOnPlateau(monitor, self.model.optimizer, plateau)]


def _scalars(values: Mapping[str, Any]) -> Figures:
    return {name: float(value) for name, value in values.items() if not len(getattr(value, "shape", ()))}


def _numbered(part: str, variables: Sequence[Any]) -> dict[str, Any]:
    # Numbers, not paths: automatic names differ where a model is built twice in one process.
    return {f"{part}/{index:04d}": variable for index, variable in enumerate(variables)}


def _weights_of(model: keras.Model) -> dict[str, Any]:
    """Returns the variables of a model by stable names; those of a trainer by the roles of its networks."""
    if not isinstance(model, Trainer):
        return _numbered("model", model.variables)
    named = {role: _numbered(role, network.variables) for role, network in model.networks.items()}
    known = {id(variable) for part in named.values() for variable in part.values()}
    named["trainer"] = _numbered("trainer", [each for each in model.variables if id(each) not in known])
    return {name: variable for part in named.values() for name, variable in part.items()}


def _other_variables(optimizers: Sequence, metrics: Sequence, known: Sequence[Any]) -> list[Any]:
    variables = [variable for each in [*optimizers, *metrics] for variable in each.variables]
    unique = {id(variable): variable for variable in variables}
    for variable in known:
        unique.pop(id(variable), None)
    return list(unique.values())


def _learning_rate_of(optimizer: keras.optimizers.Optimizer) -> float:
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))


def _by_path(variables: Sequence) -> dict[str, np.ndarray]:
    return {variable.path: np.array(variable.numpy()) for variable in variables}
