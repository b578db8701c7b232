"""Temperature, calibration error and least scores, against brute force and a closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from kerasdl.core.errors import ArgumentError
from kerasdl.core.outputs.calibration import (
    at_temperature,
    calibration_error,
    fit_temperature,
    score_keeping,
    score_parting,
)
from kerasdl.core.outputs.decoding import softmax

SCORES = st.lists(st.integers(0, 1000).map(lambda each: each / 1000), min_size=1, max_size=30)


def drawn(count=4000, classes=5, seed=0):
    """Logits, and classes drawn from their softmax: exactly calibrated."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(count, classes))
    return logits, (softmax(logits).cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)


@pytest.mark.parametrize("factor", [0.25, 1.0, 3.0])
def test_the_temperature_undoes_a_factor_on_calibrated_logits(factor):
    logits, truth = drawn()
    assert fit_temperature(factor * logits, truth) == pytest.approx(factor, rel=0.05)


def test_the_temperature_has_the_least_cross_entropy():
    logits, truth = drawn(200, seed=1)

    def cross_entropy(temperature):
        return -np.log(softmax(2 * logits / temperature)[np.arange(200), truth]).mean()

    least = minimize_scalar(cross_entropy, bounds=(0.1, 10), method="bounded", options={"xatol": 1e-9})
    assert fit_temperature(2 * logits, truth) == pytest.approx(least.x, rel=1e-5)


def test_a_temperature_lowers_the_error_and_leaves_the_order():
    logits, truth = drawn(20_000, seed=2)
    logits = 3 * logits
    temperature = fit_temperature(logits, truth)
    before, after = softmax(logits), at_temperature(logits, "logits", temperature)
    np.testing.assert_array_equal(np.argsort(before, axis=1), np.argsort(after, axis=1))
    assert calibration_error(before, truth) > 0.1
    assert calibration_error(after, truth) < 0.02


def test_probabilities_and_their_logits_give_the_same_scores():
    logits, _ = drawn(50)
    of_logits, of_probabilities = (
        at_temperature(each, kind, 1.7) for each, kind in ((logits, "logits"), (softmax(logits), "probabilities"))
    )
    np.testing.assert_allclose(of_logits, of_probabilities, atol=1e-6)


def test_without_a_wrong_answer_the_temperature_stays_one():
    assert fit_temperature([[2.0, 0.0], [0.0, 0.1]], [0, 1]) == 1.0


def test_scores_no_better_than_chance_have_no_temperature():
    with pytest.raises(ArgumentError, match="better than chance; got 'right answers to 33% of 3"):
        fit_temperature([[2.0, 0.0]] * 3, [1, 1, 0])


def test_the_calibration_error_is_the_mean_gap_of_the_bins():
    logits, truth = drawn(300, seed=3)
    scores = softmax(2 * logits)
    highest, is_right = scores.max(axis=1), scores.argmax(axis=1) == truth
    expected = 0.0
    for place in range(15):
        inside = (highest > place / 15) & (highest <= (place + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(highest[inside].mean() - is_right[inside].mean())
    assert calibration_error(scores, truth) == pytest.approx(expected)


@settings(deadline=None)
@given(SCORES, st.integers(1, 20).map(lambda each: each / 20))
def test_the_score_that_keeps_a_share_is_the_greatest(scores, share):
    scores = np.array(scores)
    chosen = score_keeping(scores, share)
    assert np.mean(scores >= chosen) >= share - 1e-9
    assert all(np.mean(scores >= each) < share - 1e-9 for each in scores if each > chosen + 1e-6)


@settings(deadline=None)
@given(SCORES, SCORES)
def test_the_score_that_parts_is_the_best_of_all(kept, rejected):
    def gain(score):
        return np.mean(np.array(kept) >= score) + np.mean(np.array(rejected) < score)

    assert gain(score_parting(kept, rejected)) >= max(map(gain, (*kept, *rejected, 0.0))) - 1e-9
