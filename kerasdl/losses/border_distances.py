"""Boundary loss of segmentation: distances to the true border."""

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
