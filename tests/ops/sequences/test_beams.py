"""Beam search against an exhaustive search, and against a plain Python beam."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops as keras_ops

from kerasdl import ops
from kerasdl.core.errors import ArgumentError


def scored_by(tables):
    """Returns a step over a state of position and example, whose logits depend on both and on the token before."""
    tables = np.asarray(tables, "float32")  # (B, T, V, V)

    def step(tokens, state):
        logits = tf.gather_nd(tables, tf.stack([state["example"], state["position"], tokens], axis=1))
        return logits, {"example": state["example"], "position": state["position"] + 1}

    return step


def drawn(seed, batch, length, size, ties=False):
    rng = np.random.default_rng(seed)
    tables = rng.normal(size=(batch, length, size, size))
    return np.round(tables) * 0.5 if ties else tables


def searched(tables, **settings):
    batch, length = tables.shape[:2]
    state = {"example": tf.range(batch), "position": tf.zeros(batch, tf.int32)}
    call = tf.function(lambda: ops.beam_search(scored_by(tables), state, [0] * batch, length=length, **settings))
    return [np.array(each) for each in call()]


def log_softmax(row):
    row = row.astype("float32")
    return row - row.max() - np.log(np.exp(row - row.max()).sum())


def penalty(count, alpha):
    return ((5 + count) / 6) ** alpha


def exhaustive(table, end, alpha):
    """Returns (score, tokens) of every hypothesis, the best first."""
    length, size = table.shape[:2]
    found = {}
    for tokens in itertools.product(range(size), repeat=length):
        if end in tokens:
            tokens = tokens[: tokens.index(end) + 1]
        previous, total = 0, 0.0
        for place, token in enumerate(tokens):
            total += log_softmax(table[place, previous])[token]
            previous = token
        found[tokens] = total / penalty(len(tokens), alpha)
    return sorted(((score, tokens) for tokens, score in found.items()), key=lambda pair: -pair[0])


def plain_beam(table, width, end, alpha):
    """A beam with lists; sorting is stable, so that equal scores keep the order in which they were found."""
    length, size = table.shape[:2]
    alive, ended = [(np.float32(0), ())], []
    for place in range(length):
        grown = []
        for score, tokens in alive:
            chances = log_softmax(table[place, tokens[-1] if tokens else 0])
            grown += [(np.float32(score + chances[token]), (*tokens, token)) for token in range(size)]
        final = [(score / penalty(place + 1, alpha), tokens) for score, tokens in grown if tokens[-1] == end]
        ended = sorted([*ended, *final], key=lambda pair: -pair[0])[:width]
        alive = sorted((pair for pair in grown if pair[1][-1] != end), key=lambda pair: -pair[0])[:width]
    whole = [(score / penalty(length, alpha), tokens) for score, tokens in alive]
    return sorted([*ended, *whole], key=lambda pair: -pair[0])[:width]


def plain_groups(table, width, end, groups, diversity):
    """Groups of beams in turns, with lists; the price of a token counts the beams before that have just taken it."""
    length, size = table.shape[:2]
    share = width // groups
    alive, ended = [[(np.float32(0), ())] for _ in range(groups)], [[] for _ in range(groups)]
    for place in range(length):
        taken = [0] * size
        for group in range(groups):
            grown = []
            for score, tokens in alive[group]:
                chances = log_softmax(table[place, tokens[-1] if tokens else 0])
                grown += [(np.float32(score + chances[token]), (*tokens, token)) for token in range(size)]
            final = [pair for pair in grown if pair[1][-1] == end]
            ended[group] = sorted([*ended[group], *final], key=lambda pair: -pair[0])[:share]
            on = [pair for pair in grown if pair[1][-1] != end]
            alive[group] = sorted(on, key=lambda pair: -(pair[0] - diversity * taken[pair[1][-1]]))[:share]
            for _, tokens in alive[group]:
                taken[tokens[-1]] += 1
    each = [sorted([*ended[group], *alive[group]], key=lambda pair: -pair[0])[:share] for group in range(groups)]
    return sorted((pair for group in each for pair in group), key=lambda pair: -pair[0])


def assert_same(found, expected, length):
    tokens, lengths, scores = found
    for place, (score, hypothesis) in enumerate(expected):
        assert lengths[place] == len(hypothesis)
        assert tuple(tokens[place]) == (*hypothesis, *[0] * (length - len(hypothesis)))
        np.testing.assert_allclose(scores[place], score, atol=1e-5)
    assert np.isneginf(scores[len(expected) :]).all()
    assert not tokens[len(expected) :].any()
    assert not lengths[len(expected) :].any()


@pytest.mark.parametrize("alpha", [0.0, 0.6])
@pytest.mark.parametrize("end", [None, 2])
def test_a_wide_beam_is_an_exhaustive_search(end, alpha):
    tables = drawn(0, batch=3, length=4, size=3)
    found = searched(tables, width=3**4, end=end, length_penalty=alpha)
    for number, table in enumerate(tables):
        expected = exhaustive(table, end, alpha)
        assert len(expected) == (81 if end is None else 31)
        assert_same([each[number] for each in found], expected, 4)


@settings(deadline=None, max_examples=6)
@given(st.integers(0, 1000), st.integers(1, 5), st.sampled_from([None, 0, 3]), st.sampled_from([0.0, 1.0, 3.0]))
def test_a_narrow_beam_is_the_plain_one(seed, width, end, alpha):
    tables = drawn(seed, batch=2, length=5, size=4)
    found = searched(tables, width=width, end=end, length_penalty=alpha)
    for number, table in enumerate(tables):
        assert_same([each[number] for each in found], plain_beam(table, width, end, alpha), 5)


@pytest.mark.parametrize(("groups", "width", "end"), [(2, 4, None), (3, 3, 2)])
def test_groups_of_beams_differ_as_in_plain_lists(groups, width, end):
    tables = drawn(11, batch=2, length=5, size=4)
    found = searched(tables, width=width, end=end, groups=groups, diversity=0.8)
    for number, table in enumerate(tables):
        assert_same([each[number] for each in found], plain_groups(table, width, end, groups, 0.8), 5)
    same = searched(tables, width=width, end=end, groups=groups)
    alone, different = searched(tables, width=width // groups, end=end), []
    for number in range(2):
        rows = [tuple(row) for row in same[0][number]]
        assert {*rows} == {tuple(row) for row in alone[0][number]}
        different.append(len({tuple(row) for row in found[0][number]}) - len({*rows}))
    assert min(different) >= 0
    assert max(different) > 0  # two groups may still end alike: the price counts tokens, not ends


def test_equal_scores_keep_the_order_of_beams_and_tokens():
    tables = np.zeros((1, 3, 2, 2))
    found = [each[0] for each in searched(tables, width=3, end=1)]
    assert_same(found, plain_beam(tables[0], 3, 1, 0.0), 3)
    assert [tuple(row[:count]) for row, count in zip(found[0], found[1], strict=True)] == [
        (1,),
        (0, 1),
        (0, 0, 1),
    ]


def test_a_beam_of_one_is_greedy_where_nothing_ends():
    (table,) = drawn(4, 1, 6, 5)
    tokens, previous = [], 0
    for place in range(6):
        previous = int(table[place, previous].argmax())
        tokens.append(previous)
    assert searched(table[None], width=1)[0][0, 0].tolist() == tokens


def test_search_stops_once_nothing_can_overtake():
    """The end has probability 0.99 at first, so that one step decides a beam of one."""
    steps = []

    def step(tokens, state):
        steps.append(1)
        return keras_ops.log(keras_ops.tile([[0.005, 0.99, 0.005]], (tokens.shape[0], 1))), state

    found = ops.beam_search(step, (), [0, 0], width=1, length=50, end=1)
    assert len(steps) == 1
    assert found.tokens.numpy()[:, 0, 0].tolist() == [1, 1]
    assert found.lengths.numpy().tolist() == [[1], [1]]
    np.testing.assert_allclose(found.scores, np.log(0.99), atol=1e-6)


def test_tokens_of_no_probability_leave_fewer_hypotheses():
    tables = np.full((1, 2, 3, 3), -np.inf)
    tables[0, :, :, 1] = 0.0
    tokens, lengths, scores = (each[0] for each in searched(tables, width=4))
    assert tokens.tolist() == [[1, 1], [0, 0], [0, 0], [0, 0]]
    assert scores.tolist() == [0.0, -np.inf, -np.inf, -np.inf]
    assert lengths.tolist() == [2, 0, 0, 0]


def test_logits_that_are_no_numbers_make_the_scores_of_their_example_nan():
    tables = drawn(0, batch=2, length=3, size=3)
    tables[1, 2] = np.nan
    scores = searched(tables, width=2)[2]
    assert np.isfinite(scores[0]).all()
    assert np.isnan(scores[1]).all()


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"width": 0}, "width must be"),
        ({"length": 0}, "length must be"),
        ({"length_penalty": -0.5}, "length_penalty must be"),
        ({"end": -1}, "end must be"),
        ({"end": 3}, "end must be below the number of tokens 3"),
        ({"tokens": [[0]]}, "tokens must be one a row"),
        ({"groups": 0}, "groups must be"),
        ({"groups": 3}, "groups must divide the width 2"),
        ({"diversity": 0.5}, "diversity is for several groups"),
        ({"groups": 2, "diversity": -0.5}, "diversity must be"),
    ],
)
def test_arguments_out_of_range_are_refused(given, rule):
    arguments = {"tokens": [0], "width": 2, "length": 2, **given}
    with pytest.raises(ArgumentError, match=rule):
        ops.beam_search(lambda tokens, state: (keras_ops.zeros((len(tokens), 3)), state), (), **arguments)
