"""Cross-entropy over pixels: of all of them, and of the hardest (OHEM)."""

import math
from typing import Any

import keras
from keras import ops

from kerasdl.core import checks

from .pixels import PixelLoss, Pixels, read_pixels


@keras.saving.register_keras_serializable("kerasdl")
class PixelCrossEntropy(PixelLoss):
    """Cross-entropy over the labelled pixels of an image.

    Source of the weight maps: U-Net, https://arxiv.org/abs/1505.04597, equation 1; here the sum of the weighted pixels
    is divided by their number.

    Args:
        from_logits: whether predictions are logits rather than probabilities.
        multi_label: whether classes overlap: a sigmoid for each class, and labels of 0 and 1 for each.
        ignore_label: label of pixels that do not count; None for none.
        class_weights: a weight for each class, two for a single channel (background, foreground); None for all alike.

    Returns:
        Called on labels (B, ...) or (B, ..., K) and predictions (B, ..., K), the float32 loss: the mean over the pixels
        of each image, with `class_weights` the weighted mean, 0 where all are ignored. `sample_weight` is one number an
        image, or one a pixel (B, ...), by which the pixel's loss is multiplied. NaN for an image with a label beyond
        the classes.

    Raises:
        ArgumentError: an argument breaks its rule, or the shapes of labels and predictions do not belong together.

    Example:
        >>> labels, logits = np.array([[0, 1, 255]]), np.zeros((1, 3, 2), "float32")
        >>> round(float(PixelCrossEntropy()(labels, logits)), 4)
        0.6931
    """

    def __init__(
        self,
        from_logits=True,
        multi_label=False,
        ignore_label=255,
        class_weights=None,
        reduction="sum_over_batch_size",
        name="pixel_cross_entropy",
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

    def __call__(self, y_true, y_pred, sample_weight=None):
        if sample_weight is None or len(ops.shape(sample_weight)) < 2:
            return super().__call__(y_true, y_pred, sample_weight)
        pairs = list(zip(ops.shape(sample_weight), y_pred.shape[:-1], strict=False))
        fits = len(ops.shape(sample_weight)) == len(y_pred.shape) - 1
        if not fits or any(isinstance(one, int) and other not in (None, one) for one, other in pairs):
            rule = f"sample_weight must be one number an image, or one a pixel of {tuple(y_pred.shape[:-1])}"
            checks.refuse(rule, tuple(ops.shape(sample_weight)))
        return super().__call__((y_true, sample_weight), y_pred)

    def call(self, y_true, y_pred):
        if not isinstance(y_true, tuple):
            return super().call(y_true, y_pred)
        labels, maps = y_true
        pixels = read_pixels(labels, y_pred, self.ignore_label, self.multi_label)
        predictions, maps = (
            ops.reshape(each, (ops.shape(y_pred)[0], -1, each.shape[-1])) for each in (y_pred, maps[..., None])
        )
        return self.image_losses(pixels, predictions, maps[..., 0]) + pixels.faults

    def image_losses(self, pixels, predictions, maps=1.0):
        surprise, weights = surprise_of(self, pixels, predictions)
        return ops.sum(weights * surprise * maps, axis=-1) / _above_zero(ops.sum(weights, axis=-1))

    def get_config(self):
        return {**super().get_config(), "multi_label": self.multi_label}


@keras.saving.register_keras_serializable("kerasdl")
class OHEMCrossEntropy(PixelLoss):
    """Cross-entropy of the hard pixels of an image: those whose true class has a low probability (OHEM).

    Source: online hard example mining, Shrivastava 2016, https://arxiv.org/abs/1604.03540, section 4, over pixels as
    BiSeNet has it, https://arxiv.org/abs/1808.00897, section 4. Deviation: the hard pixels are chosen in each image,
    not in a batch, so that the loss does not depend on its batch.

    Args:
        threshold: probability of the true class below which a pixel is hard, above 0, at most 1; 1 takes all pixels.
        least_share: share of an image's pixels that count at the least, the hardest, from 0 to 1.
        from_logits: whether predictions are logits rather than probabilities.
        ignore_label: label of pixels that do not count; None for none.
        class_weights: a weight for each class, two for a single channel (background, foreground); None for all alike.

    Returns:
        Called on labels (B, ...) or (B, ..., K) and predictions (B, ..., K), the float32 loss: of each image the
        weighted mean over its hard pixels, 0 where none is hard. NaN for an image with a label beyond the classes.

    Raises:
        ArgumentError: an argument breaks its rule, or the shapes of labels and predictions do not belong together.

    Example:
        >>> labels, logits = np.array([[0, 1, 1]]), np.array([[[4.0, 0], [0, 0], [0, 4]]], "float32")
        >>> round(float(OHEMCrossEntropy()(labels, logits)), 4)  # of the second pixel alone
        0.6931
    """

    def __init__(
        self,
        threshold=0.7,
        least_share=1 / 16,
        from_logits=True,
        ignore_label=255,
        class_weights=None,
        reduction="sum_over_batch_size",
        name="ohem_cross_entropy",
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
        self.threshold = checks.within("threshold", threshold, 1e-6, 1.0)
        self.least_share = checks.within("least_share", least_share, 0.0, 1.0)

    def image_losses(self, pixels, predictions):
        surprise, weights = surprise_of(self, pixels, predictions)
        valid = pixels.valid[..., 0]
        hardest = ops.flip(ops.sort(ops.where(valid > 0, surprise, -ops.ones_like(surprise)), axis=-1), axis=-1)
        least = ops.cast(ops.ceil(self.least_share * ops.sum(valid, axis=-1)), "int32")
        bound = ops.take_along_axis(hardest, ops.maximum(least - 1, 0)[:, None], axis=-1)
        limit = -math.log(self.threshold) if self.threshold < 1 else -1.0
        bound = ops.where(least[:, None] > 0, ops.minimum(bound, limit), limit)
        weights = weights * ops.cast(surprise >= ops.stop_gradient(bound), surprise.dtype)
        return ops.sum(weights * surprise, axis=-1) / _above_zero(ops.sum(weights, axis=-1))

    def get_config(self):
        return {**super().get_config(), "threshold": self.threshold, "least_share": self.least_share}


def surprise_of(loss: PixelLoss, pixels: Pixels, predictions: Any) -> tuple[Any, Any]:
    """Returns the cross-entropy and the weight of each pixel, both (B, N); 0 is the weight of ignored ones.

    Args:
        loss: tells the form of the predictions, and the weights of the classes.
        pixels: labels of N pixels an image.
        predictions: (B, N, K).
    """
    valid, targets = pixels.valid[..., 0], pixels.targets
    if loss.multi_label:
        both = targets * _log(loss, predictions) + (1 - targets) * _log(loss, predictions, complement=True)
        return -ops.mean(both * loss.weights_of(targets.shape[-1]), axis=-1), valid
    log_p = _log(loss, predictions)
    if predictions.shape[-1] == 1:
        targets = ops.concatenate([1 - targets, targets], axis=-1)
        log_p = ops.concatenate([_log(loss, predictions, complement=True), log_p], axis=-1)
    weights = valid * ops.sum(targets * loss.weights_of(targets.shape[-1]), axis=-1)
    return -ops.sum(targets * log_p, axis=-1), weights


def _log(loss: PixelLoss, predictions: Any, complement: bool = False) -> Any:
    """Returns the logarithms of probabilities (B, N, K), or of those that a pixel is not of each class."""
    if not loss.from_logits:
        return ops.log(ops.clip(1 - predictions if complement else predictions, 1e-7, 1.0))
    if predictions.shape[-1] > 1 and not loss.multi_label:
        return ops.log_softmax(predictions, axis=-1)
    return ops.log_sigmoid(-predictions if complement else predictions)


def _above_zero(total: Any) -> Any:
    return ops.where(total > 0, total, ops.ones_like(total))
