"""Linear-chain conditional random field: log-partition, likelihood, marginals, Viterbi decoding (Lafferty et al. 2001).

A chain is its potentials (B, T, K, K) alone: entry [t, i, j] is the score of tag j at position t after tag i, the score
of the token included. Of position 0 the row [0] alone counts, the score of a beginning with j. Padding has the score
-log K everywhere: its tag is then drawn evenly and changes neither partition nor marginals of the others, and all
numbers stay small enough for files of integers. Scores are added in float32, or float64 if they are of it; those below
-1e9, -inf among them, are forbidden.

Deviations: the paper writes matrices exp(score); here all is in logarithms.
"""

import math
from typing import Any

from keras import ops

from kerasdl.core import checks

FORBIDDEN = -1e9


def chain_potentials(logits: Any, transitions: Any, start: Any, end: Any, mask: Any = None) -> Any:
    """Returns the potentials of a chain from scores of tokens and of pairs of tags.

    Source: Lafferty et al. 2001, https://repository.upenn.edu/cis_papers/159, section 3; Lample et al. 2016,
    https://arxiv.org/abs/1603.01360, section 2.2.

    Args:
        logits: (B, T, K) score of each tag at each position.
        transitions: (K, K) score of tag j after tag i.
        start: (K,) score of each tag as the first one.
        end: (K,) score of each tag as the last one.
        mask: (B, T) booleans, true at tokens; None takes all. Each run of tokens is a chain of its own, with a start
            and an end.

    Returns:
        (B, T, K, K) float32, or float64 if the logits are.

    Raises:
        ArgumentError: the shapes do not fit together.

    Example:
        >>> chain_potentials(np.zeros((2, 5, 3)), np.zeros((3, 3)), np.zeros(3), np.zeros(3)).shape
        TensorShape([2, 5, 3, 3])
    """
    logits, transitions, start, end = map(_floats, (logits, transitions, start, end))
    tags = logits.shape[-1]
    shapes = (len(logits.shape), *map(tuple, (transitions.shape, start.shape, end.shape)))
    if shapes != (3, (tags, tags), (tags,), (tags,)):
        rule = "a chain has logits (B, T, K), transitions (K, K), start (K,) and end (K,)"
        checks.refuse(rule, [tuple(each.shape) for each in (logits, transitions, start, end)])
    transitions, start, end = (ops.cast(each, logits.dtype) for each in (transitions, start, end))
    real = ops.ones_like(logits[..., 0], dtype="bool") if mask is None else ops.cast(mask, "bool")  # (B, T)
    before = ops.pad(real[:, :-1], [[0, 0], [1, 0]], constant_values=False)
    after = ops.pad(real[:, 1:], [[0, 0], [0, 1]], constant_values=False)
    unary = ops.where(after[..., None], logits, logits + end)  # (B, T, K)
    pairs = ops.where(before[..., None, None], transitions, start)  # (B, T, K, K)
    scores = unary[:, :, None, :] + pairs
    return ops.where(real[..., None, None], scores, ops.convert_to_tensor(-math.log(tags), dtype=scores.dtype))


def chain_log_partition(potentials: Any) -> Any:
    """Returns the logarithm of the sum of exp(score) over all sequences of tags.

    Source: Lafferty et al. 2001, https://repository.upenn.edu/cis_papers/159, section 3.

    Args:
        potentials: (B, T, K, K) of `chain_potentials`.

    Returns:
        (B,); -inf where every sequence is forbidden, 0 without any token.

    Raises:
        ArgumentError: the potentials have another form.

    Example:
        >>> round(float(chain_log_partition(np.zeros((1, 2, 3, 3)))[0]), 4)  # log 9, of 9 sequences
        2.1972
    """
    last, _ = _forward(_checked(potentials), ops.logsumexp)
    return _or_forbidden(ops.logsumexp(last, axis=-1))


