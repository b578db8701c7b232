"""Luong's attention: dot, general and concat scores, global or local (https://arxiv.org/abs/1508.04025).

Deviations: none in the formulas. Positions are counted from 0; S of local-p is the number of values that count.
"""

from typing import Any

import keras
from keras import ops

from kerasdl.core import checks

from .bahdanau import start_of_vector
from .scored_attention import ScoredAttention, additive_scores

SCORES = ("dot", "general", "concat")
LOCAL = (None, "monotonic", "predictive")


@keras.saving.register_keras_serializable("kerasdl")
class LuongAttention(ScoredAttention):
    """Multiplicative attention, over all values or over a window that moves along them.

    score(h, s) is h . s (`dot`), h . W s (`general`) or v . tanh(W [h; s]) (`concat`). Local attention sees positions
    p - window to p + window: p is the query's own position t (`monotonic`, local-m), or S sigmoid(v_p . tanh(W_p h))
    (`predictive`, local-p), where weights are multiplied by a Gaussian around p with deviation window / 2.

    Source: https://arxiv.org/abs/1508.04025, sections 3.1 and 3.2.

    Args:
        score: `dot`, which needs D = E, `general` or `concat`.
        units: width of `concat` and of the network that predicts positions; None takes D.
        local: None, `monotonic` or `predictive`. A decoder of one step at a time cannot be `monotonic`, since every
            call counts from position 0.
        window: positions to each side of p, 1 or more.

    Input:
        [query (B, T, D), values (B, S, E)]; with `mask=[None, mask]` values whose mask (B, S) is False do not count.

    Returns:
        (B, T, E) of the compute dtype; with `return_attention_scores=True` also the weights (B, T, S), float32. Their
        sum is 1, less under a Gaussian, and 0 where no value counts.

    Raises:
        ArgumentError: an argument breaks its rule, or inputs or mask have another form.

    Example:
        >>> LuongAttention("dot", local="monotonic", window=1)([np.ones((1, 2, 4)), np.ones((1, 5, 4))]).shape
        TensorShape([1, 2, 4])
    """

    def __init__(
        self,
        score: str = "general",
        *,
        units: int | None = None,
        local: str | None = None,
        window: int = 10,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.score = checks.one_of("score", score, SCORES)
        self.local = checks.one_of("local", local, LOCAL)
        self.units = units if units is None else checks.at_least("units", units, 1)
        self.window = checks.at_least("window", window, 1)

    def build_weights(self, query_width: int, value_width: int) -> None:
        units = self.units or query_width
        if self.score == "dot" and query_width != value_width:
            rule = "query and values of the score 'dot' must have one width"
            checks.refuse(rule, (query_width, value_width), "Pass score='general'.")
        if self.score == "general":
            self.kernel = self.add_weight(shape=(query_width, value_width), name="kernel")
        if self.score == "concat":
            self.query_kernel = self.add_weight(shape=(query_width, units), name="query_kernel")
            self.value_kernel = self.add_weight(shape=(value_width, units), name="value_kernel")
            self.vector = self.add_weight(shape=(units,), initializer=start_of_vector(), name="vector")
        if self.local == "predictive":
            self.position_kernel = self.add_weight(shape=(query_width, units), name="position_kernel")
            self.position_vector = self.add_weight(
                shape=(units,), initializer=start_of_vector(), name="position_vector"
            )

    def pair_scores(self, query, values):
        if self.score == "concat":
            halves = ops.matmul(query, self.query_kernel), ops.matmul(values, self.value_kernel)
            return additive_scores(*halves, self.vector)
        query = ops.matmul(query, self.kernel) if self.score == "general" else query
        return ops.matmul(query, ops.swapaxes(values, 1, 2))  # (B, T, S)

    def position_weights(self, query, values, mask):
        if self.local is None:
            return None
        places = ops.arange(ops.shape(values)[1], dtype="float32")[None, None]  # (1, 1, S)
        if self.local == "monotonic":
            centre = ops.arange(ops.shape(query)[1], dtype="float32")[None, :, None]  # (1, T, 1)
            distances = places - centre
            return ops.abs(distances) <= self.window, ops.ones_like(distances)
        hidden = ops.tanh(ops.matmul(query, self.position_kernel))
        share = ops.sigmoid(ops.cast(ops.sum(hidden * self.position_vector, axis=-1), "float32"))  # (B, T)
        if mask is None:
            length = ops.cast(ops.shape(values)[1], "float32")
        else:
            length = ops.sum(ops.cast(mask, "float32"), axis=1)[:, None]
        distances = places - (length * share)[..., None]  # (B, T, S)
        gaussian = ops.exp(-2.0 * ops.square(distances / self.window))  # deviation window / 2
        return ops.abs(distances) <= self.window, gaussian

    def get_config(self):
        settings = {name: getattr(self, name) for name in ("score", "units", "local", "window")}
        return {**super().get_config(), **settings}
