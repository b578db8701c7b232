"""Perplexity and bits per token of language models, from sums in float64 over all real tokens."""

import math

import keras
from keras import ops

from kerasdl.core import checks


class _MeanTokenLoss(keras.metrics.Metric):
    """Mean cross-entropy of the tokens that count, in nats, as `figure_of` shows it."""

    def __init__(self, ignore_class: int | None, from_logits: bool, name: str, dtype):
        super().__init__(name=name, dtype=dtype)
        self.ignore_class, self.from_logits = ignore_class, from_logits
        self.total = self.add_weight(name="total", shape=(), initializer="zeros", dtype="float64")
        self.count = self.add_weight(name="count", shape=(), initializer="zeros", dtype="float64")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch.

        Args:
            y_true: (..., ) or (..., 1) token ids.
            y_pred: (..., V) logits, or probabilities if `from_logits` is False.
            sample_weight: numbers that fit the first axes of the tokens: (B,) one a sequence, (B, T) one a token.

        Raises:
            ArgumentError: the shapes do not fit.
        """
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.cast(ops.convert_to_tensor(y_pred), "float32")
        if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == 1:
            y_true = ops.squeeze(y_true, -1)
        if len(y_true.shape) != len(y_pred.shape) - 1:
            checks.refuse(f"tokens must have the axes of {tuple(y_pred.shape)} but for the last", tuple(y_true.shape))
        tokens = ops.cast(y_true, "int32")
        counts = ops.ones_like(tokens) > 0 if self.ignore_class is None else tokens != self.ignore_class
        is_known = ops.logical_and(tokens >= 0, tokens < y_pred.shape[-1])
        losses = ops.sparse_categorical_crossentropy(
            ops.where(is_known, tokens, 0), y_pred, from_logits=self.from_logits
        )
        losses = ops.where(is_known, ops.cast(losses, "float64"), ops.cast(float("nan"), "float64"))
        weights = ops.cast(counts, "float64")
        if sample_weight is not None:
            sample_weight = ops.cast(ops.convert_to_tensor(sample_weight), "float64")
            missing = len(weights.shape) - len(sample_weight.shape)
            if missing < 0:
                checks.refuse(f"weights must fit tokens {tuple(tokens.shape)}", tuple(sample_weight.shape))
            weights = weights * sample_weight[(..., *[None] * missing)]
        self.total.assign_add(ops.sum(ops.where(counts, losses * weights, ops.zeros_like(losses))))
        self.count.assign_add(ops.sum(weights))

    def result(self):
        """Returns the figure, a scalar; NaN if nothing counted or a token was beyond the vocabulary."""
        return ops.cast(self.figure_of(self.total / self.count), self.dtype)

    def get_config(self):
        own = {"ignore_class": self.ignore_class, "from_logits": self.from_logits}
        return {"name": self.name, "dtype": self.dtype, **own}


@keras.saving.register_keras_serializable("kerasdl")
class Perplexity(_MeanTokenLoss):
    """Perplexity: e to the mean cross-entropy of all tokens that count.

    Every token counts once, however batches and sequences differ in length; a mean of batches' perplexities would not.

    Source: Jurafsky and Martin, Speech and Language Processing, section 3.3.

    Args:
        ignore_class: label of positions that do not count; None for none.
        from_logits: whether predictions are logits, not probabilities.
        name: as in Keras.
        dtype: as in Keras.

    Raises:
        ArgumentError: `update_state` gets shapes that do not fit.

    Example:
        >>> metric = Perplexity(from_logits=False)
        >>> metric.update_state([[0, 1, -1]], [[[0.5, 0.5], [0.5, 0.5], [0.9, 0.1]]])
        >>> float(metric.result())
        2.0
    """

    def __init__(self, ignore_class: int | None = -1, from_logits: bool = True, name="perplexity", dtype=None):
        super().__init__(ignore_class, from_logits, name, dtype)

    def figure_of(self, mean):
        return ops.exp(mean)


@keras.saving.register_keras_serializable("kerasdl")
class BitsPerToken(_MeanTokenLoss):
    """Bits per token: the mean cross-entropy of all tokens that count, in base 2; bits per character of characters.

    Source: Jurafsky and Martin, Speech and Language Processing, section 3.7.

    Args:
        ignore_class: label of positions that do not count; None for none.
        from_logits: whether predictions are logits, not probabilities.
        name: as in Keras.
        dtype: as in Keras.

    Raises:
        ArgumentError: `update_state` gets shapes that do not fit.

    Example:
        >>> metric = BitsPerToken(from_logits=False)
        >>> metric.update_state([[0, 1, -1]], [[[0.5, 0.5], [0.75, 0.25], [0.9, 0.1]]])
        >>> float(metric.result())
        1.5
    """

    def __init__(self, ignore_class: int | None = -1, from_logits: bool = True, name="bits_per_token", dtype=None):
        super().__init__(ignore_class, from_logits, name, dtype)

    def figure_of(self, mean):
        return mean / math.log(2)
