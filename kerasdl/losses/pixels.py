"""Pixels as the losses of segmentation read them: labels of every form, ignored ones, probabilities, weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from kerasdl.core import checks


@dataclass(frozen=True)
class Pixels:
    """Labels of the N pixels of each image."""

    targets: Any
    """(B, N, K) 1 where a pixel is of a class; 0 in ignored pixels."""
    valid: Any
    """(B, N, 1) 0 in ignored pixels, otherwise 1."""
    faults: Any
    """(B,) NaN for an image with a label that is neither a class nor ignored, otherwise 0."""


class PixelLoss(keras.losses.Loss):
    """Base class of losses of segmentation: one number an image, from labels in every form.

    A subclass gives it by `image_losses(pixels, predictions)`, where the predictions are (B, N, K) as the model's.
    """

    multi_label = False

    def __init__(self, *, from_logits, ignore_label, class_weights, reduction, name, dtype):
        super().__init__(name=name, reduction=reduction, dtype="float32" if dtype is None else dtype)
        if self.dtype != "float32":
            hint = "Leave dtype out: outputs of 16 bits are taken, and sums over pixels need more."
            checks.refuse("dtype of a loss of segmentation must be float32", self.dtype, hint)
        self.from_logits = from_logits
        self.ignore_label = ignore_label
        if ignore_label is not None and (isinstance(ignore_label, bool) or not hasattr(ignore_label, "__index__")):
            checks.refuse("ignore_label must be a whole number or None", ignore_label)
        self.class_weights = None if class_weights is None else _checked_weights(class_weights)

    def __call__(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None and len(ops.shape(sample_weight)) > 1:
            hint = "Give pixels that must not count the ignore_label."
            checks.refuse("sample_weight must be one number an image", tuple(ops.shape(sample_weight)), hint)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true, y_pred):
        pixels = read_pixels(y_true, y_pred, self.ignore_label, self.multi_label)
        predictions = ops.reshape(y_pred, (ops.shape(y_pred)[0], -1, y_pred.shape[-1]))
        return self.image_losses(pixels, predictions) + pixels.faults

    def probabilities(self, predictions):
        """Returns the probabilities (B, N, K) of the classes."""
        if not self.from_logits:
            return predictions
        one_of_many = predictions.shape[-1] > 1 and not self.multi_label
        return ops.softmax(predictions) if one_of_many else ops.sigmoid(predictions)

    def weights_of(self, count: int):
        """Returns the weights (K,) of that many classes.

        Raises:
            ArgumentError: their number is another.
        """
        weights = self.class_weights or (1.0,) * count
        if len(weights) != count:
            checks.refuse(f"class_weights must hold one number for each of the {count} classes", weights)
        return ops.convert_to_tensor(weights, dtype="float32")

    def get_config(self):
        own = {"from_logits": self.from_logits, "ignore_label": self.ignore_label}
        return {**super().get_config(), **own, "class_weights": self.class_weights}


def read_pixels(labels: Any, predictions: Any, ignore_label: int | None, multi_label: bool = False) -> Pixels:
    """Returns the labels of pixels, from every form that they come in.

    Args:
        labels: (B, ...) or (B, ..., 1) indices of classes, or (B, ..., K) 1 for each class of a pixel, of any dtype.
        predictions: (B, ..., K).
        ignore_label: the label of pixels that must not count, in one-hot labels in any of their entries; there a pixel
            of no class, as `one_hot` makes it of such a label, is ignored too. None ignores no pixel.
        multi_label: whether a pixel may be of several classes, or of none.

    Raises:
        ArgumentError: the shapes do not belong together.
    """
    classes = predictions.shape[-1]
    labels = _with_channel(labels, predictions)
    labels = ops.reshape(labels, (ops.shape(labels)[0], -1, labels.shape[-1]))
    skipped = ops.zeros_like(labels) > 0 if ignore_label is None else labels == ignore_label
    if labels.shape[-1] == classes > 1 or (multi_label and labels.shape[-1] == classes):
        targets = ops.where(skipped, ops.zeros_like(labels), labels)
        wrong = ops.any(ops.logical_or(targets < 0, targets > 1), axis=(1, 2))
        skipped = ops.any(skipped, axis=-1, keepdims=True)
        if not multi_label and ignore_label is not None:
            skipped = ops.logical_or(skipped, ops.all(labels == 0, axis=-1, keepdims=True))
    elif classes == 1:
        targets = labels
        wrong = ops.any(ops.logical_and(~skipped, ops.logical_or(labels < 0, labels > 1)), axis=(1, 2))
    else:
        places = ops.cast(ops.arange(classes), labels.dtype)
        targets = ops.cast(labels == places, labels.dtype)
        wrong = ops.any(ops.logical_and(~skipped, ops.max(targets, axis=-1, keepdims=True) == 0), axis=(1, 2))
    valid = ops.cast(~skipped, predictions.dtype)
    targets = ops.where(skipped, ops.zeros_like(targets), targets)
    faults = ops.where(wrong, float("nan"), 0.0)
    return Pixels(ops.cast(targets, predictions.dtype), valid, ops.cast(faults, predictions.dtype))


def _with_channel(labels: Any, predictions: Any) -> Any:
    """Returns labels (B, ..., 1 or K) of the rank of the predictions."""
    labels = labels[..., None] if len(labels.shape) == len(predictions.shape) - 1 else labels
    sides = list(zip(labels.shape[:-1], predictions.shape[:-1], strict=False))
    fits = len(labels.shape) == len(predictions.shape) and labels.shape[-1] in (1, predictions.shape[-1])
    if not fits or any(None not in pair and pair[0] != pair[1] for pair in sides):
        rule = f"labels must be (B, ...) or (B, ..., K) for predictions (B, ..., K) of shape {tuple(predictions.shape)}"
        checks.refuse(rule, tuple(labels.shape), "Resize the labels without blending, or the predictions.")
    return labels


def _checked_weights(weights: Sequence[float]) -> tuple[float, ...]:
    weights = tuple(checks.within("class_weights", weight, 0.0, 1e9) for weight in weights)
    if not sum(weights) > 0:
        checks.refuse("class_weights must hold a number above 0", weights)
    return weights
