"""Evaluation of a bundle's model: loss and metrics of its task, each example counted once."""

from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import DataError
from kerasdl.core.output_activation import output_activations
from kerasdl.core.task import Task
from kerasdl.data import Dataset

from .label_forms import plain_label_errors


def check_single_output(model: keras.Model, doing: str) -> None:
    """Refuses a model of several outputs by their names."""
    if len(model.outputs) > 1:
        names = list(getattr(model, "output_names", ())) or len(model.outputs)
        hint = "Make a model of one of them: keras.Model(model.inputs, model.outputs[0])."
        checks.refuse(f"a bundle to {doing} must have a model of one output", names, hint)


def evaluate_model(model: keras.Model, task: Task, data: Dataset, batch_size: int) -> dict[str, float]:
    """Returns the mean loss over the examples of a finite dataset, and the metrics.

    Args:
        model: a model of one output.
        task: whose loss and metrics are taken.
        data: labelled examples as the model takes them; see `fitting_labels`.
        batch_size: examples computed at once; a foreign pipeline has its own.

    Raises:
        ArgumentError: there is no end to the data, or a label does not fit.
        DataError: there are none.
    """
    if isinstance(data.source, tf.data.Dataset) and data.source.cardinality() == tf.data.INFINITE_CARDINALITY:
        checks.refuse(
            "data to evaluate must come to an end", f"{data.name}, which repeats", "Drop .repeat(), or .take(n)."
        )
    loss, metrics = task.loss_for(model), task.metrics_for(model)
    total, examples = 0.0, 0
    with plain_label_errors():
        for inputs, targets in data.batches(batch_size):
            outputs = model(inputs, training=False)
            count = int(tf.shape(targets)[0])
            total += float(loss(targets, outputs)) * count
            examples += count
            for metric in metrics:
                metric.update_state(targets, outputs)
    if not examples:
        raise DataError(f"data to evaluate must hold at least one example; {data.name} holds none.")
    return {"loss": total / examples, **{metric.name: float(metric.result()) for metric in metrics}}


def outputs_of(model: keras.Model, task: Task, said: str) -> str:
    """Returns what a bundle's model gives: `logits`, `probabilities` or `values`.

    Args:
        model: its model.
        task: a task with an activation has logits or probabilities, another one values.
        said: what the manifest says, or nothing.

    Raises:
        ArgumentError: the manifest says something else than the graph shows.
    """
    if task.activation is None:
        return said or "values"
    if model.outputs[0].shape[-1] == 1 and task.activation == "softmax":
        hint = "A net of one sigmoid is multi_label_classification with one label."
        checks.refuse("a classifier must have an output for each class, 2 or more", 1, hint)
    return _agreed(model, said)


def _agreed(model: keras.Model, said: str) -> str:
    end: Any = output_activations(model)[0]
    shown = "probabilities" if end.gives_probabilities else "logits" if end.gives_logits else ""
    if said and shown and said != shown:
        rule = f"outputs in bundle.json must say what the model gives, {shown} ({end.layer} ends in {end.kind})"
        checks.refuse(rule, said)
    return said or shown or "logits"
