"""Aggregates of scores: closed forms, scipy, brute force, and what they refuse."""

import itertools

import numpy as np
import pytest
import scipy.stats

from kerasdl import rl
from kerasdl.errors import ArgumentError

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(7, 3))


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end():
    assert rl.interquartile_mean(range(8)) == (2 + 3 + 4 + 5) / 4
    assert rl.interquartile_mean([-1e9, 2, 3, 1e9]) == 2.5
    assert rl.interquartile_mean([5.0]) == 5.0
    assert rl.interquartile_mean([1, 2, 6]) == 3.0  # a quarter of three is none
    for scores in (SCORES, SCORES[:, 0], RNG.normal(size=11)):
        assert rl.interquartile_mean(scores) == pytest.approx(scipy.stats.trim_mean(scores, 0.25, axis=None), abs=1e-12)


def test_the_interquartile_mean_over_time_is_that_of_each_time():
    scores = RNG.normal(size=(5, 2, 4))
    expected = [rl.interquartile_mean(scores[..., time]) for time in range(4)]
    np.testing.assert_allclose(rl.interquartile_mean(scores), expected, atol=1e-12)


def test_the_optimality_gap_counts_nothing_above_the_target():
    assert rl.optimality_gap([0.5, 2.0, 1.0]) == pytest.approx(0.5 / 3)
    assert rl.optimality_gap([500, 475, 400], 475) == 25
    np.testing.assert_allclose(rl.optimality_gap(np.array([[[0.0, 2.0]], [[1.0, 0.0]]])), [0.5, 0.5])


def test_the_probability_of_improvement_is_the_share_of_pairs():
    others = RNG.integers(0, 3, (4, 3)).astype(float)
    scores = RNG.integers(0, 3, (5, 3)).astype(float)
    pairs = [
        (one > other) + 0.5 * (one == other)
        for column in range(3)
        for one, other in itertools.product(scores[:, column], others[:, column])
    ]
    assert rl.probability_of_improvement(scores, others) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert rl.probability_of_improvement([1, 2], [1, 2]) == 0.5
    statistic = scipy.stats.mannwhitneyu(SCORES[:, 0], SCORES[:, 1]).statistic / 49
    assert rl.probability_of_improvement(SCORES[:, 0], SCORES[:, 1]) == pytest.approx(statistic)


def test_the_interval_has_the_quantiles_of_all_draws():
    """Of two runs the mean of a draw is a, (a + b) / 2 or b, with probabilities 1/4, 1/2 and 1/4."""
    assert rl.bootstrap_interval([2.0, 4.0], np.mean) == (2.0, 4.0)
    assert rl.bootstrap_interval([2.0, 4.0], np.mean, confidence=0.4) == (3.0, 3.0)
    runs = np.array([0.0, 1.0, 5.0])
    every = [np.mean(each) for each in itertools.product(runs, repeat=3)]
    expected = np.quantile(every, (0.05, 0.95))
    found = rl.bootstrap_interval(runs, np.mean, confidence=0.9, draws=20_000)
    np.testing.assert_allclose(found, expected, atol=0.34)  # the next values of the 27 are a third away


def test_environments_are_drawn_each_by_itself():
    scores = np.array([[0.0, 9.0], [0.0, 9.0]])
    assert rl.bootstrap_interval(scores, np.mean) == (4.5, 4.5)  # drawn together from four scores it would spread
    low, high = rl.bootstrap_interval(SCORES)
    assert low < rl.interquartile_mean(SCORES) < high
    apart = np.stack([np.arange(4.0), -np.arange(4.0)], 1)  # rows cancel, unless columns are drawn apart
    low, high = rl.bootstrap_interval(apart, np.mean)
    assert high - low > 0.5


def test_the_interval_of_a_curve_has_ends_at_each_time():
    curve = RNG.normal(size=(5, 1, 3)) + np.array([0.0, 10.0, 20.0])
    low, high = rl.bootstrap_interval(curve)
    assert low.shape == high.shape == (3,)
    alone = rl.bootstrap_interval(curve[:, 0, 1])
    np.testing.assert_allclose((low[1], high[1]), alone, atol=1e-12)
    again = rl.bootstrap_interval(curve)
    np.testing.assert_array_equal(low, again[0])
    assert (rl.bootstrap_interval(curve, seed=1)[0] != low).any()


@pytest.mark.parametrize(
    "scores", [[], [np.nan, 1.0], [np.inf, 1.0], "many", [[1.0], [1.0, 2.0]], np.zeros((2, 1, 1, 1)), 3.0, [None]]
)
def test_what_is_no_score_is_refused(scores):
    for function in (rl.interquartile_mean, rl.optimality_gap, rl.bootstrap_interval):
        with pytest.raises(ArgumentError, match="scores must be finite numbers"):
            function(scores)


def test_arguments_out_of_their_range_are_refused():
    with pytest.raises(ArgumentError, match="two runs or more"):
        rl.bootstrap_interval([1.0])
    for confidence in (0.0, 1.0, 95):
        with pytest.raises(ArgumentError, match="confidence"):
            rl.bootstrap_interval([1.0, 2.0], confidence=confidence)
    with pytest.raises(ArgumentError, match="draws must be"):
        rl.bootstrap_interval([1.0, 2.0], draws=0)
    with pytest.raises(ArgumentError, match="seed must be"):
        rl.bootstrap_interval([1.0, 2.0], seed=-1)
    with pytest.raises(ArgumentError, match="of the same environments"):
        rl.probability_of_improvement([[1.0, 2.0]], [[1.0]])
    with pytest.raises(ArgumentError, match="target"):
        rl.optimality_gap([1.0], float("nan"))
