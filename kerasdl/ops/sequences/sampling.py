"""Random choice of the next token from logits: temperature, top-k, nucleus (top-p), min-p and typical sampling."""

from typing import Any

import keras
from keras import ops

from kerasdl.core import checks

LARGEST = 1.0 - 2.0**-52
"""Largest noise below 1, so that no token without probability is chosen."""


def sample(
    logits: Any,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    typical_p: float | None = None,
    seed: Any = None,
    noise: Any = None,
) -> Any:
    """Returns one token for each row of logits, drawn by the softmax of what the filters leave.

    The temperature comes first, then `top_k`, `top_p`, `min_p`, `typical_p`. Among equal logits the lower token comes
    first, so that `top_k` leaves exactly K tokens. Sums of probabilities are in float64.

    Source: https://arxiv.org/abs/1904.09751, section 3.1 (top-p); https://arxiv.org/abs/1805.04833, section 5.4
    (top-k); https://arxiv.org/abs/2407.01082, section 3 (min-p); https://arxiv.org/abs/2202.00666, section 5
    (typical).

    Args:
        logits: (..., V) floats; a token of -inf is never chosen.
        temperature: divides the logits, from 0 to 1000; 0 takes the likeliest token.
        top_k: number of the likeliest tokens that may be chosen; None takes all.
        top_p: share from 0 to 1; tokens are left out once likelier ones together have reached it. None takes all.
        min_p: share from 0 to 1; tokens less likely than it times the likeliest are left out. None takes all.
        typical_p: share from 0 to 1; tokens are left out once those whose information is nearer to the entropy have
            together reached it. None takes all.
        seed: an int, a `keras.random.SeedGenerator`, or None, as in Keras. An int draws the same at each call.
        noise: numbers (...) from 0 to 1 drawn beforehand, in place of the seed: an equal number chooses an equal token.

    Returns:
        (...) int32 tokens; -1 for a row with NaN, with +inf, or with -inf alone.

    Raises:
        ArgumentError: an argument breaks its rule, or both a seed and noise are passed.

    Example:
        >>> sample(np.array([[0.0, 3.0, 1.0]]), temperature=0).numpy()
        array([1], dtype=int32)
    """
    logits = ops.convert_to_tensor(logits)
    if len(logits.shape) < 1 or "float" not in keras.backend.standardize_dtype(logits.dtype):
        checks.refuse("logits must be floats (..., V)", (tuple(logits.shape), str(logits.dtype)))
    checks.within("temperature", temperature, 0.0, 1000.0)
    if seed is not None and noise is not None:
        checks.refuse("seed and noise must not be passed together", seed)
    logits = ops.cast(logits, "float32" if keras.backend.standardize_dtype(logits.dtype) != "float64" else "float64")
    is_drawable = ops.all(ops.logical_not(ops.isnan(logits)), axis=-1) & ops.isfinite(ops.max(logits, axis=-1))
    if temperature == 0:
        chosen = ops.argmax(logits, axis=-1)
    else:
        if noise is None:
            noise = keras.random.uniform(ops.shape(logits)[:-1], dtype="float64", seed=seed)
        values, tokens = _left_over(logits, temperature, top_k, top_p, min_p, typical_p)
        chosen = _at_noise(values, ops.cast(noise, "float64"))
        if tokens is not None:
            chosen = ops.take_along_axis(tokens, chosen[..., None], axis=-1)[..., 0]
    chosen = ops.cast(chosen, "int32")
    return ops.where(is_drawable, chosen, -ops.ones_like(chosen))


def _left_over(
    logits: Any,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    typical_p: float | None,
) -> tuple:
    """Returns weights (..., M) in float64, 0 of tokens that are left out, and their tokens; None for the order of V."""
    scaled = ops.cast(logits - ops.max(logits, axis=-1, keepdims=True), "float64") / temperature
    if top_k is None and top_p is None and min_p is None and typical_p is None:
        return ops.exp(scaled), None
    size = logits.shape[-1]
    count = size if top_k is None else min(checks.at_least("top_k", top_k, 1), size)
    scaled, tokens = ops.top_k(scaled, count)
    weights = ops.exp(scaled)
    if top_p is not None:
        checks.within("top_p", top_p, 0.0, 1.0)
        before = ops.cumsum(weights, axis=-1) - weights
        is_in = before < top_p * ops.sum(weights, axis=-1, keepdims=True)
        is_in = ops.logical_or(is_in, ops.arange(count) == 0)
        weights = ops.where(is_in, weights, ops.zeros_like(weights))
    if min_p is not None:
        checks.within("min_p", min_p, 0.0, 1.0)
        weights = ops.where(weights >= min_p, weights, ops.zeros_like(weights))  # the likeliest weighs 1
    if typical_p is not None:
        checks.within("typical_p", typical_p, 0.0, 1.0)
        weights = _typical(weights, typical_p)
    return weights, tokens


def _typical(weights: Any, share: float) -> Any:
    """Returns weights (..., M), 0 of tokens whose information is far from the entropy; the nearest one always stays."""
    total = ops.sum(weights, axis=-1, keepdims=True)
    chances = weights / total
    information = -ops.log(ops.where(chances > 0, chances, ops.ones_like(chances)))
    distance = ops.abs(information - ops.sum(chances * information, axis=-1, keepdims=True))
    order = ops.argsort(ops.where(chances > 0, distance, float("inf")), axis=-1)
    sorted_weights = ops.take_along_axis(weights, order, axis=-1)
    before = ops.cumsum(sorted_weights, axis=-1) - sorted_weights
    is_in = ops.logical_or(before < share * total, ops.arange(weights.shape[-1]) == 0)
    is_in = ops.take_along_axis(is_in, ops.argsort(order, axis=-1), axis=-1)
    return ops.where(is_in, weights, ops.zeros_like(weights))


def _at_noise(weights: Any, noise: Any) -> Any:
    """Returns the place (...) at which the running sum of weights (..., M) passes the noise's share of their total."""
    sums = ops.cumsum(weights, axis=-1)
    bound = ops.clip(noise, 0.0, LARGEST)[..., None] * sums[..., -1:]
    return ops.minimum(ops.sum(ops.cast(sums <= bound, "int32"), axis=-1), weights.shape[-1] - 1)
