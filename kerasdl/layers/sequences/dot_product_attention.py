"""Attention by scaled dot products, over all places and over a band around each place.

Queries, keys and values come from dense layers of the network around, and heads are an axis: so the products with
weights stay layers that quantisation and pruning know.
"""

from typing import Any

import keras
from keras import ops

from kerasdl.core import checks

MASKED = -1e9


class _HeadAttention(keras.layers.Layer):
    """Base of attention over heads: the check of shapes, and the mean of values by masked scores."""

    def __init__(self, causal: bool = False, scale: float | None = None, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)  # a bias stays as it is
        self.causal = causal
        self.scale = scale if scale is None else checks.within("scale", scale, 0.0, 1e4)

    def build(self, input_shape):
        shapes = [tuple(shape) for shape in input_shape if isinstance(shape, (tuple, list))]
        if len(shapes) != 3 or any(len(shape) != 4 for shape in shapes):
            checks.refuse("inputs must be [query (B, T, N, H), key (B, S, M, H), value (B, S, M, E)]", input_shape)
        query, key, value = shapes
        if query[-1] != key[-1] or key[2] != value[2] or query[2] % key[2]:
            rule = "query and key must have one size H, and N must be a multiple of the heads M of key and value"
            checks.refuse(rule, (query, key, value))
        self.built = True

    def compute_output_spec(self, inputs, key_mask=None, bias=None):
        query, _, value = inputs
        return keras.KerasTensor((*query.shape[:3], value.shape[-1]), dtype=self.compute_dtype)

    def compute_mask(self, inputs, mask=None):
        return None

    def scaled(self, query: Any) -> Any:
        """Returns queries times the scale."""
        return query * ops.cast(query.shape[-1] ** -0.5 if self.scale is None else self.scale, query.dtype)

    def get_config(self):
        return {**super().get_config(), "causal": self.causal, "scale": self.scale}


def weighted_mean(scores: Any, visible: Any, values: Any) -> Any:
    """Returns the mean of values (..., S, E) by the softmax of scores (..., T, S); 0 where nothing is visible."""
    scores = ops.cast(scores, "float32")
    if visible is not None:
        scores = ops.where(visible, scores, MASKED)
    weights = ops.softmax(scores, axis=-1)
    if visible is not None:
        weights = weights * ops.cast(visible, "float32")
    return ops.matmul(ops.cast(weights, values.dtype), values)


