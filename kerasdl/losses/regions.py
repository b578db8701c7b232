"""Losses of segmentation by the overlap of regions: Dice, Tversky, focal Tversky, Lovasz hinge and Lovasz softmax.

All of them are one number an image: the mean over its classes. What they have in common:

- Labels are (B, H, W) or (B, H, W, 1) indices of classes, or one-hot (B, H, W, K), of any dtype; predictions are
  (B, H, W, K), or (B, H, W, 1) for a foreground and a background, and any other number of axes between.
- Pixels of the `ignore_label` count in no sum. An image of ignored pixels alone has the loss 0. An image with a label
  that is neither a class nor ignored has the loss NaN, which ends a run of `kerasdl.train.fit`.
- `multi_label=True` is for classes that overlap: one-hot labels, and a sigmoid for each class in place of a softmax.
- A class that an image lacks does not count in its mean, unless `count_absent`; a single channel always counts, and so
  does every class with `multi_label`.
- `sample_weight` is one number an image; `reduction`, `name` and `dtype` are those of Keras's losses.
"""

import keras
import numpy as np
from keras import ops

from kerasdl.core import checks

from .pixels import PixelLoss


class _RegionLoss(PixelLoss):
    """Weighted mean over the classes of an image of `class_losses(targets, scores, valid)`, (B, K)."""

    def __init__(
        self,
        from_logits=True,
        multi_label=False,
        ignore_label=255,
        class_weights=None,
        count_absent=False,
        reduction="sum_over_batch_size",
        name=None,
        dtype=None,
    ):
        super().__init__(
            from_logits=from_logits,
            ignore_label=ignore_label,
            class_weights=class_weights,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )
        self.multi_label = multi_label
        self.count_absent = count_absent
        if multi_label:
            self.end = "sigmoid"

    def image_losses(self, pixels, predictions):
        classes = predictions.shape[-1]
        losses = self.class_losses(pixels.targets, self.scores(predictions) * pixels.valid, pixels.valid)
        weights = self.weights_of(classes) * ops.ones_like(losses)
        if classes > 1 and not self.multi_label and not self.count_absent:
            weights = weights * ops.cast(ops.any(pixels.targets > 0, axis=1), weights.dtype)
        total = ops.sum(weights, axis=-1)
        return ops.sum(weights * losses, axis=-1) / ops.where(total > 0, total, ops.ones_like(total))

    def scores(self, predictions):
        return self.probabilities(predictions)

    def get_config(self):
        return {**super().get_config(), "multi_label": self.multi_label, "count_absent": self.count_absent}


@keras.saving.register_keras_serializable("kerasdl")
class Tversky(_RegionLoss):
    """Tversky loss: 1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth), of soft counts.

    Source: Salehi 2017, https://arxiv.org/abs/1706.05721, equation 3. Deviations: `smooth`, and the mean over classes.

    Args:
        alpha: weight of false positives, 0 or more.
        beta: weight of false negatives, 0 or more; above alpha the loss prefers recall.
        smooth: pixels added above and below, above 0, so that an empty image that is found empty has the loss 0.
        from_logits: whether predictions are logits rather than probabilities.
        multi_label: whether classes overlap.
        ignore_label: label of pixels that do not count; None for none.
        class_weights: a weight for each channel; None counts all alike.
        count_absent: whether classes that an image lacks count too.

    Returns:
        Called on labels (B, ...) or (B, ..., K) and predictions (B, ..., K), the float32 loss, from 0 to 1.

    Raises:
        ArgumentError: an argument breaks its rule, or the shapes of labels and predictions do not belong together.

    Example:
        >>> labels, logits = np.array([[0, 1, 1, 255]]), np.zeros((1, 4, 2), "float32")
        >>> round(float(Tversky(0.5, 0.5, smooth=1e-6)(labels, logits)), 4)
        0.5143
    """

    def __init__(
        self,
        alpha=0.3,
        beta=0.7,
        smooth=1.0,
        from_logits=True,
        multi_label=False,
        ignore_label=255,
        name="tversky",
        **more,
    ):
        super().__init__(from_logits, multi_label, ignore_label, name=name, **more)
        self.alpha = checks.within("alpha", alpha, 0.0, 1e3)
        self.beta = checks.within("beta", beta, 0.0, 1e3)
        self.smooth = checks.within("smooth", smooth, 1e-9, 1e9)

    def class_losses(self, targets, scores, valid):
        both, false, missed = _soft_counts(targets, scores)
        wrong = self.alpha * false + self.beta * missed
        return wrong / (both + wrong + self.smooth)  # 1 minus the index, without a difference of near numbers

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta, "smooth": self.smooth}


