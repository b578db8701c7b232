"""Loss and metrics of a run: defaults of the task, label smoothing, and checks against the model."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.outputs.loss_scale import check_from_logits, check_thresholds
from kerasdl.core.registry.tasks import Task, get_task
from kerasdl.data import Dataset
from kerasdl.data.augment.mixing import is_one_class
from kerasdl.losses import Focal, SmoothedCrossEntropy

from ..config import RunConfig
from .label_forms import LabelForm, by_output, form_of, output_shape


def task_of(task: Task | str | None, data: Dataset, loss: Any = None, model: Any = None) -> Task | None:
    """Returns the given task, else that of the data where loss and model fit it, else None."""
    if task is not None:
        return get_task(task)
    if data.task == "unknown":
        return None
    data_task = get_task(data.task)
    if loss is None:
        return data_task
    if len(getattr(model, "outputs", None) or ()) > 1:  # a task of the data is of one output
        return None
    task_form, outputs = form_of(data_task.loss()), None if model is None else output_shape(model)
    if task_form is LabelForm.NUMBERS and outputs is not None and outputs[-1] == 1:  # one score is no class score
        return None
    loss_form = form_of(loss, outputs, data.spec[1])
    return data_task if loss_form in (task_form, LabelForm.EITHER, LabelForm.OTHER) else None


def objective_of(
    task: Task | None, model: keras.Model, loss: Any, metrics: Any, smoothing: float = 0.0, sample: Any = None
) -> tuple[Any, Any]:
    """Returns the loss, its labels smoothed, and the metrics: those given, or else those of the task for that model.

    Args:
        task: the task of the data, or None.
        model: the model in training.
        loss: as in `compile`; None takes that of the task.
        metrics: as in `compile`; None takes those of the task.
        smoothing: share of the label probability spread evenly over the classes.
        sample: as in `output_activations`, to find the outputs of a subclassed model.

    Raises:
        ArgumentError: there is neither a loss nor a task.
    """
    if loss is None and task is None and type(model).compute_loss is not keras.Model.compute_loss:
        return None, metrics or []
    if loss is None:
        if task is None:
            checks.refuse("loss must be given where the data have no task", None, "Pass loss= or task=.")
        loss = task.loss_for(model, sample)
    if metrics is None:
        metrics = [] if task is None else task.metrics_for(model, sample)
    if not isinstance(metrics, (list, tuple, Mapping)):
        checks.refuse("metrics must be a list, or a dict by outputs", metrics, "Write metrics=[...].")
    return with_label_smoothing(_unwrapped("loss", loss, model), smoothing), _unwrapped("metrics", metrics, model)


def _unwrapped(kind: str, nested: Any, model: Any) -> Any:
    """Returns the value in a dict of one output, since a model without a graph does not know its name."""
    outputs = getattr(model, "outputs", None) or [None]
    if kind == "loss" and len(outputs) == 1 and isinstance(nested, (list, tuple)) and len(nested) == 1:
        return nested[0]
    if len(outputs) > 1 or not isinstance(nested, Mapping) or len(nested) != 1:
        return nested
    ((name, part),) = nested.items()
    names = [*(getattr(model, "output_names", None) or ()), *_keys(model)]
    if names:
        checks.one_of(f"the name of the output in {kind}", name, tuple(dict.fromkeys(names)))
    return [part] if kind == "metrics" and not isinstance(part, (list, tuple)) else part


def _keys(model: Any) -> tuple[str, ...]:
    nested = getattr(model, "output", None) if getattr(model, "outputs", None) else None
    return tuple(nested) if isinstance(nested, Mapping) else ()


def with_soft_labels(loss: Any) -> Any:
    """Returns a loss of class numbers in a form that also takes soft labels; other losses unchanged.

    Raises:
        ArgumentError: the loss has no form for soft labels.
    """
    if isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
        return SmoothedCrossEntropy(0.0, loss.get_config()["from_logits"], loss.reduction)
    if isinstance(loss, Focal):
        checks.refuse("mix needs a loss that takes shares of the classes", loss.name, "Pass a cross-entropy.")
    return loss


def makes_soft_labels(config: RunConfig, data: Dataset) -> bool:
    """Returns whether training batches hold soft labels while the data hold class numbers."""
    return config.mix is not None and not tf.nest.is_nested(data.spec[1]) and is_one_class(data.spec[1])


def with_label_smoothing(loss: Any, smoothing: float) -> Any:
    """Returns a cross-entropy with label smoothing.

    Raises:
        ArgumentError: the loss is not a cross-entropy.
    """
    if not smoothing:
        return loss
    config = loss.get_config() if isinstance(loss, keras.losses.Loss) else {}
    if isinstance(loss, (keras.losses.CategoricalCrossentropy, keras.losses.BinaryCrossentropy)):
        return type(loss).from_config({**config, "label_smoothing": smoothing})
    if isinstance(loss, keras.losses.SparseCategoricalCrossentropy) and config.get("ignore_class") is None:
        return SmoothedCrossEntropy(smoothing, config["from_logits"], config["reduction"])
    name = getattr(loss, "name", getattr(loss, "__name__", loss))
    hint = "Pass a cross-entropy object of keras.losses (without ignore_class), or label_smoothing=0."
    checks.refuse("label_smoothing needs a cross-entropy as loss", name, hint)


def check_split_batches(
    loss: Any, strategy: tf.distribute.Strategy, config: RunConfig, model_outputs: Any = None
) -> None:
    """Refuses a loss that is not a mean over all predictions where batches are split over replicas or micro-batches.

    Args:
        loss: as in `compile`.
        strategy: the strategy, whose replicas split a batch.
        config: the settings, whose `accumulation` splits a batch.
        model_outputs: the result of `outputs_of`; None where unknown.
    """
    if strategy.num_replicas_in_sync == 1 and config.accumulation == 1:
        return
    kinds = {getattr(each, "reduction", None) for each in keras.tree.flatten(loss)}
    if kinds & {"sum", "none"}:
        checks.refuse("a batch in parts needs a loss with reduction='sum_over_batch_size'", sorted(map(str, kinds)))
    hint = "Parts have unlike numbers of predictions that count: pass accumulation=1 and strategy=None."
    for each in keras.tree.flatten(loss):
        if getattr(each, "compares_examples", False):
            rule = "a batch in parts needs a loss that takes each example by itself"
            checks.refuse(
                rule, each.name, "It compares the examples of a batch: pass accumulation=1 and strategy=None."
            )
        ignored = each.get_config().get("ignore_class") if isinstance(each, keras.losses.Loss) else None
        if ignored is not None:
            checks.refuse("a batch in parts needs a loss that counts every prediction", f"ignore_class={ignored}", hint)
    # Keras has no public name for the mask of an output, by which a loss leaves predictions out.
    masked = [
        each for each in getattr(model_outputs, "outputs", None) or () if getattr(each, "_keras_mask", None) is not None
    ]
    if masked:
        checks.refuse("a batch in parts needs outputs without a mask", tuple(masked[0].shape), hint)


def check_outputs(loss: Any, metrics: Any, model: Any) -> None:
    """Refuses losses and metrics that do not show their outputs where a model has several."""
    outputs, names = len(getattr(model, "outputs", None) or [None]), list(getattr(model, "output_names", None) or [])
    if outputs == 1:
        return
    if not isinstance(loss, (list, tuple, Mapping)):
        hint = "Pass loss=[...], and targets alike."
        checks.refuse(f"a model of {outputs} outputs must have a loss for each", getattr(loss, "name", loss), hint)
    keys = set(names) | set(_keys(model))
    for kind, nested in (("loss", loss), ("metrics", metrics)):
        if isinstance(nested, Mapping) and not set(nested) <= keys:
            checks.refuse(f"{kind} must name outputs of {model.name!r}, {tuple(names)}", tuple(nested))
        if isinstance(nested, (list, tuple)) and nested and _keys(model):
            checks.refuse(f"{kind} of a model with outputs in a dict must name them, {_keys(model)}", "a list")
        if isinstance(nested, (list, tuple)) and nested and len(nested) != outputs:
            hint = f"Pass {kind}=[...] with a part for each of {tuple(names)}, or a dict by these names."
            checks.refuse(f"{kind} of a model of {outputs} outputs must have {outputs} parts", len(nested), hint)


def check_scales(loss: Any, metrics: Any, model: keras.Model, model_outputs: Any, sample: Any = None) -> None:
    """Refuses losses and metrics that treat logits of a model as probabilities, or probabilities as logits.

    Args:
        loss: as in `compile`.
        metrics: as in `compile`.
        model: the model in training.
        model_outputs: the result of `outputs_of`.
        sample: as in `output_activations`.
    """
    check_from_logits(loss, model, sample)
    outputs, names = getattr(model_outputs, "outputs", None), list(getattr(model_outputs, "output_names", None) or [])
    if outputs:
        pairs = zip(outputs, *(by_output(each, names, len(outputs)) for each in (loss, metrics)), strict=True)
        for output, losses, judges in pairs:
            check_thresholds(losses[0] if losses else None, judges, output.shape[-1])


def monitor_of(
    config: RunConfig, task: Task | None, metrics: Any, validation: Dataset | None
) -> tuple[str, str] | None:
    """Returns the figure that selects the best epoch, and "max" or "min"; None without validation."""
    if config.monitor is not None or validation is None:
        return config.monitor
    flat = keras.tree.flatten(metrics or [])
    names = {f"val_{each if isinstance(each, str) else getattr(each, 'name', None)}" for each in flat}
    known = task is not None and task.monitor[0] in names
    return task.monitor if known else ("val_loss", "min")
