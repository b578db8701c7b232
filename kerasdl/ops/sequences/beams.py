"""Beam search over a step function, in one loop: length penalty, early ends, groups of beams that differ."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from kerasdl.core import checks

NEVER = float("-inf")


class Hypotheses(NamedTuple):
    """Hypotheses of a batch in tensors of fixed size, the best first."""

    tokens: Any
    """(B, W, T) int32, the end token included, 0 behind it."""
    lengths: Any
    """(B, W) int32, tokens of each hypothesis, the end token included."""
    scores: Any
    """(B, W) float32, log-probability over the length penalty; -inf where there are fewer hypotheses than W, NaN for
    an example whose logits were NaN, +inf, or -inf alone."""


def beam_search(
    step: Callable[[Any, Any], tuple[Any, Any]],
    state: Any,
    tokens: Any,
    *,
    width: int,
    length: int,
    end: int | None = None,
    length_penalty: float = 0.0,
    groups: int = 1,
    diversity: float = 0.0,
) -> Hypotheses:
    """Returns the best continuations that a beam of partial hypotheses finds.

    At each step every hypothesis may go on with any token. The best `width` that do not end are kept, and the best
    `width` of all that have ended so far. After `length` tokens those that have not ended count as they are. The
    search stops before if no hypothesis can overtake one that has ended. Where `width` is at least V to the power of
    `length`, the answer is that of an exhaustive search. Of equal scores the hypothesis that ended before comes first,
    then that of the better beam, then the lower token.

    With groups the beams are searched in turns at each step: a group passes over tokens that groups before it have just
    taken, by a price for each time. Scores stay log-probabilities; the price acts on tokens that go on, not on the end.

    Source: https://arxiv.org/abs/1609.08144, section 7, equation 14 (length penalty); without its coverage penalty.
    https://arxiv.org/abs/1610.02424, section 4, with Hamming diversity (groups).

    Args:
        step: takes tokens (N,) int32 and a state, and returns logits (N, V) of the next token and the next state.
        state: tree of tensors (B, ...), the state before `tokens`. It is repeated for each beam: N is B times W.
        tokens: (B,) integers, which the first step takes: the last token of a prompt, or a start token.
        width: W, hypotheses that are kept.
        length: T, tokens of a hypothesis at most.
        end: token that ends a hypothesis; None for none.
        length_penalty: alpha, from 0 to 10: log-probabilities are divided by ((5 + length) / 6) ** alpha.
        groups: G, groups of equal width; they divide `width`. Hypotheses of several groups may be equal.
        diversity: lambda, from 0 to 1000: price in log-probability of a token for each beam of an earlier group that
            has taken it at the same step.

    Returns:
        `Hypotheses` of each example.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> logits = np.log(np.array([[0.6, 0.4], [0.1, 0.9]], "float32"))
        >>> step = lambda token, state: (ops.take(logits, token, axis=0), state)
        >>> found = beam_search(step, (), [0], width=2, length=2)
        >>> found.tokens.numpy()[0].tolist(), np.exp(found.scores.numpy()).round(2)
        ([[0, 0], [1, 1]], array([[0.36, 0.36]], dtype=float32))
    """
    checks.at_least("width", width, 1)
    checks.at_least("length", length, 1)
    checks.within("length_penalty", length_penalty, 0.0, 10.0)
    checks.within("diversity", diversity, 0.0, 1000.0)
    if width % checks.at_least("groups", groups, 1):
        checks.refuse(f"groups must divide the width {width}", groups)
    if diversity and groups == 1:
        checks.refuse("diversity is for several groups", diversity, "Pass groups=2 or more.")
    if end is not None:
        checks.at_least("end", end, 0)
    tokens = ops.cast(ops.convert_to_tensor(tokens), "int32")
    if len(tokens.shape) != 1:
        checks.refuse("tokens must be one a row, (B,)", tuple(tokens.shape))
    search = _Search(step, ops.shape(tokens)[0], width, length, end, length_penalty, groups, diversity)
    state = keras.tree.map_structure(lambda each: ops.repeat(ops.convert_to_tensor(each), width, axis=0), state)
    begin = (0, ops.repeat(tokens, width), state, search.first_beam(), search.nothing(), search.nothing_wrong())
    _, _, _, alive, ended, is_wrong = ops.while_loop(search.goes_on, search.advance, begin)
    return search.answer(alive, ended, is_wrong)


class _Search:
    """Shapes and settings of a search, and its steps; a set of hypotheses is (scores, tokens, lengths)."""

    def __init__(
        self,
        step: Callable,
        batch: Any,
        width: int,
        length: int,
        end: int | None,
        penalty: float,
        groups: int,
        diversity: float,
    ):
        self.step, self.batch, self.width, self.length, self.end = step, batch, width, length, end
        self.penalty, self.groups, self.diversity, self.share = penalty, groups, diversity, width // groups

    def nothing(self) -> tuple:
        shape = (self.batch, self.width)
        empty = ops.zeros((*shape, self.length), "int32")
        return ops.full(shape, NEVER, "float32"), empty, ops.zeros(shape, "int32")

    def first_beam(self) -> tuple:
        """Returns the empty hypothesis of each group, with places for others that have no probability."""
        _, tokens, lengths = self.nothing()
        first = ops.where(ops.arange(self.width) % self.share == 0, 0.0, NEVER)
        return ops.broadcast_to(ops.cast(first, "float32"), (self.batch, self.width)), tokens, lengths

    def nothing_wrong(self) -> Any:
        return ops.zeros((self.batch,), "bool")

    def goes_on(self, number: Any, tokens: Any, state: Any, alive: tuple, ended: tuple, is_wrong: Any) -> Any:
        """Returns whether a hypothesis may still overtake one that has ended; penalties grow with the length."""
        grouped = [ops.reshape(each, (-1, self.groups, self.share)) for each in (alive[0], ended[0])]
        hopes = ops.max(grouped[0], axis=2) / self.penalty_of(self.length)
        return ops.logical_and(number < self.length, ops.any(hopes > ops.min(grouped[1], axis=2)))

    def advance(self, number: Any, tokens: Any, state: Any, alive: tuple, ended: tuple, is_wrong: Any) -> tuple:
        scores, history, _ = alive
        logits, state = self.step(tokens, state)
        logits = ops.cast(logits, "float32")  # (B * W, V)
        size = logits.shape[-1]
        if self.end is not None and self.end >= size:
            checks.refuse(f"end must be below the number of tokens {size}", self.end)
        chances = ops.reshape(ops.log_softmax(logits, axis=-1), (-1, self.width, size))
        is_alive = scores > NEVER
        is_wrong = ops.logical_or(is_wrong, ops.any(ops.isnan(chances) & is_alive[..., None], axis=(1, 2)))
        totals = ops.where(is_alive[..., None] & ~ops.isnan(chances), scores[..., None] + chances, NEVER)  # (B, W, V)
        place = ops.cast(ops.arange(self.length) == number, "int32")
        if self.end is not None:
            final = totals[..., self.end] / self.penalty_of(number + 1)
            finished = (final, history + self.end * place, ops.zeros_like(history[..., 0]) + number + 1)
            ended = self.best_of_groups(ended, finished)
            totals = ops.where(ops.arange(size) == self.end, NEVER, totals)
        scores, beams, tokens = self.best_tokens(totals, size)
        history = ops.take_along_axis(history, beams[..., None], axis=1) + tokens[..., None] * place
        lengths = ops.zeros_like(tokens) + number + 1
        rows = ops.reshape(beams + self.width * ops.arange(self.batch, dtype="int32")[:, None], (-1,))
        state = keras.tree.map_structure(lambda each: ops.take(each, rows, axis=0), state)
        return number + 1, ops.reshape(tokens, (-1,)), state, (scores, history, lengths), ended, is_wrong

    def best_tokens(self, totals: Any, size: int) -> tuple:
        """Returns score, beam and token (B, W) of the best ways on from totals (B, W, V), group after group."""
        chosen, taken = [], ops.zeros_like(totals[:, 0])  # (B, V)
        for group in range(self.groups):
            own = totals[:, group * self.share : (group + 1) * self.share]  # (B, W / G, V)
            flat = ops.reshape(own - self.diversity * taken[:, None], (-1, self.share * size))
            _, places = ops.top_k(flat, self.share)
            scores = ops.take_along_axis(ops.reshape(own, (-1, self.share * size)), places, axis=1)
            chosen.append((scores, places // size + group * self.share, places % size))
            if self.diversity:
                is_some = ops.cast(scores > NEVER, taken.dtype)[..., None]
                taken = taken + ops.sum(is_some * ops.one_hot(chosen[-1][2], size, dtype=taken.dtype), axis=1)
        return tuple(ops.concatenate(each, axis=1) for each in zip(*chosen, strict=True))

    def best_of_groups(self, *sets: tuple) -> tuple:
        """Returns the best hypotheses of each group among those of several sets."""
        found = []
        for group in range(self.groups):
            own = [[each[:, group * self.share : (group + 1) * self.share] for each in one] for one in sets]
            found.append(self.best(tuple(map(_joined, zip(*own, strict=True))), self.share))
        return tuple(map(_joined, zip(*found, strict=True)))

    def answer(self, alive: tuple, ended: tuple, is_wrong: Any) -> Hypotheses:
        scores, tokens, lengths = alive
        is_whole = lengths == self.length  # others were given up, since they cannot overtake
        whole = ops.where(is_whole, scores / self.penalty_of(self.length), NEVER), tokens, lengths
        scores, tokens, lengths = self.best(self.best_of_groups(ended, whole), self.width)
        is_some = scores > NEVER
        tokens = ops.where(is_some[..., None], tokens, ops.zeros_like(tokens))
        lengths = ops.where(is_some, lengths, ops.zeros_like(lengths))
        return Hypotheses(tokens, lengths, ops.where(is_wrong[:, None], float("nan"), scores))

    def best(self, hypotheses: tuple, count: int) -> tuple:
        scores, tokens, lengths = hypotheses
        scores, places = ops.top_k(scores, count)
        tokens = ops.take_along_axis(tokens, places[..., None], axis=1)
        return scores, tokens, ops.take_along_axis(lengths, places, axis=1)

    def penalty_of(self, length: Any) -> Any:
        return ((5.0 + ops.cast(length, "float32")) / 6.0) ** self.penalty


def _joined(pair: tuple) -> Any:
    return ops.concatenate(pair, axis=1)
