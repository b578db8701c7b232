"""Class weights in the loss: a weight for each example, or for each label where an example has several."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.data import Dataset
from kerasdl.data.pipelines import refuse_endless
from kerasdl.data.trees import unpacked

from .label_forms import LabelForm, form_of, is_one_number, only_loss, output_shape
from .model_outputs import outputs_of


@dataclass(frozen=True)
class ClassWeights:
    """Table of class weights, and the form of the labels that they apply to."""

    table: np.ndarray
    """The weight of each class or label, float32 (K,)."""
    form: LabelForm
    """The form of labels that the loss takes."""
    outputs: tuple | None
    """The output shape of the model, batch included; None where unknown."""

    @property
    def by_label(self) -> bool:
        """True if each label of an example has a separate weight for its term in the loss."""
        return self.form is LabelForm.YES_OR_NO and _has_several(self.outputs)

    def with_last_axis(self, labels: tf.Tensor) -> tf.Tensor:
        """Returns labels of steps (B, T) for outputs (B, T, 1) as (B, T, 1), other labels unchanged."""
        lacks = self.outputs and self.outputs[-1] == 1 and 1 < labels.shape.rank < len(self.outputs)
        return labels[..., None] if lacks else labels

    def of(self, labels: Any) -> tf.Tensor:
        """Returns the weights of a batch, float32: (B, ...) for class numbers (B, ...) or (B, ..., 1), shares
        (B, ..., K) and binary labels (B, 1); (B, ..., K) for K binary labels, `by_label`.
        """
        (labels,) = keras.tree.flatten(labels)
        form = self.form
        if form is LabelForm.EITHER:
            form = LabelForm.NUMBERS if is_one_number(labels, self.outputs) else LabelForm.SHARES
        if form is LabelForm.YES_OR_NO and not self.by_label:
            yes = tf.cast(_squeezed(labels, self.outputs), tf.float32)
            return self.table[0] * (1 - yes) + self.table[1] * yes
        if form in (LabelForm.NUMBERS, LabelForm.FIGURES, LabelForm.OTHER):
            numbers = tf.cast(_squeezed(labels, self.outputs), tf.int32)
            last = len(self.table) - 1
            known = tf.gather(
                self.table, tf.clip_by_value(numbers, 0, last)
            )  # a class number that the loss ignores has no effect
            return known if form is LabelForm.NUMBERS else tf.where((numbers >= 0) & (numbers <= last), known, 1.0)
        weighed = tf.cast(labels, tf.float32) * self.table
        return tf.ones_like(weighed) * self.table if self.by_label else tf.reduce_sum(weighed, -1)


def class_weights_of(
    weights: Mapping[int, float] | str | None, loss: Any, model: keras.Model, data: Dataset
) -> ClassWeights | None:
    """Returns the class weights of a run; None for None.

    Args:
        weights: weight by class (1 where a class is missing), or `"balanced"`, which reads the labels once and gives
            each occurring class `examples / (occurring classes * examples of the class)`; soft labels and several
            labels of an example count by their sums.
        loss: as in `compile`; it determines the form of the labels.
        model: the model in training.
        data: the training data.

    Raises:
        ArgumentError: the labels are not classes, the model has several outputs, or the data are endless.
    """
    if weights is None:
        return None
    model_outputs = model if type(model).train_step is not keras.Model.train_step else outputs_of(model, data)
    labels = _labels_of(loss, model_outputs, data)
    outputs, loss = output_shape(model_outputs), only_loss(loss)
    form = form_of(loss, outputs, labels)
    _check_form(form, labels, outputs, loss)
    ignored = loss.get_config().get("ignore_class") if isinstance(loss, keras.losses.Loss) else None
    classes = _classes(form, labels, outputs)
    if isinstance(weights, str):
        table = _balanced(_counts(data, form, outputs, ignored, classes or 0))
    else:
        table = _as_array(weights, classes, len(data.class_names))
    class_weights = ClassWeights(table, form, outputs)
    own = any(getattr(type(model), name) is not getattr(keras.Model, name) for name in ("train_step", "compute_loss"))
    if class_weights.by_label and own:
        rule = "weights of several labels need a model that leaves train_step and compute_loss to Keras"
        checks.refuse(rule, type(model).__name__, "Weigh them in its own loss.")
    return class_weights


def _labels_of(loss: Any, model: Any, data: Dataset) -> tf.TensorSpec:
    specs = keras.tree.flatten(data.spec[1])
    outputs = max(len(getattr(model, "outputs", None) or ()), len(specs), len(keras.tree.flatten(loss) or ()))
    if outputs > 1:
        hint = "Weigh the classes in the loss of that output."
        checks.refuse("class_weights need a model of one output", f"{outputs} outputs", hint)
    if specs[0].shape.rank is None:
        rule = "class_weights need labels of a known number of axes"
        checks.refuse(rule, specs[0], "Pass output_signature= to from_generator, or tf.ensure_shape in a map.")
    return specs[0]


def _check_form(form: LabelForm, labels: tf.TensorSpec, outputs: tuple | None, loss: Any) -> None:
    shape, name = tuple(labels.shape), getattr(loss, "name", getattr(loss, "__name__", loss))
    foreign = form in (LabelForm.FIGURES, LabelForm.OTHER)
    one = is_one_number(labels, outputs) or (outputs is None and form is LabelForm.NUMBERS)
    one = one or (foreign and (outputs is None or is_one_number(labels, None)))
    whole = labels.dtype.is_integer or labels.dtype == tf.bool
    hint = "Pass class numbers (B,) or one-hot (B, K) with a cross-entropy of keras.losses."
    if labels.dtype == tf.string:
        checks.refuse("class_weights need labels that are numbers", "strings", hint)
    if foreign and not (one and whole):
        checks.refuse(f"class_weights need labels that are classes for the loss {name}", _spec_text(labels), hint)
    several = form in (LabelForm.SHARES, LabelForm.YES_OR_NO, LabelForm.EITHER) and not one
    fits = shape[-1] if outputs is None else len(shape) == len(outputs) and shape[-1] in (outputs[-1], None)
    if (form is LabelForm.NUMBERS and not one) or (several and not fits) or (form is LabelForm.SHARES and one):
        checks.refuse(f"class_weights and the loss {name} need {form.value}", _spec_text(labels), hint)
    if form is LabelForm.YES_OR_NO and _has_several(outputs) and one:
        rule = f"class_weights and the loss {name} need 0 or 1 for each of {outputs[-1]} labels"
        checks.refuse(rule, _spec_text(labels), hint)


def _spec_text(labels: tf.TensorSpec) -> str:
    return f"{labels.dtype.name} {tuple(labels.shape)}"


def _classes(form: LabelForm, labels: tf.TensorSpec, outputs: tuple | None) -> int | None:
    """Returns the number of classes; None where neither model nor labels show it."""
    if form is LabelForm.YES_OR_NO and not _has_several(outputs or tuple(labels.shape)):
        return 2
    if form in (LabelForm.FIGURES, LabelForm.OTHER):
        return None
    many = not is_one_number(labels, outputs)
    return outputs[-1] if outputs else labels.shape[-1] if many else None


def _as_array(weights: Mapping[int, float], classes: int | None, names: int) -> np.ndarray:
    for label, weight in weights.items():
        checks.at_least("a class", label, 0)
        checks.within("a class weight", weight, 0.0, 1e9)
        if classes is not None and label >= classes:
            checks.refuse(f"class_weights must name classes from 0 to {classes - 1}", label)
    table = np.ones(classes or max(names, max(weights, default=0) + 1), np.float32)
    for label, weight in weights.items():
        table[label] = weight
    return table


def _counts(data: Dataset, form: LabelForm, outputs: tuple | None, ignored: int | None, classes: int) -> np.ndarray:
    """Returns the number of examples of each class, float64 (K,)."""
    refuse_endless('class_weights="balanced" needs data that end: they', data, "Pass a dict from class to weight.")
    if data.steps(1) is None:
        checks.refuse('class_weights="balanced" needs data of known length', data.name, "Pass a dict.")
    held = data.source.labels if data.any_order else None
    elements = () if held is not None else data.batches(1024).as_numpy_iterator()
    batches = [held] if held is not None else (unpacked(element)[1] for element in elements)
    counts = np.zeros(classes)
    for y in batches:
        labels = np.asarray(keras.tree.flatten(y)[0])
        if form is LabelForm.YES_OR_NO and classes == 2 and not _has_several(outputs or labels.shape):
            yes = labels.sum(dtype=np.float64)
            class_counts = np.array([labels.size - yes, yes])
        elif form is LabelForm.SHARES or not is_one_number(labels, outputs):
            class_counts = labels.reshape(-1, labels.shape[-1]).sum(0, dtype=np.float64)
        else:
            numbers = labels.ravel().astype(np.int64)
            numbers = numbers if ignored is None else numbers[numbers != ignored]
            if numbers.size and numbers.min() < 0:
                checks.refuse("classes must be whole numbers of 0 or more", int(numbers.min()))
            class_counts = np.bincount(numbers)
        longest = max(len(counts), len(class_counts))
        counts = np.pad(counts, (0, longest - len(counts))) + np.pad(class_counts, (0, longest - len(class_counts)))
    return counts


def _balanced(counts: np.ndarray) -> np.ndarray:
    occurring = np.count_nonzero(counts)
    if not occurring:
        checks.refuse('class_weights="balanced" needs labels that name classes', "none")
    share = np.divide(counts.sum(), occurring * counts, out=np.zeros(len(counts)), where=counts > 0)
    return share.astype(np.float32)


def _has_several(shape: tuple | None) -> bool:
    return shape is not None and len(shape) > 1 and shape[-1] not in (1, None)


def _squeezed(labels: tf.Tensor, outputs: tuple | None) -> tf.Tensor:
    """Returns labels without a superfluous last axis of 1."""
    rank, longest = labels.shape.rank, None if outputs is None else len(outputs)
    has_extra_axis = rank > 1 and labels.shape[-1] == 1 and (longest is None or rank == longest)
    return tf.squeeze(labels, -1) if has_extra_axis else labels
