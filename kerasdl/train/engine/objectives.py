"""What a model learns from its targets: loss and metrics, smoothed labels and weighted classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.task import Task, get_task
from kerasdl.data import Dataset
from kerasdl.data.augment.mixing import is_one_class
from kerasdl.losses import Focal, SmoothedCrossEntropy

from .config import RunConfig


def task_of(task: Task | str | None, data: Dataset) -> Task | None:
    """Returns the task given, or else that of the data, or None."""
    if task is not None:
        return get_task(task)
    return None if data.task == "unknown" else get_task(data.task)


def objective_of(task: Task | None, loss: Any, metrics: Sequence | None, smoothing: float = 0.0) -> tuple[Any, list]:
    """Returns the loss, its labels smoothed, and the metrics: those given, or else those of the task.

    Raises:
        ArgumentError: there is neither a loss nor a task.
    """
    if loss is None:
        if task is None:
            checks.refuse("loss must be given where the data do not tell their task", None, "Pass loss= or task=.")
        loss = task.loss()
    if metrics is None:
        metrics = [] if task is None else task.metrics()
    return smoothed(loss, smoothing), list(metrics)


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


def class_weight_table(weights: Mapping[int, float] | str | None, data: Dataset, classes: int = 0) -> np.ndarray | None:
    """Returns the weight of each class, float32 (K,); None for None.

    Args:
        weights: from class to weight (1 where a class is missing), or `"balanced"`, which reads the labels once and
            gives each class that occurs `examples / (classes that occur * examples of the class)`.
        data: the training data.
        classes: how many there are at least, as far as the model tells.

    Raises:
        ArgumentError: the labels are no whole numbers, or there is no end to them.
    """
    if weights is None:
        return None
    labels = data.batches(1).element_spec[1]
    if not labels.dtype.is_integer:
        checks.refuse("class_weights needs whole-number labels", labels.dtype.name)
    if weights == "balanced":
        if data.steps(1) is None:
            checks.refuse('class_weights="balanced" needs data of known length', data.name, "Pass a dict.")
        found = np.concatenate([y.ravel() for _, y in data.batches(1024).as_numpy_iterator()])
        counts = np.bincount(found, minlength=classes)
        occurring = np.count_nonzero(counts)
        return (counts.sum() / (occurring * np.maximum(counts, 1)) * (counts > 0)).astype(np.float32)
    table = np.ones(max(len(data.class_names), classes, max(weights) + 1), np.float32)
    for label, weight in weights.items():
        table[checks.at_least("a class", label, 0)] = checks.within("a class weight", weight, 0.0, 1e9)
    return table


def check_parts(loss: Any, strategy: tf.distribute.Strategy, config: RunConfig) -> None:
    """Refuses a loss that is no mean where a batch is computed in parts, whose means are put together."""
    if strategy.num_replicas_in_sync == 1 and config.accumulation == 1:
        return
    kinds = {getattr(each, "reduction", None) for each in keras.tree.flatten(loss)}
    if kinds & {"sum", "none"}:
        checks.refuse("a batch in parts needs a loss with reduction='sum_over_batch_size'", sorted(map(str, kinds)))


def check_outputs(loss: Any, model: keras.Model) -> None:
    """Refuses one loss for several outputs."""
    outputs = len(getattr(model, "outputs", None) or [None])
    if outputs > 1 and not isinstance(loss, (list, tuple, dict)):
        hint = "Pass loss=[...], and targets alike."
        checks.refuse(f"a model of {outputs} outputs must have a loss for each", getattr(loss, "name", loss), hint)


def check_labels(loss: Any, model: keras.Model, train: Dataset) -> None:
    """Refuses labels in memory that lie outside the model's outputs."""
    labels = getattr(train.source, "labels", None)
    if labels is None or not isinstance(
        loss, (keras.losses.SparseCategoricalCrossentropy, SmoothedCrossEntropy, Focal)
    ):
        return
    outputs = model.outputs[0].shape[-1] if getattr(model, "outputs", None) else None
    if outputs is not None and not 0 <= labels.min() <= labels.max() < outputs:
        rule = f"labels must be whole numbers from 0 to {outputs - 1}, as the model has {outputs} outputs"
        checks.refuse(rule, [int(labels.min()), int(labels.max())])


def monitor_of(
    config: RunConfig, task: Task | None, metrics: Sequence | None, validation: Dataset | None
) -> tuple[str, str] | None:
    """Returns the figure that says which epoch is best, and "max" or "min"; None without validation."""
    if config.monitor is not None or validation is None:
        return config.monitor
    names = {f"val_{metric if isinstance(metric, str) else metric.name}" for metric in metrics or ()}
    known = task is not None and task.monitor[0] in names
    return task.monitor if known else ("val_loss", "min")
