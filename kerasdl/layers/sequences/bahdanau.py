"""Bahdanau's additive attention (https://arxiv.org/abs/1409.0473).

Deviations: none in the formula. The paper queries with the state before a step of the decoder; the caller chooses.
"""

from typing import Any

import keras
from keras import ops

from kerasdl.core import checks

from .scored_attention import ScoredAttention, additive_scores


@keras.saving.register_keras_serializable("kerasdl")
class BahdanauAttention(ScoredAttention):
    """Additive attention: a small network scores each state of a decoder against each state of an encoder.

    score(s, h) = v . tanh(W s + U h), without biases.

    Source: https://arxiv.org/abs/1409.0473, appendix A.1.2.

    Args:
        units: width of the small network.

    Input:
        [query (B, T, D), values (B, S, E)]; with `mask=[None, mask]` values whose mask (B, S) is False do not count.

    Returns:
        (B, T, E) of the compute dtype; with `return_attention_scores=True` also the weights (B, T, S), float32, of sum
        1, or all 0 where every value is masked.

    Raises:
        ArgumentError: `units` is not a positive integer, or inputs or mask have another form.

    Example:
        >>> context, weights = BahdanauAttention(8)(
        ...     [np.ones((1, 2, 4)), np.ones((1, 5, 6))], return_attention_scores=True
        ... )
        >>> context.shape, weights.numpy()[0, 0].round(2)
        (TensorShape([1, 2, 6]), array([0.2, 0.2, 0.2, 0.2, 0.2], dtype=float32))
    """

    def __init__(self, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = checks.at_least("units", units, 1)

    def build_weights(self, query_width: int, value_width: int) -> None:
        self.query_kernel = self.add_weight(shape=(query_width, self.units), name="query_kernel")
        self.value_kernel = self.add_weight(shape=(value_width, self.units), name="value_kernel")
        self.vector = self.add_weight(shape=(self.units,), initializer=start_of_vector(), name="vector")

    def pair_scores(self, query, values):
        return additive_scores(ops.matmul(query, self.query_kernel), ops.matmul(values, self.value_kernel), self.vector)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def start_of_vector() -> keras.initializers.Initializer:
    """Returns the initializer of a score's vector: Keras's default sees one number of inputs in a shape (U,)."""
    return keras.initializers.RandomUniform(-0.1, 0.1)
