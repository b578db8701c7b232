"""Forms of labels that losses take: class numbers, shares of the classes (soft labels), binary labels, figures."""

import enum
from collections.abc import Mapping
from typing import Any

import keras

from kerasdl.losses import Focal, SmoothedCrossEntropy


class LabelForm(enum.Enum):
    """Form of the labels that a loss takes."""

    NUMBERS = "class numbers"
    """One whole number for each prediction."""
    SHARES = "shares of the classes, such as one-hot"
    """One share for each class."""
    EITHER = "class numbers or shares"
    """Class numbers or shares, distinguished by their shape."""
    YES_OR_NO = "0 to 1 for each output"
    """A number from 0 to 1 for each output."""
    FIGURES = "a figure for each output"
    """Any numbers, compared with the outputs one by one."""
    OTHER = "unknown"
    """The unknown form of another loss."""


def _functions(*names: str) -> list[Any]:
    return [getattr(keras.losses, name) for name in names]


FORMS = {
    **dict.fromkeys(_functions("sparse_categorical_crossentropy"), LabelForm.NUMBERS),
    **dict.fromkeys(
        _functions("categorical_crossentropy", "categorical_focal_crossentropy", "categorical_hinge"), LabelForm.SHARES
    ),
    **dict.fromkeys(_functions("kl_divergence"), LabelForm.SHARES),
    **dict.fromkeys(_functions("binary_crossentropy", "binary_focal_crossentropy"), LabelForm.YES_OR_NO),
    **dict.fromkeys(
        _functions(
            "mean_squared_error",
            "mean_absolute_error",
            "mean_absolute_percentage_error",
            "mean_squared_logarithmic_error",
            "huber",
            "log_cosh",
            "poisson",
            "hinge",
            "squared_hinge",
        ),
        LabelForm.FIGURES,
    ),
}


METRIC_FORMS = {
    **dict.fromkeys(
        (keras.metrics.sparse_categorical_accuracy, keras.metrics.sparse_top_k_categorical_accuracy), LabelForm.NUMBERS
    ),
    **dict.fromkeys((keras.metrics.categorical_accuracy, keras.metrics.top_k_categorical_accuracy), LabelForm.SHARES),
    keras.metrics.binary_accuracy: LabelForm.YES_OR_NO,
}


def form_of_metric(metric: Any) -> LabelForm:
    """Returns the form of the labels that a metric takes; for `"accuracy"` it depends on the labels."""
    if isinstance(metric, str):
        try:
            metric = keras.metrics.get(metric)
        except ValueError:  # compile reports it
            return LabelForm.OTHER
    function = getattr(metric, "_fn", metric)  # Keras has no public name for the wrapped function
    try:
        return METRIC_FORMS.get(function) or form_of(function)
    except TypeError:  # an unhashable object is none of them
        return LabelForm.OTHER


def by_output(nested: Any, names: list[str], count: int) -> list[list]:
    """Returns the losses or metrics of each output; empty lists where the nesting does not show them."""
    if count == 1:
        return [keras.tree.flatten([] if nested is None else nested)]
    if isinstance(nested, Mapping) and set(nested) <= set(names):
        return [keras.tree.flatten(nested.get(name, [])) for name in names]
    if isinstance(nested, (list, tuple)) and len(nested) == count:
        return [[] if each is None else keras.tree.flatten(each) for each in nested]
    return [[] for _ in range(count)]


def only_loss(loss: Any) -> Any:
    """Returns the loss in a list or dict of one; other losses unchanged."""
    nested = keras.tree.flatten(loss) if isinstance(loss, (list, tuple, Mapping)) else [loss]
    return nested[0] if len(nested) == 1 else loss


def form_of(loss: Any, outputs: tuple | None = None, labels: Any = None) -> LabelForm:
    """Returns the form of the labels that a loss takes.

    Args:
        loss: an object, a name or a function, as `compile` takes it.
        outputs: the output shape of the model, batch included; None where unknown.
        labels: the labels or their spec, which with `outputs` determine the meaning of `"crossentropy"`.
    """
    loss = only_loss(loss)
    if isinstance(loss, str):
        if loss.lower() in ("crossentropy", "ce"):
            return _cross_entropy(outputs, labels)
        try:
            loss = keras.losses.get(loss)
        except ValueError:  # compile reports it
            return LabelForm.OTHER
    if isinstance(loss, SmoothedCrossEntropy):
        return LabelForm.EITHER
    if isinstance(loss, Focal):
        return LabelForm.NUMBERS
    function = getattr(loss, "fn", loss)
    try:
        return FORMS.get(function, LabelForm.OTHER)
    except TypeError:  # an unhashable object is none of them
        return LabelForm.OTHER


def resolved_crossentropy(loss: Any, outputs: tuple | None, labels: Any) -> Any:
    """Returns the name of the cross-entropy that `"crossentropy"` means here; other losses unchanged.

    Args:
        loss: as in `form_of`, like `outputs` and `labels`.
    """
    if not isinstance(loss, str) or loss.lower() not in ("crossentropy", "ce"):
        return loss
    names = {LabelForm.YES_OR_NO: "binary_crossentropy", LabelForm.NUMBERS: "sparse_categorical_crossentropy"}
    names |= {LabelForm.SHARES: "categorical_crossentropy"}
    return names.get(_cross_entropy(outputs, labels), loss)


def _cross_entropy(outputs: tuple | None, labels: Any) -> LabelForm:
    if not outputs or labels is None:
        return LabelForm.OTHER
    if outputs[-1] == 1:
        return LabelForm.YES_OR_NO
    return LabelForm.NUMBERS if is_one_number(labels, outputs) else LabelForm.SHARES


def is_one_number(labels: Any, outputs: tuple | None) -> bool:
    """Returns whether labels are one number for each prediction: (B, ...) or (B, ..., 1) for outputs (B, ..., K).

    Args:
        labels: an array, a tensor or a spec, batch included.
        outputs: the output shape of the model; None where unknown.
    """
    shape = tuple(labels.shape)
    if outputs is None:
        return len(shape) == 1 or shape[-1] == 1
    return len(shape) == len(outputs) - 1 or (len(shape) == len(outputs) and shape[-1] == 1)


def output_shape(model: keras.Model) -> tuple | None:
    """Returns the shape of a model's first output, batch included; None where unknown."""
    outputs = getattr(model, "outputs", None)
    return tuple(outputs[0].shape) if outputs else None
