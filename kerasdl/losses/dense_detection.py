"""Losses of dense detectors: focal, quality focal and varifocal over independent classes, distribution focal.

Their arguments `reduction`, `name` and `dtype` are those of Keras's losses; detectors sum and divide by the number of
positives.
"""

import keras
from keras import ops

from kerasdl.core import checks


class _WeightedCrossEntropy(keras.losses.Loss):
    """Binary cross-entropy of independent classes (..., K), each with a weight, summed over the classes.

    A subclass gives them by its `weights(targets, scores)`, which is the formula of its paper.
    """

    end = "sigmoid"
    """Final activation of a model for this loss with from_logits=False."""

    def __init__(self, from_logits, reduction, name, dtype):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.from_logits = from_logits

    def call(self, y_true, y_pred):
        targets = ops.cast(y_true, y_pred.dtype)
        if self.from_logits:
            logits, scores = y_pred, ops.sigmoid(y_pred)
        else:
            scores = ops.clip(y_pred, 1e-7, 1 - 1e-7)
            logits = ops.log(scores) - ops.log1p(-scores)
        entropy = ops.relu(logits) - logits * targets + ops.softplus(-ops.abs(logits))  # the form that never overflows
        return ops.sum(self.weights(targets, scores) * entropy, axis=-1)

    def get_config(self):
        return {**super().get_config(), "from_logits": self.from_logits}


@keras.saving.register_keras_serializable("kerasdl")
class SigmoidFocal(_WeightedCrossEntropy):
    """Focal loss of independent classes: alpha_t * (1 - p_t)^gamma * cross-entropy, summed over the classes.

    Source: RetinaNet, https://arxiv.org/abs/1708.02002, equation 5.

    Args:
        alpha: weight of positives, from 0 to 1; that of negatives is 1 - alpha.
        gamma: strength with which confident predictions count less, 0 or more.
        from_logits: whether predictions are logits rather than probabilities.

    Returns:
        Called on targets 0 or 1 (..., K) and predictions (..., K), the float32 loss.

    Raises:
        ArgumentError: alpha or gamma breaks its rule.

    Example:
        >>> round(float(SigmoidFocal()(np.array([[1.0, 0.0]]), np.zeros((1, 2), "float32"))), 4)
        0.1733
    """

    def __init__(
        self, alpha=0.25, gamma=2.0, from_logits=True, reduction="sum_over_batch_size", name="sigmoid_focal", dtype=None
    ):
        super().__init__(from_logits, reduction, name, dtype)
        self.alpha = checks.within("alpha", alpha, 0.0, 1.0)
        self.gamma = checks.within("gamma", gamma, 0.0, 100.0)

    def weights(self, targets, scores):
        missed = targets * (1 - scores) + (1 - targets) * scores
        share = targets * self.alpha + (1 - targets) * (1 - self.alpha)
        return share * ops.maximum(missed, 1e-7) ** self.gamma  # a power below 1 has no slope at 0

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "gamma": self.gamma}


@keras.saving.register_keras_serializable("kerasdl")
class QualityFocal(_WeightedCrossEntropy):
    """Quality focal loss: the focal loss for targets between 0 and 1, such as the IoU of a box.

    Source: https://arxiv.org/abs/2006.04388, equation 2.

    Args:
        beta: strength with which predictions near their target count less, 0 or more.
        from_logits: whether predictions are logits rather than probabilities.

    Returns:
        Called on targets from 0 to 1 (..., K) and predictions (..., K), the float32 loss, summed over the classes.

    Raises:
        ArgumentError: beta breaks its rule.

    Example:
        >>> round(float(QualityFocal()(np.array([[0.8, 0.0]]), np.zeros((1, 2), "float32"))), 4)
        0.2357
    """

    def __init__(self, beta=2.0, from_logits=True, reduction="sum_over_batch_size", name="quality_focal", dtype=None):
        super().__init__(from_logits, reduction, name, dtype)
        self.beta = checks.within("beta", beta, 0.0, 100.0)

    def weights(self, targets, scores):
        return ops.maximum(ops.abs(targets - scores), 1e-7) ** self.beta

    def get_config(self):
        return {**super().get_config(), "beta": self.beta}


@keras.saving.register_keras_serializable("kerasdl")
class Varifocal(_WeightedCrossEntropy):
    """Varifocal loss: positives weighed by their own quality, negatives by how wrong they are.

    Source: VarifocalNet, https://arxiv.org/abs/2008.13367, equation 2.

    Args:
        alpha: weight of negatives, 0 or more.
        gamma: strength with which confident negatives count less, 0 or more.
        from_logits: whether predictions are logits rather than probabilities.

    Returns:
        Called on targets (..., K), 0 for negatives, the IoU for positives, and predictions (..., K), the float32 loss,
        summed over the classes.

    Raises:
        ArgumentError: alpha or gamma breaks its rule.

    Example:
        >>> round(float(Varifocal()(np.array([[0.8, 0.0]]), np.zeros((1, 2), "float32"))), 4)
        0.6845
    """

    def __init__(
        self, alpha=0.75, gamma=2.0, from_logits=True, reduction="sum_over_batch_size", name="varifocal", dtype=None
    ):
        super().__init__(from_logits, reduction, name, dtype)
        self.alpha = checks.within("alpha", alpha, 0.0, 100.0)
        self.gamma = checks.within("gamma", gamma, 0.0, 100.0)

    def weights(self, targets, scores):
        wrong = self.alpha * ops.maximum(scores, 1e-7) ** self.gamma
        return ops.where(targets > 0, targets, wrong)

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "gamma": self.gamma}


@keras.saving.register_keras_serializable("kerasdl")
class DistributionFocal(keras.losses.Loss):
    """Distribution focal loss: cross-entropy with the two whole distances around the true one.

    Source: https://arxiv.org/abs/2006.04388, equation 6.

    Returns:
        Called on distances (...,) in strides and logits (..., R) of the distances 0 to R - 1, the float32 loss. A true
        distance below 0 counts as 0, one beyond R - 1 as R - 1.

    Example:
        >>> round(float(DistributionFocal()(np.array([1.5]), np.array([[0.0, 9.0, 9.0, 0.0]], "float32"))), 3)
        0.693
    """

    def __init__(self, reduction="sum_over_batch_size", name="distribution_focal", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def call(self, y_true, y_pred):
        last = y_pred.shape[-1] - 1
        distance = ops.clip(ops.cast(y_true, y_pred.dtype), 0, last)
        places = ops.arange(last + 1, dtype=y_pred.dtype)
        shares = ops.relu(1 - ops.abs(places - distance[..., None]))  # (..., R), of the two neighbours
        return -ops.sum(shares * ops.log_softmax(y_pred, axis=-1), axis=-1)
