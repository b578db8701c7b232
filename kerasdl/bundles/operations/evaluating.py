"""Evaluation of a bundle: loss, metrics and figures of its task over labelled data."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import DataError
from kerasdl.core.outputs.activation import output_activations
from kerasdl.core.outputs.broadcast_sums import mended_sums
from kerasdl.core.outputs.measurement import Measurement
from kerasdl.core.registry.prediction import check_single_output
from kerasdl.core.registry.tasks import Task
from kerasdl.data import Dataset, DataWarning
from kerasdl.data.model_fit import check_dataset_fits, warn_of_raw_pixels
from kerasdl.data.pipelines import refuse_endless
from kerasdl.data.trees import unpacked
from kerasdl.train.objectives.weight_checks import fitting_weights

from .evaluation_data import choose_evaluation_data
from .label_forms import labels_for, plain_label_errors


def check_classes(data: Dataset, labels: tuple[str, ...], outputs: int, name: str) -> None:
    """Refuses data with other classes than the labels of the bundle `name`; without labels its classes are numbers."""
    numbers = tuple(map(str, range(outputs)))
    own = labels or numbers
    if data.class_names not in ((), own):
        by_number = "If these numbers stand for them, pass as_dataset(data, class_names=bundle.labels)."
        hint = by_number if data.class_names == numbers else "Fine-tune the bundle on this data first."
        checks.refuse(f"data for {name} must have its classes {own}", data.class_names, hint)


def evaluate_bundle(
    bundle: Any,
    data: Any,
    batch_size: int,
    each_batch: Callable | None = None,
    keep: Callable[[Measurement], None] | None = None,
) -> dict[str, float]:
    """Returns loss and metrics of a bundle over labelled data.

    Args:
        bundle: the bundle.
        data: data as in `Bundle.evaluate`; of a name the choice of images is told by a `DataWarning`.
        batch_size: examples computed at once.
        each_batch: called with (targets, outputs) of each batch, for a task without a trainer.
        keep: called with the measurement of a task that has figures of its own.

    Raises:
        ArgumentError: data or labels do not fit the model, or the data are endless.
        DataError: the data are empty, cannot be read, or were all in the training, or a figure is not finite.
    """
    if isinstance(data, (str, os.PathLike)):
        chosen = choose_evaluation_data(bundle, data)
        for note in chosen.notes:
            checks.warn(note, DataWarning)
        data = chosen.dataset
    dataset, task, model = bundle.ready(data, split="test"), bundle.task, bundle.model
    if task.trainer is not None or task.predict is not None:
        if bundle.labels:
            check_classes(dataset, bundle.labels, len(bundle.labels), bundle.name)
        return evaluate_networks(bundle.networks, task, dataset, batch_size, keep)
    check_single_output(model, "evaluate")
    check_classes(dataset, bundle.labels, model.outputs[0].shape[-1], bundle.name)
    check_dataset_fits(model, dataset)
    warn_of_raw_pixels(model, dataset)
    dataset = labels_for(model, dataset, task, bundle.labels)
    return evaluate_model(bundle.networks["model"], task, dataset, batch_size, each_batch)


def evaluate_networks(
    networks: Mapping[str, keras.Model],
    task: Task,
    data: Dataset,
    batch_size: int,
    keep: Callable[[Measurement], None] | None = None,
) -> dict[str, float]:
    """Returns figures of networks over a finite dataset, from the task's trainer and from the task.

    Args:
        networks: networks by role.
        task: a task with a trainer or with figures.
        data: examples as the trainer takes them.
        batch_size: examples per step; a foreign pipeline has its own batch size.
        keep: called with the measurement of a task that has figures of its own.

    Raises:
        ArgumentError: the data are endless, or neither trainer nor task measures anything.
        DataError: a figure is not finite.
    """
    refuse_endless(f"{data.name}, to be evaluated,", data, "Drop .repeat(), or pass data.take(n).")
    with mended_sums():
        figures = _figures_of_networks(networks, task, data, batch_size, keep)
    if not figures:
        hint = "Give the task figures=, or its trainer a compute_loss or test_step."
        checks.refuse(f"the task {task.name} must have something to measure", "neither", hint)
    for name, value in figures.items():
        if not np.isfinite(value):
            raise DataError(f"{name} over {data.name} is {value}. Look for NaN and very large values in the data.")
    return {name: float(value) for name, value in figures.items()}


def _figures_of_networks(
    networks: Mapping[str, keras.Model],
    task: Task,
    data: Dataset,
    batch_size: int,
    keep: Callable[[Measurement], None] | None,
) -> dict[str, float]:
    """Returns the figures of `evaluate_networks`, none where neither trainer nor task measures anything."""
    figures: dict[str, float] = {}
    trainer = None if task.trainer is None else task.trainer(dict(networks))
    if trainer is not None and measures(trainer):
        loss = task.loss() if getattr(trainer, "takes_loss", False) else None
        trainer.compile(loss=loss, metrics=task.metrics() or None)
        figures |= trainer.evaluate(data.batches(batch_size), verbose=0, return_dict=True)
    if task.figures is not None:
        found = task.figures(networks, data)
        measured = found if isinstance(found, Measurement) else Measurement(found)
        figures |= measured.figures
        if keep is not None:
            keep(measured)
    return figures


def measures(trainer: keras.Model) -> bool:
    """Returns whether a trainer computes a loss or has a test step of its own."""
    own = [getattr(type(trainer), name) is not getattr(keras.Model, name) for name in ("compute_loss", "test_step")]
    return any(own)


def evaluate_model(
    model: keras.Model, task: Task, data: Dataset, batch_size: int, each_batch: Callable | None = None
) -> dict[str, float]:
    """Returns the mean weighted loss over a finite dataset and the metrics, as Keras computes them.

    Args:
        model: a model of one output.
        task: the task with loss and metrics.
        data: labelled examples as the model takes them; see `fitting_labels`.
        batch_size: examples per step; a foreign pipeline has its own batch size.
        each_batch: called with (targets, outputs) of each batch.

    Raises:
        ArgumentError: the data are endless, or a label does not fit.
        DataError: the data are empty, or the loss over them is not finite.
    """
    refuse_endless(f"{data.name}, to be evaluated,", data, "Drop .repeat(), or pass data.take(n).")
    loss, metrics = task.loss_for(model), task.metrics_for(model)
    data = fitting_weights(data, loss, model)
    total, examples = 0.0, 0
    with plain_label_errors(), mended_sums():
        for batch in data.batches(batch_size):
            inputs, targets, weights = unpacked(batch)
            (outputs,) = keras.tree.flatten(model(inputs, training=False))
            count = int(tf.shape(targets)[0])
            total += float(loss(targets, outputs, sample_weight=weights)) * count
            examples += count
            for metric in metrics:
                metric.update_state(targets, outputs)
            if each_batch is not None:
                each_batch(targets, outputs)
    if not examples:
        raise DataError(f"data to evaluate must hold at least one example; {data.name} holds none.")
    figures = {"loss": total / examples, **{metric.name: float(metric.result()) for metric in metrics}}
    if not np.isfinite(figures["loss"]):
        rule = f"the loss over {data.name} must be a finite number; got {figures['loss']}"
        raise DataError(f"{rule}. Look for NaN and very large values in the data, and in the weights.")
    return figures


def kind_of_outputs(model: keras.Model, task: Task, declared: str) -> str:
    """Returns the kind of a bundle's outputs: `logits`, `probabilities` or `values`.

    Args:
        model: model of the bundle.
        task: a task with an activation has logits or probabilities, any other values.
        declared: kind in the manifest, or "".

    Raises:
        ArgumentError: the manifest contradicts the graph, or a classifier gives neither.
    """
    if task.activation is None:
        return declared or "values"
    if model.outputs[0].shape[-1] == 1 and task.activation == "softmax":
        hint = "A net of one sigmoid is multi_label_classification with one label."
        checks.refuse("a classifier must have an output for each class, 2 or more", 1, hint)
    return _agreed(model, declared)


def _agreed(model: keras.Model, declared: str) -> str:
    end: Any = output_activations(model)[0]
    if end.is_rescaled:
        rule = "a classifier must give logits or probabilities"
        checks.refuse(rule, f"{end.kind} of {end.layer}", "Leave that layer out of the model.")
    shown = "probabilities" if end.gives_probabilities else "logits" if end.gives_logits else ""
    if declared and shown and declared != shown:
        rule = f"outputs in bundle.json must say what the model gives, {shown} ({end.layer} ends in {end.kind})"
        checks.refuse(rule, declared)
    return declared or shown or "logits"
