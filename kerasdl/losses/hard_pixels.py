"""Losses of segmentation over pixels: distances to the true border, and cross-entropy of the hardest pixels."""

import math

import keras
from keras import ops

from kerasdl.core import checks

from .pixels import PixelLoss


@keras.saving.register_keras_serializable("kerasdl")
class Boundary(keras.losses.Loss):
    """Boundary loss: the mean of probabilities times signed distances to the true border, negative inside.

    The distances are made once for each image by `kerasdl.ops.signed_distances`, in the data pipeline; pixels that do
    not count have the distance 0 there. The loss falls below 0 for masks that are right, and is used beside a loss of
    regions, such as `Dice`, whose weight falls during training.

    Source: Kervadec 2019, https://arxiv.org/abs/1812.07032, equation 5, the mean over pixels, summed over classes.

    Args:
        from_logits: whether predictions are logits rather than probabilities.
        class_weights: a weight for each channel, such as (0, 1, 1) without the background; None counts all alike.

    Returns:
        Called on signed distances (B, ..., K) in pixels and predictions (B, ..., K), the float32 loss of each image.

    Raises:
        ArgumentError: an argument breaks its rule, or distances and predictions differ in shape.

    Example:
        >>> distances = np.array([[[-0.5], [0.5], [1.5]]], "float32")  # the first of three pixels is foreground
        >>> float(Boundary()(distances, np.zeros((1, 3, 1), "float32")))
        0.25
    """

    def __init__(
        self, from_logits=True, class_weights=None, reduction="sum_over_batch_size", name="boundary", dtype=None
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self._pixels = PixelLoss(
            from_logits=from_logits,
            ignore_label=None,
            class_weights=class_weights,
            reduction=None,
            name=None,
            dtype=dtype,
        )

    def call(self, y_true, y_pred):
        pairs = zip(y_true.shape, y_pred.shape, strict=False)
        if len(y_true.shape) != len(y_pred.shape) or any(None not in pair and pair[0] != pair[1] for pair in pairs):
            rule = f"distances must have the shape of the predictions, {tuple(y_pred.shape)}"
            checks.refuse(rule, tuple(y_true.shape), "Make them by kerasdl.ops.signed_distances.")
        scores = self._pixels.probabilities(y_pred)
        weighted = y_true * scores * self._pixels.weights_of(y_pred.shape[-1])
        return ops.mean(ops.sum(weighted, axis=-1), axis=tuple(range(1, len(y_pred.shape) - 1)))

    def get_config(self):
        own = {"from_logits": self._pixels.from_logits, "class_weights": self._pixels.class_weights}
        return {**super().get_config(), **own}


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
        valid = pixels.valid[..., 0]
        targets, log_p = pixels.targets, self._log_probabilities(predictions)
        if predictions.shape[-1] == 1:
            targets = ops.concatenate([1 - targets, targets], axis=-1)
        surprise = -ops.sum(targets * log_p, axis=-1)  # (B, N)
        hardest = ops.flip(ops.sort(ops.where(valid > 0, surprise, -ops.ones_like(surprise)), axis=-1), axis=-1)
        least = ops.cast(ops.ceil(self.least_share * ops.sum(valid, axis=-1)), "int32")
        bound = ops.take_along_axis(hardest, ops.maximum(least - 1, 0)[:, None], axis=-1)
        limit = -math.log(self.threshold) if self.threshold < 1 else -1.0
        bound = ops.where(least[:, None] > 0, ops.minimum(bound, limit), limit)
        chosen = valid * ops.cast(surprise >= ops.stop_gradient(bound), surprise.dtype)
        weights = chosen * ops.sum(targets * self.weights_of(targets.shape[-1]), axis=-1)
        total = ops.sum(weights, axis=-1)
        return ops.sum(weights * surprise, axis=-1) / ops.where(total > 0, total, ops.ones_like(total))

    def _log_probabilities(self, predictions):
        """Returns (B, N, K), of a single channel (B, N, 2): background and foreground."""
        if predictions.shape[-1] == 1:
            if self.from_logits:
                return ops.concatenate([ops.log_sigmoid(-predictions), ops.log_sigmoid(predictions)], axis=-1)
            predictions = ops.concatenate([1 - predictions, predictions], axis=-1)
        if self.from_logits:
            return ops.log_softmax(predictions, axis=-1)
        return ops.log(ops.clip(predictions, 1e-7, 1.0))

    def get_config(self):
        return {**super().get_config(), "threshold": self.threshold, "least_share": self.least_share}
