"""Label checks against the loss and the outputs: shapes before a run, values in memory or batch by batch.

A wrong shape need not raise: labels (B, 1) against outputs (B, 3) are broadcast to all three without a message.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import DataError
from kerasdl.data import Dataset
from kerasdl.data.sources import Stream

from .label_forms import LabelForm, by_output, form_of, form_of_metric, is_one_number
from .model_outputs import outputs_of

BEGIN, END = "[labels: ", "[end]"
SUM_TOLERANCE = 1e-2  # shares in 16 bits sum to about 1
ONE_BY_ONE = (LabelForm.YES_OR_NO, LabelForm.FIGURES)


@dataclass(frozen=True)
class OutputTarget:
    """One output of a model with its loss and the form of its labels."""

    output: str
    """The name of the output for messages, such as " of 'kind'"; empty for a single output."""
    loss: str
    """The name of the loss."""
    form: LabelForm
    """The form of labels that the loss takes."""
    outputs: tuple
    """The shape of the output, batch included."""
    ignored: int | None
    """A class that the loss ignores."""
    masked: bool = False
    """True if the output has a mask, under which labels may be all zero."""

    def check(self, labels: Any) -> None:
        """Refuses labels, or their spec, whose shape or dtype does not fit the loss."""
        if self.form is LabelForm.OTHER:
            return
        shape = getattr(labels, "shape", None)
        if getattr(shape, "rank", 0) is None:
            rule = f"labels{self.output} must have a known number of axes"
            hint = "Pass output_signature= to from_generator, or tf.ensure_shape in a map."
            checks.refuse(rule, "an unknown one", hint)
        kind = labels.dtype.name
        if kind in ("string", "object") or kind.startswith(("str", "bytes")):
            hint = "Number the classes: names, labels = np.unique(labels, return_inverse=True)."
            checks.refuse(f"labels{self.output} must be numbers", "texts", hint)
        mismatch = self._mismatch(labels)
        if mismatch:
            checks.refuse(f"labels{self.output} for {self.loss} must be {mismatch[0]}", _spec_text(labels), mismatch[1])

    def _mismatch(self, labels: Any) -> tuple[str, str] | None:
        """Returns the required form of labels and a hint; None where the labels fit."""
        classes, own = self.outputs[-1], tuple(labels.shape)
        one, batch = is_one_number(labels, self.outputs), ", ".join(["B", *map(str, self.outputs[1:-1])])
        if self.form in (LabelForm.NUMBERS, LabelForm.SHARES, LabelForm.EITHER) and classes == 1:
            return "those of 2 classes or more, each with an output", "Pass a binary cross-entropy for one output."
        shares = _fit(own, self.outputs)
        if self.form is LabelForm.NUMBERS and not one:
            hint = "For one-hot labels pass CategoricalCrossentropy, or labels.argmax(-1)." if shares else ""
            return f"class numbers, one for each prediction of {classes} classes", hint
        if self.form is LabelForm.SHARES and not shares:
            hint = "For class numbers pass SparseCategoricalCrossentropy, or keras.ops.one_hot(labels, classes)."
            return f"shares of {classes} classes, ({batch}, {classes})", hint if one else ""
        if self.form is LabelForm.EITHER and not (one or shares):
            return f"class numbers or shares of {classes} classes", ""
        if self.form in ONE_BY_ONE and not _fit(*_same_rank(own, self.outputs)):
            hint = "One would be broadcast to the other; reshape the labels, or give the model as many outputs."
            return f"of the shape of the outputs, {_shape(self.outputs)}", hint
        return None

    @property
    def limits(self) -> tuple[float, float] | None:
        """The lowest and highest valid label; None where any value is valid."""
        if self.form is LabelForm.NUMBERS:
            return None if self.outputs[-1] is None else (0, self.outputs[-1] - 1)
        return (0, 1) if self.form in (LabelForm.SHARES, LabelForm.YES_OR_NO) else None

    def rule(self) -> str:
        """Returns the rule for the values of labels."""
        low, high = self.limits
        if self.form is LabelForm.NUMBERS:
            return (
                f"labels{self.output} must be whole numbers from {low} to {high}, as the model has {high + 1} outputs"
            )
        summed = ", and the shares of a prediction sum to 1" if self.form is LabelForm.SHARES else ""
        return f"labels{self.output} for {self.loss} must lie between 0 and 1{summed}"

    def check_values(self, labels: np.ndarray) -> None:
        """Refuses values that do not fit the loss."""
        if labels.dtype.kind == "f" and not np.isfinite(labels).all() and self.form is not LabelForm.OTHER:
            count = int((~np.isfinite(labels)).sum())
            raise DataError(f"labels{self.output} must be finite; {count} of {labels.size} are NaN or infinite.")
        target = self.of_values(labels)
        if target.limits is None or not labels.size:
            return
        counted = labels if self.ignored is None else labels[labels != self.ignored]
        low, high = target.limits
        whole = target.form is not LabelForm.NUMBERS or labels.dtype.kind != "f" or (counted % 1 == 0).all()
        if counted.size and not (low <= float(counted.min()) and float(counted.max()) <= high and whole):
            checks.refuse(target.rule(), [counted.min().item(), counted.max().item()])
        if target.form is LabelForm.SHARES:
            sums = labels.sum(-1, dtype=np.float64)
            if not target._sum_to_one(sums).all():
                sums_text = f"sums from {sums.min():g} to {sums.max():g}"
                checks.refuse(target.rule(), sums_text, "For several labels at once pass BinaryCrossentropy.")

    def _sum_to_one(self, sums: Any) -> Any:
        return (abs(sums - 1) < SUM_TOLERANCE) | ((sums == 0) & self.masked)

    def of_values(self, labels: Any) -> "OutputTarget":
        """Returns the target with the form of these labels where the loss takes two forms."""
        if self.form is not LabelForm.EITHER:
            return self
        one = is_one_number(labels, self.outputs)
        return dataclasses.replace(self, form=LabelForm.NUMBERS if one else LabelForm.SHARES)

    def assertion(self, labels: tf.Tensor) -> Any:
        """Returns the operation that stops a pipeline at an invalid value; None where any value is valid."""
        target = self.of_values(labels)
        shares = target.form is LabelForm.SHARES
        if target.limits is None or (labels.dtype == tf.bool and not shares):
            return None
        labels = tf.cast(labels, tf.int32) if labels.dtype == tf.bool else labels
        low, high = target.limits
        values = tf.cast(labels, tf.float64 if labels.dtype.is_floating else tf.int64)
        right = (values >= low) & (values <= high)
        if target.form is LabelForm.NUMBERS and labels.dtype.is_floating:
            right &= tf.equal(values, tf.floor(values))
        if self.ignored is not None:
            right |= tf.equal(values, tf.cast(self.ignored, values.dtype))
        got = [f"{BEGIN}{target.rule()}; got", tf.reduce_min(labels), "to", tf.reduce_max(labels)]
        if shares:
            sums = tf.cast(tf.reduce_sum(values, -1), tf.float64)
            right = tf.reduce_all(right) & tf.reduce_all(target._sum_to_one(sums))
            got += [", with sums from", tf.reduce_min(sums), "to", tf.reduce_max(sums)]
        got.append(END)
        return tf.debugging.Assert(tf.reduce_all(right), got)


def targets_of(loss: Any, model: Any, labels: Any) -> list[tuple[OutputTarget, Any]] | None:
    """Returns each OutputTarget with its labels or their spec; None where model or nesting do not show them.

    Raises:
        ArgumentError: the number of labels differs from the number of outputs.
    """
    outputs, names = getattr(model, "outputs", None), _names(model)
    if not outputs or loss is None:
        return None
    ordered = _in_order(labels, names)
    losses = _in_order(loss, names) if isinstance(loss, (list, tuple, Mapping)) else [loss]
    if len(ordered) != len(outputs):
        described = [f"{name} {_shape(each.shape)}" for name, each in zip(names, outputs, strict=False)]
        rule = f"labels must be one for each of the {len(outputs)} outputs of {model.name!r} ({', '.join(described)})"
        checks.refuse(rule, [_spec_text(each) for each in ordered])
    if len(losses) != len(outputs):
        return None
    several = len(outputs) > 1
    if several and isinstance(getattr(model, "output", None), Mapping) and not isinstance(labels, Mapping):
        checks.refuse(f"labels of a model with outputs in a dict must name them, {tuple(model.output)}", "a tuple")
    targets = []
    for name, each, output, part in zip(names or ["output"], losses, outputs, ordered, strict=False):
        shape = tuple(output.shape)
        config = each.get_config() if isinstance(each, keras.losses.Loss) else {}
        loss_name = getattr(each, "name", None) or getattr(each, "__name__", str(each))
        label = f" of {name!r}" if several else ""
        masked = getattr(output, "_keras_mask", None) is not None  # Keras has no public name for it
        form = form_of(each, shape, part)
        targets.append((OutputTarget(label, loss_name, form, shape, config.get("ignore_class"), masked), part))
    return targets


def check_labels(loss: Any, metrics: Any, model: keras.Model, data: Dataset, mixed: bool = False) -> Dataset:
    """Returns data whose labels fit the loss; those of a foreign pipeline are checked batch by batch.

    Args:
        loss: as in `compile`.
        metrics: as in `compile`; shapes are checked for those that compare labels and outputs one by one.
        model: the model in training; nothing is checked where its outputs are unknown.
        data: labelled data.
        mixed: whether class numbers become soft labels before the loss.

    Raises:
        ArgumentError: form, shape or range of the labels does not fit the loss.
        DataError: labels in memory are not finite.
    """
    held = data.source.labels if data.any_order else None
    labels = data.spec[1] if held is None else held
    if labels is None:
        return data
    model_outputs = outputs_of(model, data)
    targets = targets_of(loss, model_outputs, labels)
    if targets is None:
        return data
    if type(model).compute_loss is not keras.Model.compute_loss:  # a compute_loss may pass other labels to the loss
        targets = [(each, part) for each, part in targets if each.form in (LabelForm.NUMBERS, LabelForm.EITHER)]
    if not targets:
        return data
    if mixed:
        soft_forms = {LabelForm.SHARES: LabelForm.EITHER, LabelForm.YES_OR_NO: LabelForm.EITHER}
        targets = [
            (dataclasses.replace(each, form=soft_forms.get(each.form, each.form)), part) for each, part in targets
        ]
    for target, part in targets:
        target.check(part)
    if not mixed and len(targets) == len(model_outputs.outputs):
        for each, (target, part) in zip(by_output(metrics, _names(model_outputs), len(targets)), targets, strict=True):
            _check_metrics(each, target, part)
    for target, part in targets if held is not None else ():
        target.check_values(part)
    if isinstance(data.source, Stream):
        targets[0][0].check_values(np.arange(len(data.class_names)))
    if not data.foreign:
        return data
    if len(targets) < len(model_outputs.outputs):
        return data
    return dataclasses.replace(
        data, source=data.source.map(_checked([target for target, _ in targets], _names(model_outputs)))
    )


def check_labelled(data: Dataset, model: keras.Model, own_loss: bool) -> None:
    """Raises where data have no labels, unless the model computes its loss itself.

    Args:
        data: the dataset.
        model: the model in training.
        own_loss: whether its class computes its loss itself.

    Raises:
        ArgumentError: the data have no labels for the loss.
    """
    if not own_loss and not data.labelled:
        rule = f"{data.name} must have labels, which the loss of {model.name!r} compares with its outputs"
        hint = "Pass (inputs, labels); (inputs, inputs) for an autoencoder; or a model with its own train_step."
        checks.refuse(rule, "inputs alone", hint)


def demand(wrong: Any, rule: str, values: Any) -> Any:
    """Returns the operation that stops a graph at the first wrong value, as `fit` reports it; eagerly it raises.

    Args:
        wrong: booleans, true where a value breaks the rule.
        rule: the rule, for the message.
        values: values of the shape of `wrong`, or with one more axis.

    Raises:
        DataError: a value breaks the rule; in a graph as it runs.
    """
    found = tf.boolean_mask(values, wrong)
    first = tf.pad(found, [[0, 1], [0, 0]][: found.shape.rank])[0]  # 0 where none is wrong
    if not tf.executing_eagerly():
        return tf.debugging.Assert(~tf.reduce_any(wrong), [f"{BEGIN}{rule}; got", first, END], summarize=4)
    if len(found):
        raise DataError(f"{rule}; got {first.numpy().tolist()}.")
    return None


def _names(model: Any) -> list[str]:
    return list(getattr(model, "output_names", None) or [])


def _checked(targets: list[OutputTarget], names: list[str]) -> Callable:

    @tf.autograph.experimental.do_not_convert
    def check(inputs, labels, *weights):
        parts = zip(targets, _in_order(labels, names), strict=True)
        assertions = [target.assertion(part) for target, part in parts]
        with tf.control_dependencies([each for each in assertions if each is not None]):
            return inputs, tf.nest.map_structure(tf.identity, labels), *weights

    return check


@contextmanager
def label_errors_reported() -> Iterator[None]:
    """Context manager that turns TensorFlow's error on an invalid label in a pipeline into one line.

    Raises:
        DataError: in place of TensorFlow's error.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        _, marker, text = str(error.message).partition(BEGIN)
        if not marker:
            raise
        raise DataError(text.partition(END)[0].strip().replace("] [", " ").rstrip("] ") + ".") from None


