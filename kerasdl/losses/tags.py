"""Negative log-likelihood of the tags of a sequence, as a chain or each alone (https://arxiv.org/abs/1603.01360)."""

import keras
from keras import ops

from kerasdl.core import checks
from kerasdl.ops import chain_log_likelihood


@keras.saving.register_keras_serializable("kerasdl")
class CRFLoss(keras.losses.Loss):
    """Negative log-likelihood of the tags of each sequence: one number a sequence, the sum over its tokens.

    Potentials (B, T, K, K) of `kerasdl.layers.CRF` are a chain. Logits (B, T, K) are tags that are independent, so that
    nets with and without a CRF are trained alike.

    Source: Lample et al. 2016, https://arxiv.org/abs/1603.01360, section 2.2; tags known in part: Tsuboi et al. 2008,
    https://aclanthology.org/C08-1113, section 4.

    Args:
        reduction: as in Keras.
        name: as in Keras.
        dtype: as in Keras.

    Returns:
        Called on labels (B, T), tags from 0 to K - 1 or -1 where any tag may be (padding, unlabelled tokens), and on
        predictions, the float32 loss; NaN or infinity for a label beyond the tags.

    Raises:
        ArgumentError: predictions are neither (B, T, K) nor (B, T, K, K).

    Example:
        >>> round(float(CRFLoss()(np.array([[0, 1, -1]]), np.zeros((1, 3, 4), "float32"))), 4)  # 2 log 4
        2.7726
    """

    def __init__(self, reduction="sum_over_batch_size", name="crf_loss", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def __call__(self, y_true, y_pred, sample_weight=None):
        return super().__call__(y_true, ops.copy(y_pred), sample_weight)  # without Keras's mask, which is of tokens

    def call(self, y_true, y_pred):
        labels, tags = ops.cast(y_true, "int32"), y_pred.shape[-1]
        if len(y_pred.shape) not in (3, 4) or len(labels.shape) != 2:
            rule = "labels must be (B, T), and predictions (B, T, K) or (B, T, K, K)"
            checks.refuse(rule, [tuple(labels.shape), tuple(y_pred.shape)])
        if len(y_pred.shape) == 4:
            losses = -chain_log_likelihood(y_pred, labels)
        else:
            chosen = ops.one_hot(labels, tags, dtype=y_pred.dtype)  # zeros for -1
            losses = -ops.sum(chosen * ops.log_softmax(y_pred), axis=(1, 2))
        is_wrong = ops.any(ops.logical_or(labels < -1, labels >= tags), axis=1)
        return ops.where(is_wrong, ops.cast(float("nan"), losses.dtype), losses)
