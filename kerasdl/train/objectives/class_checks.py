"""Class checks before a run: a loss for the labels, equal classes of both data, several classes, a head for them."""

from collections.abc import Mapping
from typing import Any, NoReturn

import keras
import numpy as np

from kerasdl.core import checks
from kerasdl.core.registry.index import load_index
from kerasdl.data import Dataset

from .label_forms import LabelForm, form_of

BETWEEN = (keras.layers.Activation, keras.layers.Softmax, keras.layers.Dropout, keras.layers.Flatten)
"""Layers that may stand between the head of a classifier and its output."""


def refuse_without_loss(data: Dataset) -> NoReturn:
    """Raises `ArgumentError` for data that do not tell their loss, with the remedy for their labels."""
    labels = data.source.labels if data.any_order else data.spec[1]
    rule = "loss must be given where the data do not tell their task"
    hint = f"Pass loss=, or task= ({', '.join(sorted(load_index()['tasks']))})."
    if (isinstance(labels, np.ndarray) and labels.dtype.kind in "USO") or getattr(labels, "dtype", None) == "string":
        hint = "Number the classes of labels that are texts: names, labels = np.unique(labels, return_inverse=True)."
    elif _is_one_hot(labels):
        form = "CategoricalCrossentropy(from_logits=True)"
        hint = f"For one-hot labels pass loss=keras.losses.{form}, or their numbers, labels.argmax(-1)."
    elif isinstance(labels, (list, tuple, Mapping)) and len(labels) > 1:
        hint = f"An example has {len(labels)} labels: pass loss=[...], a loss for each output, or a dict by name."
    elif _is_float(labels):
        hint = 'Labels are floats. Of classes pass labels.astype("int32"); of a figure pass loss="mse".'
    checks.refuse(rule, None, hint)


def _is_float(labels: Any) -> bool:
    """Returns whether labels, or their spec, are one real number an example."""
    shape = getattr(labels, "shape", None)
    return shape is not None and len(shape) in (1, 2) and "float" in str(getattr(labels.dtype, "name", labels.dtype))


def _is_one_hot(labels: Any) -> bool:
    """Returns whether labels are, or by their spec may be, one-hot rows of two classes or more."""
    shape = getattr(labels, "shape", None)
    if shape is None or len(shape) != 2 or shape[1] == 1:
        return False
    return not isinstance(labels, np.ndarray) or bool(np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all())


def check_same_classes(train: Dataset, validation: Dataset | None) -> None:
    """Refuses validation data of other classes, whose numbers would mean other names.

    Raises:
        ArgumentError: the names of the classes differ; numbered classes may be fewer.
    """
    names, others = train.class_names, () if validation is None else validation.class_names
    if not names or not others or names == others or _are_numbers(names) or _are_numbers(others):
        return
    missing, unknown = [each for each in names if each not in others], [each for each in others if each not in names]
    parts = [f"{word} {listed[:8]}" for word, listed in (("lacks", missing), ("has also", unknown)) if listed]
    rule = f"validation data must have the {len(names)} classes of the training data, in their order"
    hint = "Their numbers would stand for other names: give both the same class folders."
    checks.refuse(rule, f"{validation.name}, which {' and '.join(parts) or 'has another order'}", hint)


def _are_numbers(names: tuple[str, ...]) -> bool:
    return names == tuple(str(number) for number in range(len(names)))


def class_remarks(model: Any, data: Dataset, loss: Any) -> list[str]:
    """Returns what looks like a mistake in labels and model of a classifier: one class, no head, too many outputs."""
    outputs = getattr(model, "outputs", None) or []
    if len(outputs) != 1 or form_of(loss, tuple(outputs[0].shape), data.spec[1]) is not LabelForm.NUMBERS:
        return []
    remarks, labels = [], data.source.labels if data.any_order else None
    if isinstance(labels, np.ndarray) and len(labels) > 1 and (labels == labels.flat[0]).all():
        remarks.append(
            f"all {len(labels)} labels of {data.name} are {labels.flat[0]}: there is nothing to tell apart, and any "
            "accuracy says nothing. Give examples of two classes or more."
        )
    pooling, count = _last_pooling(outputs[0]), len(data.class_names)
    if pooling is not None and 0 < count < outputs[0].shape[-1]:
        remarks.append(
            f"{model.name!r} ends in the pooling layer {pooling.name!r} with {outputs[0].shape[-1]} features, and "
            f"{data.name} has {count} classes: the head is missing. Add keras.layers.Dense({count})."
        )
    elif len(outputs[0].shape) == 2 and 0 < count < outputs[0].shape[-1] and not _are_numbers(data.class_names):
        remarks.append(
            f"{model.name!r} has {outputs[0].shape[-1]} outputs, and {data.name} has {count} classes: no label is of "
            f"the other outputs. End the model in keras.layers.Dense({count})."
        )
    return remarks


def rare_classes_note(data: Dataset) -> list[str]:
    """Returns a line on classes with one example or none, where others have more; nothing where all have several."""
    labels = data.source.labels if data.any_order else None
    names = data.class_names
    if not names or not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind not in "iu":
        return []
    counts = np.bincount(labels[labels >= 0], minlength=len(names))[: len(names)]
    rare = [f"{name!r} {count}" for name, count in zip(names, counts, strict=True) if count < 2]
    if not rare or len(rare) == len(names):
        return []
    return [f"few examples to learn from: {', '.join(rare[:8])}{', ...' if len(rare) > 8 else ''}"]


def _last_pooling(output: Any) -> keras.Layer | None:
    """Returns the pooling layer in which a graph ends; None for another end."""
    layer = output._keras_history.operation  # no public name in Keras
    while isinstance(layer, BETWEEN) or len(getattr(layer, "outputs", None) or ()) == 1:  # a model has `outputs`
        output = layer.input if isinstance(layer, BETWEEN) else layer.outputs[0]
        layer = output._keras_history.operation
    return layer if "Pooling" in type(layer).__name__ else None
