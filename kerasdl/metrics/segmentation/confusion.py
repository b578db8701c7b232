"""Keras metrics of segmentation from the confusion of pixels: mean IoU, Dice coefficient, pixel accuracy.

Their sums are variables in float64, so that they are exact for any number of pixels, in `fit` and under replicas.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from kerasdl.core import checks

from ..detection_records import class_names
from .figures import SegmentationFigures

AVERAGES = ("classes", "micro", "images")


class _ConfusionMetric(keras.metrics.Metric):
    """Share of pixels of each class, by `parts(both, true, predicted)`: what is above and what is below."""

    short: str

    def __init__(self, classes, average, ignore_label, from_logits, name, dtype):
        super().__init__(name=name, dtype=dtype)
        self.classes = classes if isinstance(classes, int) else tuple(classes)
        self.names = class_names(classes)
        self.average = checks.one_of("average", average, AVERAGES)
        self.ignore_label, self.from_logits = ignore_label, from_logits
        count = len(self.names)
        self.counts = self.add_weight(name="counts", shape=(count, count), initializer="zeros", dtype="float64")
        self.image_sum = self.add_weight(name="image_sum", shape=(), initializer="zeros", dtype="float64")
        self.images = self.add_weight(name="images", shape=(), initializer="zeros", dtype="float64")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch of images.

        Args:
            y_true: (B, ...) or (B, ..., 1) indices of classes, or one-hot (B, ..., K).
            y_pred: (B, ..., K) scores of the classes, (B, ..., 1) of the second of two, or (B, ...) whole numbers.
            sample_weight: (B,) weight of each image, or None.

        Raises:
            ArgumentError: the shapes do not fit the number of classes, or the weights are not one an image.
        """
        count = len(self.names)
        true, predicted = self._labels(y_true, y_pred)
        batch = ops.shape(true)[0]
        skipped = ops.zeros_like(true) > 0 if self.ignore_label is None else true == self.ignore_label
        wrong = ops.logical_or(true < 0, true >= count)
        wrong = ops.logical_and(ops.logical_or(wrong, ops.logical_or(predicted < 0, predicted >= count)), ~skipped)
        skipped = ops.logical_or(skipped, wrong)
        cells = ops.where(skipped, ops.zeros_like(true), true * count + predicted)
        cells = cells + ops.arange(batch, dtype="int32")[:, None] * count**2
        pixels = ops.reshape(ops.cast(~skipped, "int32"), (-1,))  # float32 counts to 16,777,216
        counts = ops.segment_sum(pixels, ops.reshape(cells, (-1,)), num_segments=batch * count**2)
        counts = ops.reshape(ops.cast(counts, "float64"), (batch, count, count))
        counts = counts + ops.where(ops.any(wrong, axis=-1), ops.cast(float("nan"), "float64"), 0.0)[:, None, None]
        weights = ops.ones((batch,), dtype="float64")
        if sample_weight is not None:
            sample_weight = ops.convert_to_tensor(sample_weight)
            if len(sample_weight.shape) != 1:
                checks.refuse("sample_weight must be one number an image", tuple(sample_weight.shape))
            weights = ops.cast(sample_weight, "float64")
        self.counts.assign_add(ops.sum(counts * weights[:, None, None], axis=0))
        means = _mean_share(*self._parts(counts))
        is_measured = ops.any(counts != 0, axis=(1, 2))
        self.image_sum.assign_add(ops.sum(ops.where(is_measured, means * weights, ops.zeros_like(means))))
        self.images.assign_add(ops.sum(ops.where(is_measured, weights, ops.zeros_like(weights))))

    def result(self):
        """Returns the figure, a scalar from 0 to 1; NaN if nothing was measured, or a label was beyond the classes."""
        if self.average == "images":
            value = self.image_sum / self.images
        else:
            above, below = self._parts(ops.convert_to_tensor(self.counts))
            value = _mean_share(above, below) if self.average == "classes" else ops.sum(above) / ops.sum(below)
        return ops.cast(value, self.dtype)

    def per_class(self) -> dict[str, float]:
        """Returns the share of each class by its name; NaN for a class without pixels."""
        above, below = (np.array(each) for each in self._parts(ops.convert_to_tensor(self.counts)))
        shares = np.divide(above, below, out=np.full(len(above), np.nan), where=below != 0)
        return dict(zip(self.names, map(float, shares), strict=True))

    def figures(self) -> SegmentationFigures:
        """Returns the figure and that of each class as a result with `table()` and `to_json()`."""
        classes = {name: {self.short: value} for name, value in self.per_class().items()}
        return SegmentationFigures({self.short: float(self.result())}, classes)

    def get_config(self):
        own = {"average": self.average, "ignore_label": self.ignore_label, "from_logits": self.from_logits}
        return {"name": self.name, "dtype": self.dtype, "classes": self.classes, **own}

    def _parts(self, counts):
        """Returns what is above and below of the shares of classes, each (..., K)."""
        return self.parts(ops.diagonal(counts, axis1=-2, axis2=-1), ops.sum(counts, axis=-1), ops.sum(counts, axis=-2))

    def _labels(self, y_true, y_pred):
        """Returns true and predicted classes, each (B, N) int32."""
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        count, channels = len(self.names), y_pred.shape[-1]
        if "int" in keras.backend.standardize_dtype(y_pred.dtype):
            predicted = y_pred
        elif channels == count and count > 1:
            predicted = ops.argmax(y_pred, axis=-1)
        elif channels == 1 and count == 2:
            predicted = ops.squeeze(y_pred, -1) > (0.0 if self.from_logits else 0.5)
        else:
            rule = f"predictions must be scores (..., {count}) of the classes, or classes in whole numbers"
            checks.refuse(rule, f"shape {tuple(y_pred.shape)}", "Scores (..., 1) are for two classes.")
        if len(y_true.shape) == len(predicted.shape) + 1:
            sparse = y_true.shape[-1] == 1
            y_true = ops.squeeze(y_true, -1) if sparse else self._of_one_hot(y_true)
        pairs = zip(y_true.shape, predicted.shape, strict=False)
        if len(y_true.shape) != len(predicted.shape) or any(None not in pair and pair[0] != pair[1] for pair in pairs):
            checks.refuse(f"labels must have the shape {tuple(predicted.shape)} of the pixels", tuple(y_true.shape))
        return (ops.reshape(ops.cast(each, "int32"), (ops.shape(each)[0], -1)) for each in (y_true, predicted))

    def _of_one_hot(self, labels):
        """Returns classes of one-hot labels; a pixel of no class is ignored where there is such a label."""
        if labels.shape[-1] != len(self.names):
            checks.refuse(f"one-hot labels must have {len(self.names)} entries", labels.shape[-1])
        classes = ops.cast(ops.argmax(labels, axis=-1), "int32")
        if self.ignore_label is None:
            return classes
        is_one = ops.sum(ops.cast(labels, "float32"), axis=-1) == 1
        return ops.where(is_one, classes, ops.full_like(classes, self.ignore_label))