def chain_log_likelihood(potentials: Any, labels: Any) -> Any:
    """Returns the log-probability of tags; of tags known in part, that of all sequences which agree with them.

    Source: Lafferty et al. 2001, https://repository.upenn.edu/cis_papers/159, section 3; tags known in part: Tsuboi et
    al. 2008, https://aclanthology.org/C08-1113, section 4.

    Args:
        potentials: (B, T, K, K) of `chain_potentials`.
        labels: (B, T) integers, tags from 0 to K - 1, or -1 where any tag may be: at padding and unlabelled tokens.

    Returns:
        (B,), at most 0; -inf where the tags are forbidden.

    Raises:
        ArgumentError: the potentials have another form.

    Example:
        >>> round(float(chain_log_likelihood(np.zeros((1, 2, 3, 3)), [[1, -1]])[0]), 4)  # log of 3 in 9
        -1.0986
    """
    potentials = _checked(potentials)
    labels = ops.cast(labels, "int32")
    agrees = (labels[..., None] == ops.arange(potentials.shape[-1], dtype="int32")) | (labels[..., None] == -1)
    agreeing = ops.where(agrees[:, :, None, :], potentials, ops.cast(FORBIDDEN, potentials.dtype))
    last, _ = _forward(ops.concatenate([agreeing, potentials]), ops.logsumexp)
    count = ops.shape(potentials)[0]
    totals = ops.logsumexp(last, axis=-1)
    return _or_forbidden(totals[:count] - totals[count:])


