"""Compilation of a model from the settings of a run: optimizer, and metrics in the scope of a strategy."""

import dataclasses
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks

from ..config import RunConfig
from ..distribute import strategies
from ..distribute.placement import copy_optimizers
from ..optim import schedules
from ..optim.optimizers import exempt_from_decay, make_optimizer, schedule_of
from ..trainer import Trainer, functional_model

_COMPILED_BY_FIT: weakref.WeakSet = weakref.WeakSet()
_USER_COMPILES: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
DEFAULT_OPTIMIZER = "adamw"


@dataclass(frozen=True)
class UserCompile:
    """Arguments with which the user of a model compiled it."""

    optimizer: Any = None
    loss: Any = None
    loss_weights: Any = None
    metrics: Any = None
    weighted_metrics: Any = None
    run_eagerly: bool = False


def user_compile(model: keras.Model) -> UserCompile | None:
    """Returns how the user compiled a model, before any call of `fit` too; None where `fit` alone compiled it."""
    if not getattr(model, "compiled", False) or isinstance(model, Trainer):
        return None
    if not is_compiled_by_fit(model):
        own_compile = model._compile_config.config  # no public name in Keras
        names = [field.name for field in dataclasses.fields(UserCompile)]
        own = {name: own_compile.get(name) for name in names} | {"optimizer": _unscaled(model.optimizer)}
        _USER_COMPILES[model] = UserCompile(**own)
    return _USER_COMPILES.get(model)


