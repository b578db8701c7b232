"""Losses of boxes: 1 minus their IoU, GIoU, DIoU or CIoU, and smooth L1 of their coded numbers.

Their arguments `reduction`, `name` and `dtype` are those of Keras's losses.
"""

import keras
from keras import ops

from kerasdl.core import checks
from kerasdl.ops import aligned_overlaps


class _OverlapLoss(keras.losses.Loss):
    """Loss 1 - overlap of `xyxy` boxes (..., 4), by one kind of `kerasdl.ops.aligned_overlaps`."""

    kind: str

    def __init__(self, reduction="sum_over_batch_size", name=None, dtype=None):
        super().__init__(name=name or self.kind, reduction=reduction, dtype=dtype)

    def call(self, y_true, y_pred):
        return 1 - aligned_overlaps(y_pred, y_true, self.kind)


@keras.saving.register_keras_serializable("kerasdl")
class IoU(_OverlapLoss):
    """IoU loss of boxes: 1 - IoU, without a gradient for boxes that do not overlap.

    Source: UnitBox, https://arxiv.org/abs/1608.01471, in the linear form.

    Returns:
        Called on true and predicted `xyxy` boxes (..., 4), the float32 loss, from 0 to 1 for each box.

    Example:
        >>> float(IoU()(np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 0, 2, 1]])))
        0.5
    """

    kind = "iou"


@keras.saving.register_keras_serializable("kerasdl")
class GIoU(_OverlapLoss):
    """GIoU loss of boxes: 1 - GIoU, which falls as boxes that do not overlap come nearer.

    Source: https://arxiv.org/abs/1902.09630, algorithm 1.

    Returns:
        Called on true and predicted `xyxy` boxes (..., 4), the float32 loss, from 0 to 2 for each box.

    Example:
        >>> float(GIoU()(np.array([[0.0, 0, 1, 1]]), np.array([[1.0, 0, 2, 1]])))
        1.0
    """

    kind = "giou"


@keras.saving.register_keras_serializable("kerasdl")
class DIoU(_OverlapLoss):
    """DIoU loss of boxes: 1 - IoU, and the distance of the centres in relation to the hull's diagonal.

    Source: https://arxiv.org/abs/1911.08287, equation 7.

    Returns:
        Called on true and predicted `xyxy` boxes (..., 4), the float32 loss, from 0 to 2 for each box.

    Example:
        >>> round(float(DIoU()(np.array([[0.0, 0, 1, 1]]), np.array([[1.0, 0, 2, 1]]))), 3)
        1.2
    """

    kind = "diou"


@keras.saving.register_keras_serializable("kerasdl")
class CIoU(_OverlapLoss):
    """CIoU loss of boxes: the DIoU loss, and a term for unlike aspect ratios.

    Source: https://arxiv.org/abs/1911.08287, equations 8 to 11.

    Returns:
        Called on true and predicted `xyxy` boxes (..., 4), the float32 loss for each box.

    Example:
        >>> round(float(CIoU()(np.array([[0.0, 0, 4, 2]]), np.array([[1.0, 0, 3, 4]]))), 3)
        0.732
    """

    kind = "ciou"


@keras.saving.register_keras_serializable("kerasdl")
class SmoothL1(keras.losses.Loss):
    """Smooth L1 loss of coded boxes: squared below `beta`, absolute above it.

    Source: Fast R-CNN, https://arxiv.org/abs/1504.08083, equation 3. It is the Huber loss divided by beta.

    Args:
        beta: difference at which it turns from squared to absolute, above 0.

    Returns:
        Called on true and predicted numbers (..., D), the float32 loss, summed over the last axis.

    Raises:
        ArgumentError: beta is not positive.

    Example:
        >>> float(SmoothL1(1.0)(np.array([[0.0, 0.0]]), np.array([[0.5, 2.0]])))
        1.625
    """

    def __init__(self, beta=1.0, reduction="sum_over_batch_size", name="smooth_l1", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.beta = checks.within("beta", beta, 1e-9, 1e9)

    def call(self, y_true, y_pred):
        gap = ops.abs(y_true - y_pred)
        return ops.sum(ops.where(gap < self.beta, gap * gap / (2 * self.beta), gap - self.beta / 2), axis=-1)

    def get_config(self):
        return {**super().get_config(), "beta": self.beta}
