"""What a model learns from its targets: loss and metrics, smoothed labels and weighted classes."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.task import Task, get_task
from kerasdl.data import Dataset
from kerasdl.data.augment.mixing import is_one_class
from kerasdl.losses import Focal, SmoothedCrossEntropy

from .config import RunConfig
from .label_forms import Labels, form_of, output_shape


def task_of(task: Task | str | None, data: Dataset, loss: Any = None, model: keras.Model | None = None) -> Task | None:
    """Returns the task given, or else that of the data where loss and model leave it open, or None."""
    if task is not None:
        return get_task(task)
    if data.task == "unknown":
        return None
    found = get_task(data.task)
    if loss is None:
        return found
    wanted, outputs = form_of(found.loss()), None if model is None else output_shape(model)
    if wanted is Labels.NUMBERS and outputs is not None and outputs[-1] == 1:  # one score ranks no classes
        return None
    given = form_of(loss, outputs, data.batches(1).element_spec[1])
    return found if given in (wanted, Labels.EITHER, Labels.OTHER) else None


def objective_of(
    task: Task | None, model: keras.Model, loss: Any, metrics: Any, smoothing: float = 0.0
) -> tuple[Any, Any]:
    """Returns the loss, its labels smoothed, and the metrics: those given, or else those of the task for that model.

    Raises:
        ArgumentError: there is neither a loss nor a task.
    """
    if loss is None:
        if task is None:
            checks.refuse("loss must be given where the data do not tell their task", None, "Pass loss= or task=.")
        loss = task.loss_for(model)
    if metrics is None:
        metrics = [] if task is None else task.metrics_for(model)
    if not isinstance(metrics, (list, tuple, Mapping)):
        checks.refuse("metrics must be a list, or a dict by outputs", metrics, "Write metrics=[...].")
    return smoothed(loss, smoothing), metrics


def taking_shares(loss: Any) -> Any:
    """Returns a loss of whole-number labels that takes shares of the classes too; others as they are.

    Raises:
        ArgumentError: the loss has no form for shares.
    """
    if isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
        return SmoothedCrossEntropy(0.0, loss.get_config()["from_logits"], loss.reduction)
    if isinstance(loss, Focal):
        checks.refuse("mix needs a loss that takes shares of the classes", loss.name, "Pass a cross-entropy.")
    return loss


def mixes_classes(config: RunConfig, data: Dataset) -> bool:
    """Returns whether training batches hold shares of the classes where the data hold whole numbers."""
    return config.mix is not None and is_one_class(data.batches(1).element_spec[1])


def smoothed(loss: Any, smoothing: float) -> Any:
    """Returns a cross-entropy with its labels smoothed.

    Raises:
        ArgumentError: the loss is no cross-entropy.
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


def check_parts(loss: Any, strategy: tf.distribute.Strategy, config: RunConfig) -> None:
    """Refuses a loss that is no mean where a batch is computed in parts, whose means are put together."""
    if strategy.num_replicas_in_sync == 1 and config.accumulation == 1:
        return
    kinds = {getattr(each, "reduction", None) for each in keras.tree.flatten(loss)}
    if kinds & {"sum", "none"}:
        checks.refuse("a batch in parts needs a loss with reduction='sum_over_batch_size'", sorted(map(str, kinds)))


def check_outputs(loss: Any, metrics: Any, model: keras.Model) -> None:
    """Refuses losses and metrics that do not tell which of several outputs they belong to."""
    outputs, names = len(getattr(model, "outputs", None) or [None]), list(getattr(model, "output_names", None) or [])
    if outputs == 1:
        return
    if not isinstance(loss, (list, tuple, Mapping)):
        hint = "Pass loss=[...], and targets alike."
        checks.refuse(f"a model of {outputs} outputs must have a loss for each", getattr(loss, "name", loss), hint)
    keys = set(names) | set(model.output if isinstance(model.output, Mapping) else ())
    for kind, given in (("loss", loss), ("metrics", metrics)):
        if isinstance(given, Mapping) and not set(given) <= keys:
            checks.refuse(f"{kind} must name outputs of {model.name!r}, {tuple(names)}", tuple(given))
        if isinstance(given, (list, tuple)) and given and len(given) != outputs:
            hint = f"Pass {kind}=[...] with a part for each of {tuple(names)}, or a dict by these names."
            checks.refuse(f"{kind} of a model of {outputs} outputs must have {outputs} parts", len(given), hint)


def monitor_of(
    config: RunConfig, task: Task | None, metrics: Any, validation: Dataset | None
) -> tuple[str, str] | None:
    """Returns the figure that says which epoch is best, and "max" or "min"; None without validation."""
    if config.monitor is not None or validation is None:
        return config.monitor
    flat = keras.tree.flatten(metrics or [])
    names = {f"val_{each if isinstance(each, str) else getattr(each, 'name', None)}" for each in flat}
    known = task is not None and task.monitor[0] in names
    return task.monitor if known else ("val_loss", "min")
