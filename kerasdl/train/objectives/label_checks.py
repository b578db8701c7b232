"""Labels against the loss and the model's outputs: shapes before a run, values in memory or as a pipeline gives them.

A wrong shape need not fail: labels (B, 1) against outputs (B, 3) are spread over all three, without a word.
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
SUM_TOLERANCE = 1e-2  # shares of 16 bits add up to about 1
ONE_BY_ONE = (LabelForm.YES_OR_NO, LabelForm.FIGURES)


@dataclass(frozen=True)
class OutputTarget:
    """One output of a model, its loss, and what is known of its labels."""

    output: str
    """The name of the output, in front of a noun; empty where there is one alone."""
    loss: str
    """The name of the loss."""
    form: LabelForm
    """The form of labels that the loss takes."""
    outputs: tuple
    """The shape of the output, the batch first."""
    ignored: int | None
    """A class that the loss leaves out."""
    masked: bool = False
    """Whether a mask travels with the output, under which labels may be all zero."""

    def check(self, labels: Any) -> None:
        """Refuses labels, or a spec of them, whose shape or dtype the loss would take for something else."""
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
        refused = self._misfit(labels)
        if refused:
            checks.refuse(f"labels{self.output} for {self.loss} must be {refused[0]}", _said(labels), refused[1])

    def _misfit(self, labels: Any) -> tuple[str, str] | None:
        """Returns what the labels should be, and the way out; None where they fit."""
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
            hint = "One would be spread over the other; reshape the labels, or give the model as many outputs."
            return f"of the shape of the outputs, {_shape(self.outputs)}", hint
        return None

    @property
    def limits(self) -> tuple[float, float] | None:
        """The lowest and the highest value of right labels; None where any figure is."""
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
        """Refuses values that the loss would take for something else."""
        if labels.dtype.kind == "f" and not np.isfinite(labels).all() and self.form is not LabelForm.OTHER:
            count = int((~np.isfinite(labels)).sum())
            raise DataError(f"labels{self.output} must be finite; {count} of {labels.size} are NaN or infinite.")
        target = self.of_values(labels)
        if target.limits is None or not labels.size:
            return
        kept = labels if self.ignored is None else labels[labels != self.ignored]
        low, high = target.limits
        whole = target.form is not LabelForm.NUMBERS or labels.dtype.kind != "f" or (kept % 1 == 0).all()
        if kept.size and not (low <= float(kept.min()) and float(kept.max()) <= high and whole):
            checks.refuse(target.rule(), [kept.min().item(), kept.max().item()])
        if target.form is LabelForm.SHARES:
            sums = labels.sum(-1, dtype=np.float64)
            if not target._are_whole(sums).all():
                found = f"sums from {sums.min():g} to {sums.max():g}"
                checks.refuse(target.rule(), found, "For several labels at once pass BinaryCrossentropy.")

    def _are_whole(self, sums: Any) -> Any:
        return (abs(sums - 1) < SUM_TOLERANCE) | ((sums == 0) & self.masked)

    def of_values(self, labels: Any) -> "OutputTarget":
        """Returns the target with the form that labels have where the loss takes two."""
        if self.form is not LabelForm.EITHER:
            return self
        one = is_one_number(labels, self.outputs)
        return dataclasses.replace(self, form=LabelForm.NUMBERS if one else LabelForm.SHARES)

    def assertion(self, labels: tf.Tensor) -> Any:
        """Returns the operation that stops a pipeline at a wrong value; None where there is nothing to look at."""
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
            right = tf.reduce_all(right) & tf.reduce_all(target._are_whole(sums))
            got += [", with sums from", tf.reduce_min(sums), "to", tf.reduce_max(sums)]
        got.append(END)
        return tf.debugging.Assert(tf.reduce_all(right), got)


def targets_of(loss: Any, model: Any, labels: Any) -> list[tuple[OutputTarget, Any]] | None:
    """Returns each output's Target with its labels or their spec; None where model or nesting do not tell.

    Raises:
        ArgumentError: there are more or fewer labels than outputs.
    """
    outputs, names = getattr(model, "outputs", None), _names(model)
    if not outputs or loss is None:
        return None
    given = _in_order(labels, names)
    losses = _in_order(loss, names) if isinstance(loss, (list, tuple, Mapping)) else [loss]
    if len(given) != len(outputs):
        described = [f"{name} {_shape(each.shape)}" for name, each in zip(names, outputs, strict=False)]
        rule = f"labels must be one for each of the {len(outputs)} outputs of {model.name!r} ({', '.join(described)})"
        checks.refuse(rule, [_said(each) for each in given])
    if len(losses) != len(outputs):
        return None
    several = len(outputs) > 1
    if several and isinstance(getattr(model, "output", None), Mapping) and not isinstance(labels, Mapping):
        checks.refuse(f"labels of a model with outputs in a dict must name them, {tuple(model.output)}", "a tuple")
    found = []
    for name, each, output, part in zip(names or ["output"], losses, outputs, given, strict=False):
        shape = tuple(output.shape)
        config = each.get_config() if isinstance(each, keras.losses.Loss) else {}
        said = getattr(each, "name", None) or getattr(each, "__name__", str(each))
        label = f" of {name!r}" if several else ""
        masked = getattr(output, "_keras_mask", None) is not None  # Keras has no public name for it
        form = form_of(each, shape, part)
        found.append((OutputTarget(label, said, form, shape, config.get("ignore_class"), masked), part))
    return found


def check_labels(loss: Any, metrics: Any, model: keras.Model, data: Dataset, mixed: bool = False) -> Dataset:
    """Returns data whose labels fit the loss; those of a foreign pipeline are checked as they come.

    Args:
        loss: as in `compile`.
        metrics: as in `compile`; those that compare labels and outputs one by one are held to their shapes.
        model: what is trained; one of unknown outputs takes anything.
        data: labelled data.
        mixed: whether class numbers become shares before the loss gets them.

    Raises:
        ArgumentError: the labels have another form, shape or range than the loss takes.
        DataError: labels in memory are not finite.
    """
    held = data.source.labels if data.any_order else None
    labels = data.spec[1] if held is None else held
    if labels is None:
        return data
    seen = outputs_of(model, data)
    targets = targets_of(loss, seen, labels)
    if targets is None:
        return data
    if type(model).compute_loss is not keras.Model.compute_loss:  # which may give the loss other labels
        targets = [(each, part) for each, part in targets if each.form in (LabelForm.NUMBERS, LabelForm.EITHER)]
    if not targets:
        return data
    if mixed:
        taking = {LabelForm.SHARES: LabelForm.EITHER, LabelForm.YES_OR_NO: LabelForm.EITHER}
        targets = [(dataclasses.replace(each, form=taking.get(each.form, each.form)), part) for each, part in targets]
    for target, part in targets:
        target.check(part)
    if not mixed and len(targets) == len(seen.outputs):
        for each, (target, part) in zip(by_output(metrics, _names(seen), len(targets)), targets, strict=True):
            _check_metrics(each, target, part)
    for target, part in targets if held is not None else ():
        target.check_values(part)
    if isinstance(data.source, Stream):
        targets[0][0].check_values(np.arange(len(data.class_names)))
    if not data.foreign:
        return data
    if len(targets) < len(seen.outputs):
        return data
    return dataclasses.replace(data, source=data.source.map(_checked([target for target, _ in targets], _names(seen))))


def check_labelled(data: Dataset, model: keras.Model, own_loss: bool) -> None:
    """Passes where data have labels, or the model has a loss of its own, which may do without.

    Args:
        data: the dataset.
        model: what is trained.
        own_loss: whether its class computes its loss itself.

    Raises:
        ArgumentError: the loss would have nothing to compare with.
    """
    if not own_loss and not data.labelled:
        rule = f"{data.name} must have labels, which the loss of {model.name!r} compares with its outputs"
        hint = "Pass (inputs, labels); (inputs, inputs) to learn what is put in; or a model with its own train_step."
        checks.refuse(rule, "inputs alone", hint)


def _names(model: Any) -> list[str]:
    return list(getattr(model, "output_names", None) or [])


def _checked(targets: list[OutputTarget], names: list[str]) -> Callable:

    @tf.autograph.experimental.do_not_convert
    def check(inputs, labels, *weights):
        parts = zip(targets, _in_order(labels, names), strict=True)
        found = [target.assertion(part) for target, part in parts]
        with tf.control_dependencies([each for each in found if each is not None]):
            return inputs, tf.nest.map_structure(tf.identity, labels), *weights

    return check


@contextmanager
def label_errors_reported() -> Iterator[None]:
    """Turns TensorFlow's report of a wrong label in a pipeline into one line.

    Raises:
        DataError: in its place.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        _, found, text = str(error.message).partition(BEGIN)
        if not found:
            raise
        raise DataError(text.partition(END)[0].strip().replace("] [", " ").rstrip("] ") + ".") from None


