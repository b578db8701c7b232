"""Sampling: the law of the draws by chi-square, the filters by their definitions, and the ends of every range."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from kerasdl import ops
from kerasdl.core.errors import ArgumentError

INF = float("inf")
PROBABILITIES = np.array([0.4, 0.05, 0.25, 0.1, 0.2])
LOGITS = np.log(PROBABILITIES).astype("float32")


def law(temperature=1.0, top_k=None, top_p=None, min_p=None, typical_p=None, probabilities=PROBABILITIES):
    """Returns the probabilities that the definitions of the filters leave, token by token."""
    p = probabilities ** (1 / temperature)
    p = p / p.sum()
    order = sorted(range(len(p)), key=lambda token: (-p[token], token))
    order = order[: top_k or len(p)]
    if top_p is not None:
        total, reached, few = sum(p[token] for token in order), 0.0, []
        for token in order:
            if few and reached >= top_p * total - 1e-12:
                break
            few.append(token)
            reached += p[token]
        order = few
    order = [token for token in order if min_p is None or p[token] >= min_p * p.max() - 1e-12]
    if typical_p is not None:
        q = p[order] / p[order].sum()
        far = np.abs(-np.log(q) + np.sum(q * np.log(q)))
        nearest = [order[place] for place in np.argsort(far, kind="stable")]
        reached = np.cumsum(p[nearest]) - p[nearest]
        order = [
            token
            for place, token in enumerate(nearest)
            if not place or reached[place] < typical_p * q.sum() * p[order].sum() - 1e-12
        ]
    left = np.zeros_like(p)
    left[order] = p[order]
    return left / left.sum()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 3.0},
        {"top_k": 3},
        {"top_p": 0.8},
        {"min_p": 0.3},
        {"typical_p": 0.4},
        {"top_k": 4, "typical_p": 0.6},
        {"temperature": 1.5, "top_k": 4, "top_p": 0.7, "min_p": 0.1},
    ],
)
def test_draws_follow_the_law(settings):
    draws = ops.sample(np.tile(LOGITS, (20_000, 1)), seed=7, **settings).numpy()
    counts, expected = np.bincount(draws, minlength=5), 20_000 * law(**settings)
    assert not counts[expected == 0].any()
    is_some = expected > 0
    assert stats.chisquare(counts[is_some], expected[is_some]).pvalue > 0.001
    if len(settings) == 1:  # the test sees another law
        assert stats.chisquare(counts, 20_000 * PROBABILITIES).pvalue < 1e-6


def test_an_equal_seed_draws_equal_tokens_and_a_generator_goes_on():
    rows = np.tile(LOGITS, (50, 1))
    same = [ops.sample(rows, seed=3).numpy() for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert (ops.sample(rows, seed=4).numpy() != same[0]).any()
    generator = keras.random.SeedGenerator(3)
    compiled = tf.function(lambda: ops.sample(rows, seed=generator))
    assert (compiled().numpy() != compiled().numpy()).any()


def test_noise_chooses_by_the_running_sum_in_a_graph_of_any_batch():
    noise = np.array([0.0, 0.39, 0.41, 0.449, 0.451, 0.75, 0.81, 1.0])
    rows = np.tile(LOGITS, (8, 1))
    compiled = tf.function(
        lambda rows, noise: ops.sample(rows, noise=noise),
        input_signature=[tf.TensorSpec((None, 5)), tf.TensorSpec((None,), tf.float64)],
    )
    assert compiled(rows, noise).numpy().tolist() == [0, 0, 1, 1, 2, 3, 4, 4]
    assert ops.sample(rows[:1].repeat(2, 0)[None], noise=[[0.5, 0.1]]).numpy().tolist() == [[2, 0]]


@pytest.mark.parametrize("settings", [{}, {"top_k": 9}, {"top_p": 1.0}, {"min_p": 0.0}, {"temperature": 1000.0}])
def test_a_token_of_no_probability_is_never_chosen(settings):
    rows = np.tile(np.array([-INF, 0.0, -INF, 1.0, -INF], "float32"), (5, 1))
    assert set(ops.sample(rows, noise=[0.0, 0.2, 0.8, 0.9999999, 1.0], **settings).numpy()) == {1, 3}


def test_ends_of_the_ranges_take_the_likeliest_and_the_lower_of_equals():
    tied = np.array([[1.0, 5.0, 5.0, 5.0, -INF]], "float32")
    many = np.tile(tied, (200, 1))
    for settings in ({"temperature": 0}, {"top_k": 1}, {"top_p": 0.0}):
        assert set(ops.sample(many, seed=0, **settings).numpy()) == {1}
    assert set(ops.sample(many, seed=0, top_k=2).numpy()) == {1, 2}
    assert set(ops.sample(many, seed=0, min_p=1.0).numpy()) == {1, 2, 3}
    assert set(ops.sample(many, seed=0, temperature=1e-6).numpy()) == {1, 2, 3}
    assert ops.sample(np.full((3, 1), -9.0, "float32"), seed=0).numpy().tolist() == [0, 0, 0]
    huge = np.array([[3e38, -3e38, 0.0]], "float32")
    assert ops.sample(huge, seed=0, temperature=1e-3).numpy().tolist() == [0]
    assert ops.sample(tf.cast(tied, tf.bfloat16), temperature=0).numpy().tolist() == [1]


def test_rows_that_no_token_can_be_drawn_from_give_minus_one():
    rows = np.array([[0, np.nan], [INF, 0], [-INF, -INF], [0, -INF]], "float32")
    for settings in ({"temperature": 0}, {}, {"top_p": 0.5}, {"top_k": 1}):
        assert ops.sample(rows, noise=[0.5] * 4, **settings).numpy().tolist() == [-1, -1, -1, 0]


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"temperature": -1}, "temperature must be"),
        ({"top_k": 0}, "top_k must be"),
        ({"top_p": 1.5}, "top_p must be"),
        ({"min_p": -0.1}, "min_p must be"),
        ({"seed": 1, "noise": [0.5]}, "seed and noise"),
    ],
)
def test_arguments_out_of_range_are_refused(settings, rule):
    with pytest.raises(ArgumentError, match=rule):
        ops.sample(LOGITS[None], **settings)
    with pytest.raises(ArgumentError, match="logits must be floats"):
        ops.sample(np.array([[1, 2]]))