def _unscaled(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Returns the optimizer inside the one by which Keras scales the loss of a float16 model."""
    return optimizer.inner_optimizer if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) else optimizer


def with_optimizer(config: RunConfig, own_compile: UserCompile | None) -> RunConfig:
    """Returns settings that name an optimizer: their own, else that of the user's compile, else AdamW."""
    if config.optimizer is not None:
        return config
    return dataclasses.replace(config, optimizer=(own_compile and own_compile.optimizer) or DEFAULT_OPTIMIZER)


def compile_notes(own_compile: UserCompile | None, config: RunConfig, loss: Any, metrics: Any) -> list[str]:
    """Returns lines on what a run keeps of the user's compile, and what the call of `fit` replaces.

    Args:
        own_compile: the result of `user_compile`.
        config: settings of the call, as its user gave them.
        loss: the argument of the call.
        metrics: the argument of the call.
    """
    if own_compile is None:
        return []
    wrapped = hasattr(config.optimizer, "inner_optimizer")  # as fine-tuning wraps that of the compile
    named = own_compile.optimizer is not None and not wrapped
    parts = {type(own_compile.optimizer).__name__: config.optimizer is None} if named else {}
    parts |= {} if own_compile.loss is None else {"loss": loss is None}
    parts |= {} if not (own_compile.metrics or own_compile.weighted_metrics) else {"metrics": metrics is None}
    kept, replaced = ([part for part, is_kept in parts.items() if is_kept == wanted] for wanted in (True, False))
    lines = [f"keeps {_listed(kept)} of the model's compile"] if kept else []
    if own_compile.run_eagerly:
        lines.append("runs its steps as graphs, whatever run_eagerly of the model's compile is")
    return [*lines, *([f"replaces {_listed(replaced)} of the model's compile, as this call says"] if replaced else [])]


def _listed(parts: list[str]) -> str:
    return " and ".join([*([", ".join(parts[:-1])] if parts[1:] else []), parts[-1]])


def optimizer_of(config: RunConfig, steps_in_all: int | None, model: keras.Model) -> keras.optimizers.Optimizer:
    """Returns the optimizer that the settings of a run describe."""
    plain = make_optimizer(config.optimizer, {"learning_rate": config.learning_rate})
    schedule = schedules.as_schedule(config.schedule)
    rate = None
    if not isinstance(schedule, schedules.Constant):
        if schedule_of(plain) is not None:
            checks.refuse("an optimizer with a schedule of its own needs schedule='constant'", config.schedule)
        own = float(keras.ops.convert_to_numpy(plain.learning_rate))
        rate = schedule.over(own if config.learning_rate is None else config.learning_rate, steps_in_all)
    clipping = {"global_clipnorm": config.clip_norm, "clipnorm": config.clip_each_norm, "clipvalue": config.clip_value}
    own = {"weight_decay": config.weight_decay, "momentum": config.momentum}
    averaging = {"use_ema": True, "ema_momentum": config.ema} if config.ema else {}
    optimizer = make_optimizer(plain, {"learning_rate": rate, **clipping, **own, **averaging})
    if config.decay_exempt:
        exempt_from_decay(optimizer, model)
    _COMPILED_BY_FIT.add(optimizer)
    return optimizer


def mark_as_own(model: keras.Model) -> None:
    """Marks the compile of a model as one of kerasdl, such as for an evaluation, which `fit` does not inherit."""
    _COMPILED_BY_FIT.add(model.optimizer)


def is_compiled_by_fit(model: keras.Model) -> bool:
    """Returns whether an earlier call of `fit` compiled a model, rather than its user."""
    return getattr(model, "optimizer", None) in _COMPILED_BY_FIT


def metrics_in_scope(metrics: Sequence, strategy: tf.distribute.Strategy) -> Sequence:
    """Returns copies of metrics with new variables in the current scope."""
    if strategy is strategies.plain():
        return metrics

    def copied(metric):
        return type(metric).from_config(metric.get_config()) if isinstance(metric, keras.metrics.Metric) else metric

    return keras.tree.map_structure(copied, metrics)


def compile_like(
    inner: keras.Model, model: keras.Model, config: RunConfig, loss: Any, metrics: Sequence, **weights: Any
) -> None:
    """Compiles a model like its trained copy `inner`, with the state of the optimizer."""
    optimizer = type(inner.optimizer).from_config(inner.optimizer.get_config())
    _COMPILED_BY_FIT.add(optimizer)
    model.compile(optimizer, loss=loss, metrics=metrics, **weights)
    if config.decay_exempt:
        exempt_from_decay(optimizer, model)
    copy_optimizers(inner, model)


def build_metrics(model: keras.Model, batch_spec: Any, has_class_weights: bool, soft_labels: bool) -> None:
    """Creates the metrics of a compiled model whose outputs are known; a step that creates variables is traced twice.

    Args:
        model: a compiled model. Where its class computes outputs, losses or metrics of its own, the step creates them.
        batch_spec: the specs of x, y and, where there are any, sample weights.
        has_class_weights: whether the step changes the shapes of labels and outputs before the loss.
        soft_labels: whether the step gives the metrics the largest of the labels (B, K).
    """
    outputs = _known_outputs(model)
    _, y, _ = keras.utils.unpack_x_y_sample_weight(batch_spec)
    if outputs is None or y is None or any(spec.shape.rank is None for spec in tf.nest.flatten(y)):
        return
    outputs = tf.nest.map_structure(lambda each: tf.TensorSpec(each.shape, each.dtype), outputs)
    metrics, loss = model._compile_metrics, model._compile_loss  # no public names in Keras
    if metrics is not None and not metrics.built and type(model).compute_metrics is keras.Model.compute_metrics:
        metrics.build(tf.TensorSpec(y.shape[:-1], tf.int64) if soft_labels else y, outputs)
    own_loss = has_class_weights or type(model).compute_loss is not keras.Model.compute_loss
    if loss is not None and not loss.built and not own_loss and _nested_alike(y, outputs):
        loss.build(y, outputs)


def _nested_alike(labels: Any, outputs: Any) -> bool:
    try:
        keras.tree.assert_same_structure(labels, outputs)
    except ValueError:  # the loss rearranges such labels in the step
        return False
    return True


def _known_outputs(model: keras.Model) -> Any:
    """Returns the symbolic outputs of a model as its call nests them, or None where only a call tells them."""
    if isinstance(model, Trainer) and model.feeds_main:
        model = model.main
    if isinstance(model, keras.Sequential):
        return model.outputs[0] if type(model).call is keras.Sequential.call else None
    says_so = type(model).call is functional_model().call or "output" in vars(type(model))
    return model.output if says_so else None