@keras.saving.register_keras_serializable("kerasdl")
class FocalTversky(Tversky):
    """Focal Tversky loss: the Tversky loss of each class to the power 1 / gamma.

    Source: Abraham 2018, https://arxiv.org/abs/1810.07842, equation 4, with its weight of false negatives, 0.7, and
    gamma 4/3. Deviation: the mean over classes in place of their sum.

    Args:
        alpha: weight of false positives, 0 or more.
        beta: weight of false negatives, 0 or more.
        gamma: focus, from 1 on: above 1 classes that are nearly right keep more of the gradient.
        smooth: pixels added above and below, above 0.
        from_logits: whether predictions are logits rather than probabilities.
        multi_label: whether classes overlap.
        ignore_label: label of pixels that do not count; None for none.
        class_weights: a weight for each channel; None counts all alike.
        count_absent: whether classes that an image lacks count too.

    Returns:
        Called on labels (B, ...) or (B, ..., K) and predictions (B, ..., K), the float32 loss, from 0 to 1.

    Raises:
        ArgumentError: an argument breaks its rule, or the shapes of labels and predictions do not belong together.

    Example:
        >>> labels, logits = np.array([[0, 1, 1, 255]]), np.zeros((1, 4, 2), "float32")
        >>> round(float(FocalTversky(0.5, 0.5, smooth=1e-6)(labels, logits)), 4)
        0.6057
    """

    def __init__(self, alpha=0.3, beta=0.7, gamma=4 / 3, smooth=1.0, name="focal_tversky", **more):
        super().__init__(alpha, beta, smooth, name=name, **more)
        self.gamma = checks.within("gamma", gamma, 1.0, 100.0)

    def class_losses(self, targets, scores, valid):
        losses = super().class_losses(targets, scores, valid)
        return ops.maximum(losses, 1e-7) ** (1 / self.gamma)  # a power below 1 has no slope at 0

    def get_config(self):
        return {**super().get_config(), "gamma": self.gamma}


@keras.saving.register_keras_serializable("kerasdl")
class Dice(_RegionLoss):
    """Dice loss: 1 - (2 TP + smooth) / (2 TP + FP + FN + smooth), of soft counts.

    Source: V-Net, https://arxiv.org/abs/1606.04797, section 3. Deviations: the denominator has plain sums, as most
    libraries have it, not squares; `smooth`; the mean over classes.

    Args:
        smooth: pixels added above and below, above 0, so that an empty image that is found empty has the loss 0.
        from_logits: whether predictions are logits rather than probabilities.
        multi_label: whether classes overlap.
        ignore_label: label of pixels that do not count; None for none.
        class_weights: a weight for each channel; None counts all alike.
        count_absent: whether classes that an image lacks count too.

    Returns:
        Called on labels (B, ...) or (B, ..., K) and predictions (B, ..., K), the float32 loss, from 0 to 1.

    Raises:
        ArgumentError: an argument breaks its rule, or the shapes of labels and predictions do not belong together.

    Example:
        >>> masks, logits = np.array([[0, 1, 1, 255]]), np.zeros((1, 4, 1), "float32")
        >>> round(float(Dice()(masks, logits)), 4)  # 2 TP is 2, FP and FN are 1.5
        0.3333
    """

    def __init__(self, smooth=1.0, from_logits=True, multi_label=False, name="dice", **more):
        super().__init__(from_logits, multi_label, name=name, **more)
        self.smooth = checks.within("smooth", smooth, 1e-9, 1e9)

    def class_losses(self, targets, scores, valid):
        both, false, missed = _soft_counts(targets, scores)
        return (false + missed) / (2 * both + false + missed + self.smooth)

    def get_config(self):
        return {**super().get_config(), "smooth": self.smooth}


class _LovaszLoss(_RegionLoss):
    """Region loss of labels of 0 and 1 alone; shares are refused, and in a graph the loss of their image is NaN."""

    def __call__(self, y_true, y_pred, sample_weight=None):
        if isinstance(y_true, np.ndarray) or hasattr(y_true, "numpy"):  # no symbol of a graph
            values = np.asarray(y_true)
            if values.dtype.kind == "f" and (soft := values[values % 1 != 0]).size:
                hint = "Leave label smoothing and mixing out, or take Dice."
                checks.refuse(f"labels of {self.name} must be whole numbers, not shares", soft.flat[0].item(), hint)
        return super().__call__(y_true, y_pred, sample_weight)

    def hard(self, targets):
        """Returns 0 for each class (B, K) whose targets are 0 or 1, else NaN."""
        soft = ops.any(ops.logical_and(targets != 0, targets != 1), axis=1)
        return ops.where(soft, float("nan"), 0.0)


