"""Base class of attention between two sequences: scores of pairs, a masked softmax, and a weighted mean."""

from typing import Any

import keras
from keras import ops

from kerasdl.core import checks

TINY = 1e-9
"""Added to a sum that is at least one over S wherever a position is visible."""


class ScoredAttention(keras.layers.Layer):
    """Attention of queries over values; a subclass gives the score of each pair, and may weigh positions.

    Weights are computed in float32 in every precision. Where all values of an example are masked, its weights and
    outputs are 0.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def pair_scores(self, query: Any, values: Any) -> Any:
        """Returns the score of each pair, (B, T, S)."""
        raise NotImplementedError

    def position_weights(self, query: Any, values: Any, mask: Any) -> tuple[Any, Any] | None:
        """Returns the positions that count, booleans, and their factors, each (B or 1, T, S); None where all count."""
        return None

    def build(self, input_shape):
        shapes = [tuple(shape) for shape in input_shape if isinstance(shape, (tuple, list))]
        if len(shapes) != 2 or any(len(shape) != 3 or shape[-1] is None for shape in shapes):
            rule = f"inputs of {type(self).__name__} must be [query (B, T, D), values (B, S, E)]"
            checks.refuse(rule, input_shape, "A single query is (B, 1, D).")
        self.build_weights(shapes[0][-1], shapes[1][-1])
        self.built = True

    def build_weights(self, query_width: int, value_width: int) -> None:
        """Makes the weights of the score."""

    def call(self, inputs, mask=None, return_attention_scores=False):
        query, values = inputs
        mask = self._value_mask(mask)
        scores = ops.cast(self.pair_scores(query, values), "float32")
        visible = None if mask is None else ops.cast(mask, "bool")[:, None, :]
        positions = self.position_weights(query, values, mask)
        if positions is not None:
            visible = positions[0] if visible is None else ops.logical_and(visible, positions[0])
        weights = ops.softmax(scores, axis=-1) if visible is None else visible_softmax(scores, visible)
        if positions is not None:
            weights = weights * positions[1]
        context = ops.matmul(ops.cast(weights, values.dtype), values)  # (B, T, E)
        return (context, weights) if return_attention_scores else context

    def compute_output_spec(self, inputs, mask=None, return_attention_scores=False):
        query, values = inputs
        context = keras.KerasTensor((*query.shape[:2], values.shape[-1]), dtype=self.compute_dtype)
        weights = keras.KerasTensor((*query.shape[:2], values.shape[1]), dtype="float32")
        return (context, weights) if return_attention_scores else context

    def compute_mask(self, inputs, mask=None):
        return None

    def _value_mask(self, mask: Any) -> Any:
        if mask is not None and not (isinstance(mask, (list, tuple)) and len(mask) == 2):
            rule = f"mask of {type(self).__name__} must be [query mask or None, value mask or None], as of Keras"
            checks.refuse(rule, getattr(mask, "shape", mask), "Pass mask=[None, mask].")
        return None if mask is None else mask[1]


def visible_softmax(scores: Any, visible: Any) -> Any:
    """Returns the softmax (B, T, S) over visible positions, exactly 0 at others; all 0 where none is visible.

    Hidden positions get the lowest score, not -1e9: integers of a file hold no such number beside other scores. The
    total is a mean times S: TFLite's 16-bit SUM is wrong where a total is larger than each of its terms.
    """
    lowest = ops.min(scores, axis=-1, keepdims=True)
    shares = ops.softmax(ops.where(visible, scores, lowest), axis=-1) * ops.cast(visible, "float32")
    count = ops.cast(ops.shape(shares)[-1], "float32")
    return shares / (ops.mean(shares, axis=-1, keepdims=True) * count + TINY)


def additive_scores(query: Any, values: Any, vector: Any) -> Any:
    """Returns the sums over units of vector * tanh(query + values), (B, T, S), from (B, T, U) and (B, S, U)."""
    hidden = ops.tanh(query[:, :, None] + values[:, None])  # (B, T, S, U)
    # A mean and not a sum: the sums of TFLite's 16-bit kernels are wrong (a difference of 0.4, measured).
    return ops.mean(hidden * vector, axis=-1) * vector.shape[0]
