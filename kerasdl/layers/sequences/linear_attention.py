"""Linear attention: the softmax replaced by a kernel, so that time grows with the length and not with its square."""

from typing import Any

import keras
from keras import ops

from kerasdl.core import checks

BLOCK = 128
"""Places of a block of causal attention, inside of which all pairs are computed."""


@keras.saving.register_keras_serializable("kerasdl")
class LinearAttention(keras.layers.Layer):
    """Attention with the kernel phi(q) . phi(k), phi(x) = elu(x) + 1, in time linear in the length.

    out = phi(q) (phi(k)^T v) / (phi(q) sum phi(k)): the sums over keys are taken once for all queries. Causal sums run
    over blocks of 128 places.

    Source: https://arxiv.org/abs/2006.16236, section 3.2, equations 4 to 7, and 3.3 (causal).

    Args:
        causal: whether a place sees itself and those before alone.

    Input:
        [query (B, T, N, H), key (B, S, N, H), value (B, S, N, E)], S = T if causal. As keyword `key_mask`, booleans
        (B, S) of the keys that count.

    Returns:
        (B, T, N, E); 0 for queries that see no key.

    Raises:
        ArgumentError: shapes do not fit.

    Example:
        >>> x = keras.Input((1000, 4, 16))
        >>> LinearAttention(causal=True)([x, x, x]).shape
        (None, 1000, 4, 16)
    """

    def __init__(self, causal: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.causal = causal

    def build(self, input_shape):
        shapes = [tuple(shape) for shape in input_shape if isinstance(shape, (tuple, list))]
        if len(shapes) != 3 or any(len(shape) != 4 for shape in shapes):
            checks.refuse("inputs must be [query (B, T, N, H), key (B, S, N, H), value (B, S, N, E)]", input_shape)
        query, key, value = shapes
        if query[2:] != key[2:] or key[2] != value[2] or (self.causal and query[1] != key[1]):
            rule = "query and key must have one size and number of heads, and one length if causal"
            checks.refuse(rule, (query, key, value))
        self.built = True

    def call(self, inputs, key_mask=None):
        query, key, value = (ops.cast(each, "float32") for each in inputs)
        query, key = ops.elu(query) + 1.0, ops.elu(key) + 1.0
        if key_mask is not None:
            key = key * ops.cast(key_mask, "float32")[:, :, None, None]
        # One entry more of each value is 1: its sum is the denominator.
        value = ops.pad(value, ((0, 0), (0, 0), (0, 0), (0, 1)), constant_values=1.0)
        sums = self._causal(query, key, value) if self.causal else self._whole(query, key, value)
        total = sums[..., -1:]
        mean = ops.where(total > 0, sums[..., :-1] / ops.where(total > 0, total, 1.0), 0.0)
        return ops.cast(mean, self.compute_dtype)

    def _whole(self, query: Any, key: Any, value: Any) -> Any:
        states = ops.einsum("bsnh,bsne->bnhe", key, value)
        return ops.einsum("btnh,bnhe->btne", query, states)

    def _causal(self, query: Any, key: Any, value: Any) -> Any:
        """Sums inside a block by all pairs, and over the blocks before by running sums."""
        length = ops.shape(query)[1]
        spare, heads = -length % BLOCK, query.shape[2]
        blocks = (length + spare) // BLOCK

        def cut(x):
            x = ops.pad(x, ((0, 0), (0, spare), (0, 0), (0, 0)))
            return ops.transpose(ops.reshape(x, (-1, blocks, BLOCK, heads, x.shape[-1])), (0, 1, 3, 2, 4))

        query, key, value = cut(query), cut(key), cut(value)  # (B, blocks, N, BLOCK, ...)
        states = ops.matmul(ops.transpose(key, (0, 1, 2, 4, 3)), value)  # (B, blocks, N, H, E)
        before = ops.cumsum(states, axis=1) - states
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 2, 4, 3))) * ops.tril(ops.ones((BLOCK, BLOCK)))
        sums = ops.matmul(scores, value) + ops.matmul(query, before)
        sums = ops.transpose(sums, (0, 1, 3, 2, 4))
        return ops.reshape(sums, (-1, blocks * BLOCK, heads, sums.shape[-1]))[:, :length]

    def compute_output_spec(self, inputs, key_mask=None):
        query, _, value = inputs
        return keras.KerasTensor((*query.shape[:3], value.shape[-1]), dtype=self.compute_dtype)

    def compute_mask(self, inputs, mask=None):
        return None

    def get_config(self):
        return {**super().get_config(), "causal": self.causal}