def chain_marginals(potentials: Any, *, unroll: bool = False) -> Any:
    """Returns the probability of each tag at each position, by the forward-backward algorithm.

    Source: Lafferty et al. 2001, https://repository.upenn.edu/cis_papers/159, section 3.

    Args:
        potentials: (B, T, K, K) of `chain_potentials`.
        unroll: whether the positions are written out one by one, T known, instead of a loop; ONNX needs it.

    Returns:
        (B, T, K) from 0 to 1; 1/K at padding.

    Raises:
        ArgumentError: the potentials have another form, or T is not known and `unroll` is true.

    Example:
        >>> chain_marginals(np.zeros((1, 2, 4, 4)))[0, 0].numpy().tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    potentials = _checked(potentials)
    last, forward = _forward(potentials, ops.logsumexp, unroll)
    steps = ops.transpose(potentials, (1, 0, 2, 3))

    def step(after, scores):  # of all that follows a position, given its tag
        return ops.logsumexp(scores + after[:, None, :], axis=2), after

    _, backward = _scan(step, ops.zeros_like(last), steps, reverse=True, unroll=unroll)  # (T, B, K)
    total = ops.logsumexp(last, axis=-1)[:, None]
    return ops.transpose(ops.exp(forward + backward - total), (1, 0, 2))


def viterbi(potentials: Any, mask: Any = None, *, unroll: bool = False) -> tuple[Any, Any]:
    """Returns the best sequence of tags and its score, by Viterbi's algorithm.

    Source: Viterbi 1967, https://doi.org/10.1109/TIT.1967.1054010; Lample et al. 2016,
    https://arxiv.org/abs/1603.01360, equation 1.

    Args:
        potentials: (B, T, K, K) of `chain_potentials`.
        mask: (B, T) booleans, true at tokens; None takes positions of equal scores for padding.
        unroll: as in `chain_marginals`.

    Returns:
        Tags (B, T) int32, 0 at padding, and scores (B,); at equal scores the lower tag.

    Raises:
        ArgumentError: the potentials have another form, or T is not known and `unroll` is true.

    Example:
        >>> tags, score = viterbi(np.array([[[[0.0, 1.0]] * 2, [[5.0, 0.0], [0.0, 2.0]]]]))
        >>> tags.numpy().tolist(), score.numpy().tolist()
        ([[0, 0]], [5.0])
    """
    potentials = _closed(_checked(potentials), mask)
    last, forward = _forward(potentials, _highest, unroll)
    before = ops.concatenate([_beginning(potentials)[None], forward], axis=0)[:-1]  # (T, B, K)
    reached = before[..., None] + ops.transpose(potentials, (1, 0, 2, 3))  # the best score of each pair

    def step(tag, scores):
        chosen = ops.take_along_axis(scores, tag[:, None, None], axis=2)[:, :, 0]  # (B, K)
        return ops.cast(ops.argmax(chosen, axis=-1), "int32"), tag

    final = ops.cast(ops.argmax(last, axis=-1), "int32")
    _, tags = _scan(step, final, reached, reverse=True, unroll=unroll)
    return ops.transpose(tags), _or_forbidden(_highest(last, axis=-1))


def best_paths(potentials: Any, count: int, mask: Any = None) -> tuple[Any, Any]:
    """Returns the best sequences of tags and their scores, the best first.

    Source: Seshadri and Sundberg 1994, https://doi.org/10.1109/26.577040 (list Viterbi).

    Args:
        potentials: (B, T, K, K) of `chain_potentials`.
        count: number of sequences, at least 1.
        mask: as in `viterbi`.

    Returns:
        Tags (B, count, T) int32, 0 at padding, and scores (B, count); -inf where there are fewer sequences.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> tags, scores = best_paths(np.array([[[[0.0, 1.0]] * 2]]), 2)
        >>> tags.numpy().tolist(), scores.numpy().tolist()
        ([[[1], [0]]], [[1.0, 0.0]])
    """
    checks.at_least("count", count, 1)
    potentials = _closed(_checked(potentials), mask)
    tags, batch = potentials.shape[-1], ops.shape(potentials)[0]
    steps = ops.transpose(potentials, (1, 0, 2, 3))
    rank = ops.where(ops.arange(count) == 0, 0.0, 2 * FORBIDDEN)  # the second best of nothing is forbidden
    begin = _beginning(potentials)[:, :, None] + ops.cast(rank, potentials.dtype)  # (B, K, count)

    def step(best, scores):
        reached = ops.reshape(best[..., None] + scores[:, :, None], (batch, tags * count, tags))
        values, _ = ops.top_k(ops.transpose(reached, (0, 2, 1)), count)  # (B, K, count)
        return values, best

    last, before = ops.scan(step, begin, steps)  # before: (T, B, K, count)
    scores, place = ops.top_k(ops.reshape(last, (batch, tags * count)), count)  # (B, count), each a tag and a rank
    reached = ops.reshape(before[..., None] + steps[:, :, :, None], (ops.shape(steps)[0], batch, tags * count, tags))

    def back(place, scores):
        _, origins = ops.top_k(ops.transpose(scores, (0, 2, 1)), count)  # (B, K, count)
        origins = ops.reshape(ops.cast(origins, "int32"), (batch, tags * count))
        return ops.take_along_axis(origins, place, axis=1), place // count

    _, paths = ops.scan(back, ops.cast(place, "int32"), reached, reverse=True)  # (T, B, count)
    return ops.transpose(paths, (1, 2, 0)), _or_forbidden(scores)


def constrain_chain(potentials: Any, constraints: Any, mask: Any = None) -> Any:
    """Returns potentials with all tags forbidden that a scheme forbids, such as an inner tag after none.

    Args:
        potentials: (B, T, K, K) of `chain_potentials`.
        constraints: `TagConstraints` of `tag_constraints`.
        mask: (B, T) booleans, true at tokens; None takes positions of equal scores for padding.

    Returns:
        (B, T, K, K).

    Raises:
        ArgumentError: the potentials have another form, or the constraints are of other tags.

    Example:
        >>> rules = tag_constraints(["O", "B-CITY", "I-CITY"], "BIO")
        >>> viterbi(constrain_chain(np.tile([0.0, 0.0, 1.0], (1, 2, 3, 1)), rules))[0].numpy().tolist()
        [[1, 2]]
    """
    potentials = _checked(potentials)
    tags = potentials.shape[-1]
    if len(constraints.start) != tags:
        checks.refuse(f"constraints must be of the {tags} tags of the chain", len(constraints.start))
    real = ops.logical_not(_padding(potentials)) if mask is None else ops.cast(mask, "bool")
    costs = [ops.where(ops.convert_to_tensor(each), 0.0, FORBIDDEN) for each in constraints]
    allowed = chain_potentials(ops.zeros_like(potentials[..., 0]), *costs, mask=real)
    return ops.maximum(ops.where(real[..., None, None], potentials + allowed, potentials), FORBIDDEN)


def _floats(values: Any) -> Any:
    values = ops.convert_to_tensor(values)
    return values if "float64" in str(values.dtype) else ops.cast(values, "float32")


def _checked(potentials: Any) -> Any:
    """Returns potentials in float32, or in float64 as they are, with what is forbidden at one finite number."""
    potentials = ops.convert_to_tensor(potentials)
    if len(potentials.shape) != 4 or potentials.shape[-1] is None or potentials.shape[-1] != potentials.shape[-2]:
        hint = "chain_potentials makes them of logits; kerasdl.layers.CRF gives them."
        checks.refuse("potentials must be (B, T, K, K)", tuple(potentials.shape), hint)
    return ops.maximum(_floats(potentials), FORBIDDEN)


def _beginning(potentials: Any) -> Any:
    """Returns the scores (B, K) before the first position: its row 0 alone counts."""
    tags = potentials.shape[-1]
    row = ops.where(ops.arange(tags) == 0, 0.0, FORBIDDEN)
    return ops.broadcast_to(ops.cast(row, potentials.dtype), (ops.shape(potentials)[0], tags))


def _scan(step: Any, state: Any, items: Any, *, reverse: bool = False, unroll: bool = False) -> tuple[Any, Any]:
    """Returns the last state and all results, as `keras.ops.scan` does; the steps written out on request."""
    if not unroll:
        return ops.scan(step, state, items, reverse=reverse)
    if items.shape[0] is None:
        checks.refuse("positions can be unrolled only if their number is known", None)
    results = []
    for item in ops.unstack(items)[:: -1 if reverse else 1]:
        state, result = step(state, item)
        results.append(result)
    return state, ops.stack(results[:: -1 if reverse else 1])


def _forward(potentials: Any, reduce: Any, unroll: bool = False) -> tuple[Any, Any]:
    """Returns the scores (B, K) of all that leads to each tag of the last position, and (T, B, K) of every position."""

    def step(before, scores):
        after = reduce(before[:, :, None] + scores, axis=1)
        return after, after

    return _scan(step, _beginning(potentials), ops.transpose(potentials, (1, 0, 2, 3)), unroll=unroll)


def _highest(scores: Any, axis: Any) -> Any:
    return ops.max(scores, axis=axis, initial=8 * FORBIDDEN)  # without it Keras refuses chains of no position


def _or_forbidden(scores: Any) -> Any:
    return ops.where(scores < FORBIDDEN / 2, ops.cast(-math.inf, scores.dtype), scores)


def _padding(potentials: Any) -> Any:
    """Returns (B, T) booleans, true where all scores are equal, as `chain_potentials` makes padding."""
    highest, lowest = _highest(potentials, axis=(2, 3)), -_highest(-potentials, axis=(2, 3))
    is_even = ops.logical_and(highest == lowest, highest > FORBIDDEN / 2)
    return ops.logical_and(is_even, potentials.shape[-1] > 1)


def _closed(potentials: Any, mask: Any) -> Any:
    """Returns potentials whose padding has the tag 0 alone, at no cost."""
    padding = _padding(potentials) if mask is None else ops.logical_not(ops.cast(mask, "bool"))
    only = ops.where(ops.arange(potentials.shape[-1]) == 0, 0.0, FORBIDDEN)
    return ops.where(padding[..., None, None], ops.cast(only, potentials.dtype), potentials)
