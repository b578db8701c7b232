"""Shares of tokens, and of whole sequences, that are predicted right."""

from typing import Any

import keras
from keras import ops

from kerasdl.core import checks

IGNORED = -1


class _Share(keras.metrics.Metric):
    """Weighted share of items that are right; a subclass says what is an item, and which of them count."""

    def __init__(self, name: str, dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        self.right = self.add_weight(shape=(), initializer="zeros", name="right")
        self.total = self.add_weight(shape=(), initializer="zeros", name="total")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: token ids (B, T); those of -1 do not count.
            y_pred: logits (B, T, K), or token ids (B, T).
            sample_weight: weights (B,) of the sequences, or of each token (B, T).

        Raises:
            ArgumentError: the shapes do not belong together.
        """
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        if len(y_true.shape) != 2 or len(y_pred.shape) not in (2, 3):
            rule = f"{type(self).__name__} takes true ids (B, T), and logits (B, T, K) or ids (B, T)"
            checks.refuse(rule, (tuple(y_true.shape), tuple(y_pred.shape)))
        if None not in (*y_true.shape, *y_pred.shape[:2]) and y_true.shape != y_pred.shape[:2]:
            rule = f"true and predicted of {type(self).__name__} must be of one length"
            checks.refuse(rule, (tuple(y_true.shape), tuple(y_pred.shape)))
        ids = ops.argmax(y_pred, axis=-1) if len(y_pred.shape) == 3 else y_pred
        true = ops.cast(y_true, "int32")
        counted = ops.not_equal(true, IGNORED)
        weights = ops.cast(counted, self.dtype)
        if sample_weight is not None:
            given = ops.cast(sample_weight, self.dtype)
            weights = weights * (given if len(given.shape) == 2 else given[:, None])
        right, weights = self.items(ops.equal(true, ops.cast(ids, "int32")), counted, weights)
        self.right.assign_add(ops.sum(ops.cast(right, self.dtype) * weights))
        self.total.assign_add(ops.sum(weights))

    def items(self, equal: Any, counted: Any, weights: Any) -> tuple[Any, Any]:
        """Returns which items are right, and their weights, from those of each token (B, T)."""
        raise NotImplementedError

    def result(self) -> Any:
        """Returns the share; 0 before anything counted."""
        return ops.divide_no_nan(self.right, self.total)


@keras.saving.register_keras_serializable("kerasdl")
class TokenAccuracy(_Share):
    """Token accuracy: the share of tokens that are predicted right; those of the label -1 do not count.

    Args:
        name: as in Keras.
        dtype: as in Keras.

    Example:
        >>> metric = TokenAccuracy()
        >>> metric.update_state(np.array([[5, 3, 2, -1]]), np.array([[5, 3, 4, 9]]))
        >>> round(float(metric.result()), 3)
        0.667
    """

    def __init__(self, name: str = "token_accuracy", dtype: Any = None):
        super().__init__(name, dtype)

    def items(self, equal, counted, weights):
        return equal, weights


@keras.saving.register_keras_serializable("kerasdl")
class ExactMatch(_Share):
    """Exact match: the share of sequences whose counted tokens are all predicted right; the label -1 does not count.

    A sequence without a token that counts does not count either; the weight of a sequence is the largest of its
    tokens'.

    Args:
        name: as in Keras.
        dtype: as in Keras.

    Example:
        >>> metric = ExactMatch()
        >>> metric.update_state(np.array([[5, 3, -1], [5, 3, 2]]), np.array([[5, 3, 9], [5, 3, 9]]))
        >>> float(metric.result())
        0.5
    """

    def __init__(self, name: str = "exact_match", dtype: Any = None):
        super().__init__(name, dtype)

    def items(self, equal, counted, weights):
        return ops.all(ops.logical_or(equal, ops.logical_not(counted)), axis=1), ops.max(weights, axis=1)