def _mean_share(above, below):
    """Returns the mean (...,) of the shares (..., K) that have something below; NaN for none."""
    is_some = below != 0
    shares = ops.where(is_some, above / ops.where(is_some, below, ops.ones_like(below)), ops.zeros_like(above))
    return ops.sum(shares, axis=-1) / ops.sum(ops.cast(is_some, shares.dtype), axis=-1)


@keras.saving.register_keras_serializable("kerasdl")
class MeanIoU(_ConfusionMetric):
    """Mean IoU of pixels: true positives over true positives, false positives and false negatives.

    A class that neither labels nor predictions have counts in no mean. A label or a prediction beyond the classes makes
    the figure NaN.

    Args:
        classes: number of classes, or their names.
        average: `classes`, the mean over the classes of the counts of all images; `micro`, the counts of all classes
            together; `images`, the mean over images of the mean over the classes of each.
        ignore_label: label of pixels that do not count; None for none.
        from_logits: whether predictions of a single channel are logits; their foreground is above 0, that of
            probabilities above 0.5.
        name: as in Keras.
        dtype: as in Keras.

    Raises:
        ArgumentError: the classes or the average break their rule.

    Example:
        >>> metric = MeanIoU(2)
        >>> metric.update_state(np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 1]]))
        >>> float(metric.result()), metric.per_class()
        (0.5, {'0': 0.5, '1': 0.5})
    """

    short = "IoU"

    def __init__(
        self,
        classes: int | Sequence[str],
        average="classes",
        ignore_label=255,
        from_logits=True,
        name="mean_iou",
        dtype=None,
    ):
        super().__init__(classes, average, ignore_label, from_logits, name, dtype)

    def parts(self, both, true, predicted):
        return both, true + predicted - both


@keras.saving.register_keras_serializable("kerasdl")
class DiceCoefficient(_ConfusionMetric):
    """Dice coefficient of pixels, the F1 score of each class: 2 TP / (2 TP + FP + FN).

    Args:
        classes: number of classes, or their names.
        average: `classes`, `micro` or `images`, as in `MeanIoU`.
        ignore_label: label of pixels that do not count; None for none.
        from_logits: whether predictions of a single channel are logits, as in `MeanIoU`.
        name: as in Keras.
        dtype: as in Keras.

    Raises:
        ArgumentError: the classes or the average break their rule.

    Example:
        >>> metric = DiceCoefficient(["background", "leaf"])
        >>> metric.update_state(np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 1]]))
        >>> round(metric.per_class()["leaf"], 4)
        0.6667
    """

    short = "Dice"

    def __init__(
        self,
        classes: int | Sequence[str],
        average="classes",
        ignore_label=255,
        from_logits=True,
        name="dice_coefficient",
        dtype=None,
    ):
        super().__init__(classes, average, ignore_label, from_logits, name, dtype)

    def parts(self, both, true, predicted):
        return 2 * both, true + predicted


@keras.saving.register_keras_serializable("kerasdl")
class PixelAccuracy(_ConfusionMetric):
    """Pixel accuracy: the share of labelled pixels that are predicted right.

    Args:
        classes: number of classes, or their names.
        average: `micro`, the share of all pixels; `classes`, the mean over the classes of the share of each; `images`,
            the mean over images of that mean in each.
        ignore_label: label of pixels that do not count; None for none.
        from_logits: whether predictions of a single channel are logits, as in `MeanIoU`.
        name: as in Keras.
        dtype: as in Keras.

    Raises:
        ArgumentError: the classes or the average break their rule.

    Example:
        >>> metric = PixelAccuracy(2)
        >>> metric.update_state(np.array([[0, 0, 0, 1, 255]]), np.array([[0, 0, 1, 1, 1]]))
        >>> float(metric.result())
        0.75
    """

    short = "accuracy"

    def __init__(
        self,
        classes: int | Sequence[str],
        average="micro",
        ignore_label=255,
        from_logits=True,
        name="pixel_accuracy",
        dtype=None,
    ):
        super().__init__(classes, average, ignore_label, from_logits, name, dtype)

    def parts(self, both, true, predicted):
        return both, true
