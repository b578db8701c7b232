"""Cross-entropy with label smoothing for integer labels."""

import keras

from kerasdl.core import checks


@keras.saving.register_keras_serializable("kerasdl")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy with label smoothing (Szegedy et al. 2016, section 7), for integer labels or class probabilities.

    With K classes and smoothing s the target is `1 - s + s / K` at the label and `s / K` elsewhere; for class
    probabilities (Mixup, CutMix) it is `(1 - s) * probability + s / K`.

    Args:
        smoothing: share of the probability spread evenly, from 0 to below 1.
        from_logits: whether predictions are logits (..., K) rather than probabilities.
        reduction: as in Keras.
        name: as in Keras.
        dtype: as in Keras.

    Returns:
        Called on labels (...,), (..., 1) or (..., K) and predictions (..., K), the float32 loss.

    Example:
        >>> round(float(SmoothedCrossEntropy(0.1)(np.array([0]), np.zeros((1, 4), np.float32))), 4)
        1.3863
    """

    end = "softmax"
    """Final activation of a model for this loss with from_logits=False."""

    def __init__(
        self, smoothing, from_logits=True, reduction="sum_over_batch_size", name="smoothed_cross_entropy", dtype=None
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.smoothing = checks.within("smoothing", smoothing, 0.0, 0.999)
        self.from_logits = from_logits

    def call(self, y_true, y_pred):
        same_rank = len(y_true.shape) == len(y_pred.shape)
        if not same_rank or y_true.shape[-1] != y_pred.shape[-1]:
            y_true = keras.ops.squeeze(y_true, -1) if same_rank else y_true
            y_true = keras.ops.one_hot(keras.ops.cast(y_true, "int32"), y_pred.shape[-1])
        shares = keras.ops.cast(y_true, y_pred.dtype)
        return keras.losses.categorical_crossentropy(
            shares, y_pred, from_logits=self.from_logits, label_smoothing=self.smoothing
        )

    def get_config(self):
        return {**super().get_config(), "smoothing": self.smoothing, "from_logits": self.from_logits}