@keras.saving.register_keras_serializable("kerasdl")
class DotProductAttention(_HeadAttention):
    """Scaled dot-product attention of queries over keys and values, several heads, without weights of its own.

    Keys and values may have fewer heads, each shared by a group of queries' heads (grouped-query attention,
    https://arxiv.org/abs/2305.13245). In every precision the bias is added and the softmax
    taken in float32; products are of the compute dtype.

    Source: https://arxiv.org/abs/1706.03762, section 3.2.1, equation 1.

    Args:
        causal: whether a query sees keys up to its own place alone; with fewer queries than keys the last places are
            aligned.
        scale: factor of the products; None takes 1 / sqrt(H), T5 takes 1.

    Input:
        [query (B, T, N, H), key (B, S, M, H), value (B, S, M, E)], heads behind places, N a multiple of M. As keywords
        `key_mask`, booleans (B, S) of the keys that count, and `bias`, floats (B or 1, N, T, S) that are added to the
        scores.

    Returns:
        (B, T, N, E); 0 for queries that see no key.

    Raises:
        ArgumentError: shapes do not fit, or `scale` is outside.

    Example:
        >>> q, k = keras.Input((10, 8, 16)), keras.Input((12, 2, 16))
        >>> DotProductAttention()([q, k, k]).shape
        (None, 10, 8, 16)
    """

    def call(self, inputs, key_mask=None, bias=None):
        query, key, value = (ops.cast(each, self.compute_dtype) for each in inputs)
        heads, shared = query.shape[2], key.shape[2]
        query = ops.transpose(self.scaled(query), (0, 2, 1, 3))  # (B, N, T, H)
        if heads != shared:
            key, value = (ops.repeat(each, heads // shared, axis=2) for each in (key, value))
        scores = ops.matmul(query, ops.transpose(key, (0, 2, 3, 1)))  # (B, N, T, S)
        if bias is not None:
            scores = ops.cast(scores, "float32") + ops.cast(bias, "float32")
        visible = None if key_mask is None else ops.cast(key_mask, "bool")[:, None, None, :]
        if self.causal:
            length, places = ops.shape(query)[2], ops.shape(key)[1]
            seen = ops.arange(places)[None, :] <= ops.arange(length)[:, None] + (places - length)
            visible = seen[None, None] if visible is None else ops.logical_and(visible, seen)
        mean = weighted_mean(scores, visible, ops.transpose(value, (0, 2, 1, 3)))
        return ops.transpose(mean, (0, 2, 1, 3))


@keras.saving.register_keras_serializable("kerasdl")
class SlidingWindowAttention(_HeadAttention):
    """Attention of each place over those at most `reach` places away, in time and memory linear in the length.

    The sequence is cut into blocks of `reach` places; each block sees itself, the one before, and the one behind unless
    attention is causal.

    Source: Longformer, https://arxiv.org/abs/2004.05150, section 3.1 (its window is twice the reach).

    Args:
        reach: places to each side, or before alone if causal; a place always sees itself.
        causal: whether places behind are hidden.
        scale: factor of the products; None takes 1 / sqrt(H).

    Input:
        [query (B, T, N, H), key (B, T, M, H), value (B, T, M, E)]; T need not be a multiple. As keyword `key_mask`,
        booleans (B, T) of the keys that count.

    Returns:
        (B, T, N, E); 0 for queries that see no key.

    Raises:
        ArgumentError: shapes do not fit, a bias is passed, or an argument is outside.

    Example:
        >>> x = keras.Input((1000, 4, 16))
        >>> SlidingWindowAttention(64, causal=True)([x, x, x]).shape
        (None, 1000, 4, 16)
    """

    def __init__(self, reach: int, causal: bool = False, scale: float | None = None, **kwargs: Any):
        super().__init__(causal, scale, **kwargs)
        self.reach = checks.at_least("reach", reach, 1)

    def build(self, input_shape):
        super().build(input_shape)
        if input_shape[0][1] != input_shape[1][1]:
            checks.refuse("queries and keys of a sliding window must be of one sequence", input_shape[:2])

    def call(self, inputs, key_mask=None, bias=None):
        if bias is not None:
            checks.refuse("a sliding window takes no bias", bias.shape, "DotProductAttention does.")
        query, key, value = (ops.cast(each, self.compute_dtype) for each in inputs)
        heads, shared, length = query.shape[2], key.shape[2], ops.shape(query)[1]
        if heads != shared:
            key, value = (ops.repeat(each, heads // shared, axis=2) for each in (key, value))
        counts = ops.ones(ops.shape(query)[:2], "bool") if key_mask is None else ops.cast(key_mask, "bool")
        block, ends = self.reach, 1 if self.causal else 2
        spare = -length % block
        query = ops.pad(self.scaled(query), ((0, 0), (0, spare), (0, 0), (0, 0)))
        blocks = (length + spare) // block

        def around(x, width):
            """Returns each block of (B, T, ...) with its neighbours, (B, blocks, (1 + ends) * block, ...)."""
            x = ops.pad(x, ((0, 0), (block, spare + (ends - 1) * block), *((0, 0),) * (len(x.shape) - 2)))
            parts = [x[:, part * block : part * block + blocks * block] for part in range(1 + ends)]
            parts = [ops.reshape(part, (-1, blocks, block, *width)) for part in parts]
            return ops.concatenate(parts, axis=2)

        query = ops.reshape(query, (-1, blocks, block, heads, query.shape[-1]))
        query = ops.transpose(query, (0, 1, 3, 2, 4))  # (B, blocks, N, block, H)
        key = ops.transpose(around(key, key.shape[2:]), (0, 1, 3, 4, 2))
        value_size = value.shape[-1]
        value = ops.transpose(around(value, value.shape[2:]), (0, 1, 3, 2, 4))
        places = ops.arange((1 + ends) * block)[None, :] - block - ops.arange(block)[:, None]  # key - query
        near = ops.logical_and(places >= -self.reach, places <= (0 if self.causal else self.reach))
        visible = ops.logical_and(near, around(counts, ())[:, :, None, None, :])
        mean = weighted_mean(ops.matmul(query, key), visible, value)  # (B, blocks, N, block, E)
        mean = ops.reshape(ops.transpose(mean, (0, 1, 3, 2, 4)), (-1, blocks * block, heads, value_size))
        return mean[:, :length]

    def get_config(self):
        return {**super().get_config(), "reach": self.reach}