@keras.saving.register_keras_serializable("kerasdl")
class LovaszSoftmax(_LovaszLoss):
    """Lovasz softmax loss: the Jaccard loss 1 - IoU of each class, made piecewise linear in the errors of pixels.

    Source: Berman 2018, https://arxiv.org/abs/1705.08790, equations 9 to 11, the mean over the classes of each image.

    Args:
        from_logits: whether predictions are logits rather than probabilities.
        multi_label: whether classes overlap.
        ignore_label: label of pixels that do not count; None for none.
        class_weights: a weight for each channel; None counts all alike.
        count_absent: whether classes that an image lacks count too.

    Returns:
        Called on labels (B, ...) or (B, ..., K) and predictions (B, ..., K), the float32 loss, from 0 to 1. NaN for an
        image whose labels are shares of classes.

    Raises:
        ArgumentError: an argument breaks its rule, labels are shares, or the shapes of labels and predictions do not
            belong together.

    Example:
        >>> labels, logits = np.array([[0, 1, 1, 255]]), np.zeros((1, 4, 2), "float32")
        >>> round(float(LovaszSoftmax()(labels, logits)), 4)
        0.5
    """

    def __init__(self, from_logits=True, multi_label=False, name="lovasz_softmax", **more):
        super().__init__(from_logits, multi_label, name=name, **more)

    def class_losses(self, targets, scores, valid):
        return _lovasz(ops.abs(targets - scores), targets) + self.hard(targets)


@keras.saving.register_keras_serializable("kerasdl")
class LovaszHinge(_LovaszLoss):
    """Lovasz hinge loss: the Jaccard loss 1 - IoU of each channel, made piecewise linear in the hinge errors.

    Each channel is a foreground of its own, so that K channels are K masks; a model ends in logits.

    Source: Berman 2018, https://arxiv.org/abs/1705.08790, section 2.1.

    Args:
        from_logits: True; probabilities are refused.
        ignore_label: label of pixels that do not count; None for none.
        class_weights: a weight for each channel; None counts all alike.

    Returns:
        Called on labels (B, ...) or (B, ..., K) and logits (B, ..., K), the float32 loss, of each image 0 or more.
        NaN for an image whose labels are shares of classes.

    Raises:
        ArgumentError: an argument breaks its rule, labels are shares, or the shapes of labels and predictions do not
            belong together.

    Example:
        >>> round(float(LovaszHinge()(np.array([[0, 1, 1, 255]]), np.zeros((1, 4, 1), "float32"))), 4)
        1.0
    """

    def __init__(self, from_logits=True, ignore_label=255, class_weights=None, name="lovasz_hinge", **more):
        if not from_logits:
            checks.refuse("from_logits must be True: a hinge has no probabilities", from_logits, "Use LovaszSoftmax.")
        super().__init__(True, True, ignore_label, class_weights, name=name, **more)

    def scores(self, predictions):
        return predictions

    def class_losses(self, targets, scores, valid):
        return _lovasz(ops.relu(1 - scores * (2 * targets - 1)) * valid, targets) + self.hard(targets)

    def get_config(self):
        fixed = ("multi_label", "count_absent")
        return {name: value for name, value in super().get_config().items() if name not in fixed}


def _soft_counts(targets, scores):
    """Returns true positives, false positives and false negatives, each (B, K)."""
    return tuple(ops.sum(each, axis=1) for each in (targets * scores, (1 - targets) * scores, targets * (1 - scores)))


def _lovasz(errors, targets):
    """Returns the Lovasz extension (B, K) of the Jaccard loss at errors (B, N, K), 0 for pixels that do not count."""
    errors, targets = (ops.swapaxes(each, 1, 2) for each in (errors, targets))
    order = ops.stop_gradient(ops.argsort(-errors, axis=-1))
    errors, targets = (ops.take_along_axis(each, order, axis=-1) for each in (errors, targets))
    positives = ops.sum(targets, axis=-1, keepdims=True)
    shared = positives - ops.cumsum(targets, axis=-1)
    union = positives + ops.cumsum(1 - targets, axis=-1)
    jaccard = 1 - shared / union
    slopes = ops.concatenate([jaccard[..., :1], jaccard[..., 1:] - jaccard[..., :-1]], axis=-1)
    return ops.sum(errors * ops.stop_gradient(slopes), axis=-1)