def _check_metrics(metrics: list, target: OutputTarget, labels: Any) -> None:
    for metric in metrics:
        form = form_of_metric(metric)
        if form in (*ONE_BY_ONE, LabelForm.NUMBERS, LabelForm.SHARES):
            name = getattr(metric, "name", None) or getattr(metric, "__name__", str(metric))
            dataclasses.replace(target, form=form, loss=f"the metric {name}").check(labels)


def _in_order(nested: Any, names: list[str]) -> list[Any]:
    """Returns the parts of a nested structure in the order of a model's outputs."""
    if isinstance(nested, Mapping) and set(nested) == set(names):
        return [nested[name] for name in names]
    return keras.tree.flatten(nested)


def _same_rank(labels: tuple, outputs: tuple) -> tuple[tuple, tuple]:
    """Returns both shapes, the longer one without a last axis of 1, as Keras's losses compare them."""
    if len(labels) == len(outputs) + 1 and labels[-1] == 1:
        return labels[:-1], outputs
    return (labels, outputs[:-1]) if len(outputs) == len(labels) + 1 and outputs[-1] == 1 else (labels, outputs)


def _fit(labels: tuple, outputs: tuple) -> bool:
    pairs = zip(labels[1:], outputs[1:], strict=False)
    return len(labels) == len(outputs) and all(None in pair or pair[0] == pair[1] for pair in pairs)


def _shape(shape: Any) -> str:
    return f"({', '.join('B' if place == 0 else str(size) for place, size in enumerate(shape))})"


def _spec_text(labels: Any) -> str:
    return f"{labels.dtype.name} {_shape(labels.shape)}"
