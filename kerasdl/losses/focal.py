"""Focal loss for integer labels; Keras has it for one-hot and binary labels only."""

import keras
from keras import ops

from kerasdl.core import checks


@keras.saving.register_keras_serializable("kerasdl")
class Focal(keras.losses.Loss):
    """Focal loss for integer labels, in which confident predictions count less: -(1 - p)^gamma log p.

    Source: https://arxiv.org/abs/1708.02002, equation 4, over classes.

    Args:
        gamma: strength of that, 0 or more; 0 is cross-entropy.
        from_logits: whether predictions are logits (..., K) rather than probabilities.
        reduction: as in Keras.
        name: as in Keras.
        dtype: as in Keras.

    Returns:
        Called on labels (...,) or (..., 1) and predictions (..., K), the float32 loss.

    Example:
        >>> round(float(Focal(2.0)(np.array([0]), np.zeros((1, 2), np.float32))), 4)
        0.1733
    """

    end = "softmax"
    """Final activation of a model for this loss with from_logits=False."""

    def __init__(self, gamma=2.0, from_logits=True, reduction="sum_over_batch_size", name="focal", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.gamma = checks.within("gamma", gamma, 0.0, 100.0)
        self.from_logits = from_logits

    def call(self, y_true, y_pred):
        surprise = keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=self.from_logits)
        missed = ops.maximum(-ops.expm1(-surprise), 1e-7)  # a power below 1 has no slope at 0
        return missed**self.gamma * surprise

    def get_config(self):
        return {**super().get_config(), "gamma": self.gamma, "from_logits": self.from_logits}
