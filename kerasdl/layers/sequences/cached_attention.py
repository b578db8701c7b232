"""Attention of new places over a cache of keys and values, one step of decoding."""

from typing import Any

import keras
from keras import ops

from kerasdl.core import checks

from .dot_product_attention import MASKED


@keras.saving.register_keras_serializable("kerasdl")
class CachedAttention(keras.layers.Layer):
    """Causal dot-product attention of new places over those of a cache and over themselves.

    The cache is read and never written: who calls it puts the new keys and values into their places, which costs a copy
    of these alone. Products with the cache need no transposition of it.

    Source: https://arxiv.org/abs/1911.02150, section 2.4.1 (incremental attention).

    Args:
        scale: as in `DotProductAttention`.

    Input:
        [query (B, T, N, H), key (B, T, M, H), value (B, T, M, E) of new places, N a multiple of M; cached keys
        (B, M, P, H), cached values (B, M, P, E), positions (B, T) integers of the new places]. Places of the cache
        before the first of these count. As a keyword `bias`, floats (B or 1, N, T, P + T) that are added to the scores,
        new places last.

    Returns:
        (B, T, N, E).

    Raises:
        ArgumentError: shapes do not fit, or `scale` is outside.

    Example:
        >>> new, cache = keras.Input((1, 8, 16)), keras.Input((8, 100, 16))
        >>> CachedAttention()([new, new, new, cache, cache, keras.Input((1,), dtype="int32")]).shape
        (None, 1, 8, 16)
    """

    def __init__(self, scale: float | None = None, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.scale = scale if scale is None else checks.within("scale", scale, 0.0, 1e4)

    def build(self, input_shape):
        shapes = [tuple(shape) for shape in input_shape]
        if list(map(len, shapes)) != [4, 4, 4, 4, 4, 2]:
            rule = "inputs must be [query (B, T, N, H), key, value (B, T, M, H), caches (B, M, P, H), positions (B, T)]"
            checks.refuse(rule, shapes)
        query, key, value, keys, values, _ = shapes
        ends = [(keys[1], keys[3]), (values[1], values[3])] != [key[2:], value[2:]]
        if ends or query[-1] != key[-1] or query[2] % key[2]:
            rule = "caches must have the heads M and sizes of key and value, and N must be a multiple of M"
            checks.refuse(rule, (query, key, value, keys, values))
        self.built = True

    def compute_output_spec(self, inputs, bias=None):
        query, _, value, *_ = inputs
        return keras.KerasTensor((*query.shape[:3], value.shape[-1]), dtype=self.compute_dtype)

    def call(self, inputs, bias=None):
        query, key, value, keys, values = (ops.cast(each, self.compute_dtype) for each in inputs[:5])
        (_, _, heads, size), shared, length = query.shape, key.shape[2], ops.shape(query)[1]
        group, places = heads // shared, ops.shape(keys)[2]
        query = query * ops.cast(size**-0.5 if self.scale is None else self.scale, query.dtype)
        query = ops.reshape(query, (-1, length, shared, group, size))
        query = ops.transpose(query, (0, 2, 4, 3, 1))  # (B, M, H, N / M, T): small, so that caches stay as they are
        query = ops.reshape(query, (-1, shared, size, group * length))
        key, value = (ops.transpose(each, (0, 2, 1, 3)) for each in (key, value))  # (B, M, T, H)
        filled = ops.cast(inputs[5], "int32")[:, :1, None, None]
        before = ops.cast(ops.matmul(keys, query), "float32")  # (B, M, P, N / M * T)
        before = ops.transpose(before, (0, 1, 3, 2))
        own = ops.transpose(ops.cast(ops.matmul(key, query), "float32"), (0, 1, 3, 2))
        before = ops.reshape(before, (-1, heads, length, places))
        own = ops.reshape(own, (-1, heads, length, length))
        if bias is not None:
            bias = ops.cast(bias, "float32")
            before, own = before + bias[..., :places], own + bias[..., places:]
        before = ops.where(ops.arange(places) < filled, before, MASKED)
        if length != 1:
            own = ops.where(ops.arange(length)[None, :] <= ops.arange(length)[:, None], own, MASKED)
        weights = ops.softmax(ops.concatenate([before, own], axis=-1), axis=-1)
        weights = ops.reshape(ops.cast(weights, values.dtype), (-1, shared, group * length, places + length))
        mean = ops.matmul(weights[..., :places], values) + ops.matmul(weights[..., places:], value)
        mean = ops.reshape(mean, (-1, shared, group, length, values.shape[-1]))
        return ops.reshape(ops.transpose(mean, (0, 3, 1, 2, 4)), (-1, length, heads, values.shape[-1]))

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable("kerasdl")
class CachePositions(keras.layers.Layer):
    """Positions of the keys that new places of a text see: those of a cache, which count from 0, and their own.

    Args:
        places: P, places of the cache.

    Input:
        (B, T) integers, the positions of the new places.

    Returns:
        (B, P + T) int32.

    Raises:
        ArgumentError: `places` is below 1.

    Example:
        >>> CachePositions(3)(np.array([[7]])).numpy()
        array([[0, 1, 2, 7]], dtype=int32)
    """

    def __init__(self, places: int, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.places = checks.at_least("places", places, 1)

    def compute_output_spec(self, inputs):
        length = inputs.shape[1]
        return keras.KerasTensor((inputs.shape[0], None if length is None else self.places + length), dtype="int32")

    def call(self, inputs):
        positions = ops.cast(inputs, "int32")
        before = ops.zeros_like(positions[:, :1]) + ops.arange(self.places, dtype="int32")[None]
        return ops.concatenate([before, positions], axis=1)

    def get_config(self):
        return {**super().get_config(), "places": self.places}
