"""Biases of attention scores: T5's learned buckets and ALiBi's slopes by distance; documents kept apart."""

import math
from typing import Any

import keras
from keras import ops

from kerasdl.core import checks

from .dot_product_attention import MASKED


class _DistanceBias(keras.layers.Layer):
    """Base of both: distances key - query of all pairs, from a sequence or from positions of queries and of keys."""

    def __init__(self, heads: int, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)  # bfloat16 would round positions from 257 on
        self.heads = checks.at_least("heads", heads, 1)

    def distances(self, inputs: Any) -> Any:
        """Returns key position - query position, int32 (B or 1, T, S)."""
        if isinstance(inputs, (list, tuple)):
            queries, keys = (ops.cast(each, "int32") for each in inputs)
        else:
            queries = keys = ops.arange(ops.shape(inputs)[1], dtype="int32")[None]
        return keys[:, None, :] - queries[:, :, None]

    def compute_output_spec(self, inputs):
        if isinstance(inputs, (list, tuple)):
            (batch, length), (_, size) = (each.shape for each in inputs)
        else:
            batch, length, size = 1, inputs.shape[1], inputs.shape[1]
        return keras.KerasTensor((batch, self.heads, length, size), dtype="float32")

    def get_config(self):
        return {**super().get_config(), "heads": self.heads}


@keras.saving.register_keras_serializable("kerasdl")
class RelativePositionBias(_DistanceBias):
    """Learned bias of a score for each head and each bucket of distances; far distances share buckets.

    Half of the buckets are single distances, the other half grow by a factor up to `furthest`, and all beyond share
    the last one.

    Source: T5, https://arxiv.org/abs/1910.10683, section 2.1.

    Args:
        heads: N.
        buckets: distances that are told apart.
        furthest: the distance from which on there is one bucket.
        bidirectional: whether keys behind a query have buckets of their own; otherwise they share that of distance 0,
            for causal attention.

    Input:
        (B, T, ...) of self-attention; or [positions of queries (B, T), positions of keys (B, S)].

    Returns:
        (1, N, T, T) or (B, N, T, S) float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> RelativePositionBias(8)(keras.Input((20, 64))).shape
        (1, 8, 20, 20)
    """

    def __init__(self, heads: int, buckets: int = 32, furthest: int = 128, bidirectional: bool = True, **kwargs: Any):
        super().__init__(heads, **kwargs)
        self.buckets = checks.at_least("buckets", buckets, 4)
        if buckets % 4:
            checks.refuse("buckets must be a multiple of 4", buckets)
        self.furthest = checks.at_least("furthest", furthest, buckets)
        self.bidirectional = bidirectional

    def build(self, input_shape):
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        self.table = self.add_weight(shape=(self.buckets, self.heads), initializer=initializer, name="table")
        self.built = True

    def call(self, inputs):
        places = self.bucket_of(self.distances(inputs))  # (B, T, S)
        return ops.transpose(ops.cast(ops.take(self.table, places, axis=0), "float32"), (0, 3, 1, 2))

    def bucket_of(self, distances: Any) -> Any:
        """Returns the bucket of each distance, key position - query position, int32."""
        distances, count, base = ops.cast(distances, "int32"), self.buckets, 0
        if self.bidirectional:
            count //= 2
            base = ops.cast(distances > 0, "int32") * count
            distances = ops.abs(distances)
        else:
            distances = ops.maximum(-distances, 0)
        exact = count // 2
        growth = ops.log(ops.cast(ops.maximum(distances, 1), "float32") / exact) / math.log(self.furthest / exact)
        far = exact + ops.cast(growth * (count - exact), "int32")
        return base + ops.where(distances < exact, distances, ops.minimum(far, count - 1))

    def get_config(self):
        own = {"buckets": self.buckets, "furthest": self.furthest, "bidirectional": self.bidirectional}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("kerasdl")
class ALiBi(_DistanceBias):
    """Linear bias of a score: each head takes its own slope times the distance off, without weights.

    Source: https://arxiv.org/abs/2108.12409, section 3; slopes for heads that are no power of two as in the authors'
    code.

    Args:
        heads: N.

    Input:
        (B, T, ...) of self-attention; or [positions of queries (B, T), positions of keys (B, S)].

    Returns:
        (1, N, T, T) or (B, N, T, S) float32, 0 at distance 0.

    Raises:
        ArgumentError: `heads` is below 1.

    Example:
        >>> ALiBi(8)(np.zeros((1, 3, 4))).numpy()[0, 0]
        array([[ 0. , -0.5, -1. ],
               [-0.5,  0. , -0.5],
               [-1. , -0.5,  0. ]], dtype=float32)
    """

    def call(self, inputs):
        distances = ops.abs(ops.cast(self.distances(inputs), "float32"))
        slopes = ops.convert_to_tensor(slopes_of(self.heads), "float32")
        return 0.0 - slopes[None, :, None, None] * distances[:, None]


def slopes_of(heads: int) -> list[float]:
    """Returns the slope of each head: 2^(-8 / n), 2^(-16 / n), ... for n heads, a power of two.

    For other numbers those of the power of two below come first, then every second one of twice that power.
    """
    power = 2 ** int(math.log2(heads))
    slopes = [2.0 ** (-8.0 * place / power) for place in range(1, power + 1)]
    between = [2.0 ** (-4.0 * place / power) for place in range(1, 2 * power + 1, 2)]
    return slopes + between[: heads - power]


@keras.saving.register_keras_serializable("kerasdl")
class DocumentBias(keras.layers.Layer):
    """Bias that keeps the documents of a packed row apart: 0 within a document, -1e9 across.

    Source: https://arxiv.org/abs/2107.02027, section 3.2: attention of packed sequences is of their own tokens.

    Input:
        (B, T) integers, the number of the document of each token.

    Returns:
        (B, 1, T, T) float32, a `bias` of `DotProductAttention`.

    Example:
        >>> DocumentBias()(np.array([[1, 1, 2]])).numpy()[0, 0, 2] == 0
        array([False, False,  True])
    """

    def __init__(self, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)

    def call(self, inputs):
        return ops.where(ops.equal(inputs[:, None, :, None], inputs[:, None, None, :]), 0.0, MASKED)

    def compute_output_spec(self, inputs):
        batch, length = inputs.shape
        return keras.KerasTensor((batch, 1, length, length), dtype="float32")
