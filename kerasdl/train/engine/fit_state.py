"""One call of `fit`: a compiled model and its data as the State of the loop."""

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
from ..distribute.gradient_sums import collected, summed_by_us
from ..distribute.replicas import Team
from ..loop.hooks import Inspection, Watcher
from ..loop.runner import run_steps
from ..loop.state import Figures, Run, State
from ..loop.steps_per_execution import timed
from ..objectives.class_weights import class_weights_of
from ..objectives.input_checks import check_finite
from ..objectives.loss_and_metrics import mixes_classes
from ..optim import schedules
from ..optim.optimizers import innermost, schedule_of
from ..trainer import Trainer, has_call, owned_by_optimizers
from . import train_steps
from .batch_flow import BatchFlow, notes_on
from .gradient_checkpointing import rematerialized
from .keras_callbacks import keras_callbacks
from .reduce_on_plateau import LowerOnPlateau
from .run_description import choices_of, identity_of
from .weight_averaging import WeightAverage, averages_in, estimate_statistics


class Training(State):
    """One call of `fit`: the model and its data as the State of a loop."""

    def __init__(
        self,
        model: keras.Model,
        train: Dataset,
        validation: Dataset | None,
        config: RunConfig,
        strategy: tf.distribute.Strategy,
        own_step: bool,
    ):
        # Not by State's own constructor, which would put its defaults over the methods below.
        self.model, self.train, self.validation, self.config = model, train, validation, config
        self.team = Team(strategy)
        self.crew, self.large, self.seekable = self.team.crew, {}, train.seekable
        self.team.check(config.batch_size, train)
        self.measured = None
        if validation is not None:
            self.measured = validation.batches(config.batch_size, share=self.team.share(validation))
        self.results = train_steps.compiled(model.get_metrics_result)
        self.own_step, self.owned = own_step, owned_by_optimizers(model)
        if isinstance(model, Trainer):
            model.check_optimizers()
        self.schedule = schedule_of(model)
        self.last: Mapping[str, Any] = {}
        self.average: WeightAverage | None = None
        self.forward: keras.Model | None = None
        length = train.steps(config.batch_size)
        self.flow = BatchFlow(train, self.batches, length, config.steps_per_epoch)
        self.stream, self.reset = self.flow.at, model.reset_metrics

    def run(self, callbacks: Sequence, length: int | None) -> Run:
        """Makes the steps, and takes them to the end."""
        self.team.check_lengths(length)
        self.team.check_callbacks(callbacks)
        self.epochs = self._epochs(length)
        optimizers = [optimizer for optimizer, _ in self.owned.values()]
        with contextlib.ExitStack() as stack:
            if self.team.strategy is not None:
                self.team.build(self.model, self.batches(0, 0).element_spec)
                stack.enter_context(summed_by_us(optimizers))
            self._build_optimizers()
            self._make_averages()
            way = self.way()
            if self.own_step and (way.strategy or way.parts > 1):
                stack.enter_context(collected(optimizers))
            self.steps = train_steps.Steps(self.model, way)
            self._prepare(callbacks, length)
            with self.team.watching_the_others():
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
            if parts:  # a subclassed model, which its first batch builds
                checks.refuse("accumulation needs a model that is built", model.name, "Call it on one batch first.")
            return
        waiting = [(optimizer, variables) for optimizer, variables in self.owned.values() if not optimizer.built]
        if self.own_step and len(self.owned) > 1 and not isinstance(model, Trainer):
            # Each is for variables that its train_step alone knows.
            if waiting and (self.team.strategy is not None or parts):
                rule = "each of several optimizers must be built for its own variables where a batch is cut into parts"
                hint = "Call optimizer.build(network.trainable_variables), or make the model a Trainer."
                checks.refuse(rule, [optimizer.name for optimizer, _ in waiting], hint)
            return
        with self.team.scope():
            for optimizer, variables in waiting:
                optimizer.build(variables)

    def _make_averages(self) -> None:
        """Makes what stands beside the model: averages of its weights, and its leaner twin in the backward pass."""
        config, model = self.config, self.model
        with self.team.scope():
            if config.swa is not None:
                self.average = WeightAverage(model, config.swa, self.epochs)
            if config.remat:
                graph = model.main if isinstance(model, Trainer) and model.feeds_main else model
                self.forward = rematerialized(graph, None if config.remat is True else config.remat)

    def way(self) -> train_steps.Way:
        config, model = self.config, self.model
        jit = model.jit_compile if config.jit_compile == "auto" else config.jit_compile
        return train_steps.Way(
            class_weights=class_weights_of(config.class_weights, getattr(model, "loss", None), model, self.train),
            own_step=self.own_step,
            shares=mixes_classes(config, self.train),
            parts=config.accumulation,
            jit=bool(jit) and self.team.strategy is None,
            forward=self.forward,
            strategy=self.team.strategy,
            crew=self.team.workers,
        )

    def _prepare(self, callbacks: Sequence, length: int | None) -> None:
        """Traces the step, which makes every variable that it changes, and sets what the loop asks for."""
        model, train, config, team = self.model, self.train, self.config, self.team
        outputs, self.tracing_seconds = timed(self.steps.trace, self.batches(0, 0).element_spec)
        named = _weights_of(model)
        weights = list(named.values())
        extras = _other_variables([optimizer for optimizer, _ in self.owned.values()], model.metrics, weights)
        extras += [] if self.average is None else self.average.variables.values()
        team.spread(weights, extras)
        team.warn_of_norms(model)
        self.weights, self.extras = named, _numbered("other", extras)
        self.steps_per_epoch = length
        self.batch_size = None if train.foreign or train.sampler else config.batch_size
        self.watched = self._watched(outputs)
        if not team.workers:
            self.glance = None
        figures = self.glance or self.metrics  # between steps, workers do not wait for each other
        self.callbacks = keras_callbacks(callbacks, model, config, length, figures, team.crew.chief)
        self.watchers = self._watchers(callbacks)
        if not self._can_join_updates():
            self.several = None
        self.notes = [*choices_of(self.steps.way, config, team), *notes_on(train, config)]
        self.identity = identity_of(model, train, self.validation, callbacks)

    def batches(self, number: int, start: int) -> tf.data.Dataset:
        """Returns the batches of a pass from one on, and of all later ones where the data can be read anywhere."""
        config = self.config
        make = self.train.stream if self.train.any_order else self.train.batches
        return make(
            config.batch_size,
            shuffle=config.shuffle,
            seed=config.seed,
            epoch=number,
            start=start,
            augment=config.augment,
            mix=config.mix,
            share=self.team.share(self.train),
        )

    def _can_join_updates(self) -> bool:
        # A call for several must not run over the end of the data, and workers must choose the same number.
        known = self.train.steps(self.config.batch_size) is not None or self.flow.endless
        return known and (self.team.workers is None or self.config.steps_per_execution is not None)

    def step(self, flow: BatchFlow) -> Mapping[str, Any]:
        self.last = flow.step(self.steps.train)
        return self.last

    def several(self, flow: BatchFlow, count: int) -> Mapping[str, Any]:
        values = flow.several(self.steps.several, count)
        self.last = {name: value[-1] for name, value in values.items()}
        return values

    def inspected(self, flow: BatchFlow, step: int) -> tuple[Mapping[str, Any], Inspection]:
        if self.own_step:
            checks.refuse(
                "a close look at updates needs a model that trains by compute_loss", type(self.model).__name__
            )
        weights = self.model.trainable_weights
        before = _by_path(weights)
        self.last, gradients, inputs = flow.step(self.steps.inspected)
        known = [(weight, each) for weight, each in zip(weights, gradients, strict=True) if each is not None]
        slopes = {weight.path: each.numpy() for weight, each in known}
        return self.last, Inspection(step, inputs, slopes, before, _by_path(weights))

    def metrics(self) -> Figures:
        if not self.own_step:
            return _scalars(self.results())
        # What a model's own train_step returns counts: it need not keep metrics.
        return self.joined(_scalars(self.last)) or _scalars(self.results())

    def joined(self, logs: Figures) -> Figures:
        """Returns what a model's own step returned; of several replicas, its metrics over all of them instead."""
        if self.team.strategy is None:
            return logs
        used = {metric.name for metric in self.model.metrics if any(np.any(each.numpy()) for each in metric.variables)}
        kept = _scalars(self.results())
        return {name: kept[name] if name in used and name in kept else value for name, value in logs.items()}

    def glance(self) -> Figures:
        known = {metric.name for metric in self.model.metrics} if self.own_step else ()
        watched = {name: value for name, value in _scalars(self.last).items() if name in self.watched}
        return {name: value for name, value in watched.items() if name not in known}

    def figures(self) -> Figures:
        if isinstance(self.model, Trainer) and len(self.owned) > 1:
            rates = {f"{role}_learning_rate": _rate_of(optimizer) for role, (optimizer, _) in self.owned.items()}
            return {**self.metrics(), **rates}
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is None or not optimizer.built:  # a train_step with others of its own leaves it alone
            return self.metrics()
        return {**self.metrics(), "learning_rate": self.learning_rate(int(optimizer.iterations.numpy()))}

    def evaluate(self) -> Figures:
        if self.measured is None:
            return {}
        self.model.reset_metrics()
        self.callbacks.begin_test()
        values: Mapping[str, Any] = {}

        def so_far() -> Figures:
            return self.joined(_scalars(values)) or _scalars(self.results())

        stream, batch, limit = iter(self.measured), 0, self.config.validation_steps
        length = self.validation.steps(self.config.batch_size)
        while batch not in (length, limit):
            self.callbacks.begin_test_step(batch)
            try:
                values = self.steps.test(stream)
            except tf.errors.OutOfRangeError:
                break
            self.callbacks.end_test_step(batch, dict if self.team.workers else so_far)
            batch += 1
        if batch == 0:
            raise DataError("the validation data hold no batches. Check their size, and filters in the pipeline.")
        figures = so_far()
        if not math.isfinite(figures.get("loss", 0.0)):
            check_finite(self.validation.batches(self.config.batch_size), limit, f"validation {self.validation.name}")
        self.callbacks.end_test(figures)
        return {f"val_{name}": value for name, value in figures.items()}

    def _averaging(self) -> list[tuple[keras.optimizers.Optimizer, Sequence]]:
        """Returns the optimizers whose averages are validated and kept: those of a trainer by their own settings."""
        if isinstance(self.model, Trainer):
            return [pair for pair in self.owned.values() if innermost(pair[0]).use_ema]
        return [(self.model.optimizer, self.model.trainable_weights)] if self.config.ema else []

    @contextlib.contextmanager
    def judged(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for optimizer, variables in self._averaging():
                stack.enter_context(averages_in(variables, optimizer))
            yield

    def settle(self, restored: bool) -> None:
        for optimizer, variables in [] if restored else self._averaging():
            optimizer.finalize_variable_values(variables)
        if self.average is not None and self.average.give():
            config = self.config
            settings = {name: getattr(config, name) for name in ("shuffle", "seed", "augment", "mix")}
            limit = config.steps_per_epoch
            if limit and self.train.steps(config.batch_size) is not None:  # a pass, not the head of the data
                limit *= config.epochs
            estimate_statistics(self.model, self.train.batches(config.batch_size, **settings), limit)

    def learning_rate(self, step: int) -> float:
        if self.schedule is not None:
            return float(self.schedule(step - 1))
        optimizer = getattr(self.model, "optimizer", None)
        return math.nan if optimizer is None else _rate_of(optimizer)

    def _watched(self, returned: Mapping[str, Any]) -> list[str]:
        if self.own_step:
            return [name for name in returned if "loss" in name]
        # Under loss scaling, gradients that overflow are expected and their step is left out.
        scaled = isinstance(self.model.optimizer, keras.optimizers.LossScaleOptimizer)
        return ["loss"] if scaled else ["loss", "gradient_norm"]

    def _watchers(self, callbacks: Sequence) -> list[Watcher]:
        plateau, monitor = schedules.as_schedule(self.config.schedule), self.config.monitor
        found = [self.callbacks, *(each for each in callbacks if isinstance(each, Watcher))]
        found += [] if self.average is None else [self.average]
        if not isinstance(plateau, schedules.Plateau):
            return found
        if monitor is None:
            checks.refuse(
                "schedule 'plateau' needs a figure to watch", None, 'Give validation=, or monitor=("loss", "min").'
            )
        return [*found, LowerOnPlateau(monitor, self.model.optimizer, plateau)]


def _scalars(values: Mapping[str, Any]) -> Figures:
    return {name: float(value) for name, value in values.items() if not len(getattr(value, "shape", ()))}


def _numbered(part: str, variables: Sequence[Any]) -> dict[str, Any]:
    # Numbers, not paths: a model built twice in one process has other automatic names.
    return {f"{part}/{index:04d}": variable for index, variable in enumerate(variables)}


def _weights_of(model: keras.Model) -> dict[str, Any]:
    """Returns the variables of a model by stable names, those of a trainer by the roles of its networks."""
    if not isinstance(model, Trainer):
        return _numbered("model", model.variables)
    named = {role: _numbered(role, network.variables) for role, network in model.networks.items()}
    known = {id(variable) for part in named.values() for variable in part.values()}
    named["trainer"] = _numbered("trainer", [each for each in model.variables if id(each) not in known])
    return {name: variable for part in named.values() for name, variable in part.items()}


def _other_variables(optimizers: Sequence, metrics: Sequence, known: Sequence[Any]) -> list[Any]:
    found = [variable for each in [*optimizers, *metrics] for variable in each.variables]
    unique = {id(variable): variable for variable in found}
    for variable in known:
        unique.pop(id(variable), None)
    return list(unique.values())


def _rate_of(optimizer: keras.optimizers.Optimizer) -> float:
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))


def _by_path(variables: Sequence) -> dict[str, np.ndarray]:
    return {variable.path: np.array(variable.numpy()) for variable in variables}