def _check_metrics(metrics: list, target: OutputTarget, labels: Any) -> None:
    for metric in metrics:
        form = form_of_metric(metric)
        if form in (*ONE_BY_ONE, LabelForm.NUMBERS, LabelForm.SHARES):
            name = getattr(metric, "name", None) or getattr(metric, "__name__", str(metric))
            dataclasses.replace(target, form=form, loss=f"the metric {name}").check(labels)


def _in_order(nested: Any, names: list[str]) -> list[Any]:
    """Returns the parts of what is nested, in the order of a model's outputs."""
    if isinstance(nested, Mapping) and set(nested) == set(names):
        return [nested[name] for name in names]
    return keras.tree.flatten(nested)


def _same_rank(labels: tuple, outputs: tuple) -> tuple[tuple, tuple]:
    """Returns both shapes, the longer one without a last axis of 1: so Keras's losses compare them."""
    if len(labels) == len(outputs) + 1 and labels[-1] == 1:
        return labels[:-1], outputs
    return (labels, outputs[:-1]) if len(outputs) == len(labels) + 1 and outputs[-1] == 1 else (labels, outputs)


def _fit(labels: tuple, outputs: tuple) -> bool:
    pairs = zip(labels[1:], outputs[1:], strict=False)
    return len(labels) == len(outputs) and all(None in pair or pair[0] == pair[1] for pair in pairs)


def _shape(shape: Any) -> str:
    return f"({', '.join('B' if place == 0 else str(size) for place, size in enumerate(shape))})"


def _said(labels: Any) -> str:
    return f"{labels.dtype.name} {_shape(labels.shape)}"
