"""Cross-entropy method: one round by hand, truncated normals in closed form, a quadratic, bounds, NaN, refusals."""

import keras
import numpy as np
import pytest
from scipy.stats import norm

from kerasdl.core.errors import ArgumentError
from kerasdl.ops import cross_entropy_method


def search(score, mean, deviation, noise, **settings):
    found = cross_entropy_method(score, *(np.asarray(each, "float64") for each in (mean, deviation, noise)), **settings)
    return [np.asarray(each) for each in found]


def square(goal):
    return lambda x: -keras.ops.sum(keras.ops.square(x - goal), axis=(-1, -2))


def test_one_round_is_the_mean_and_deviation_of_the_best_rows():
    rng = np.random.default_rng(0)
    noise, first = rng.normal(size=(1, 3, 10, 4, 2)), rng.normal(size=(3, 4, 2))
    goal = rng.normal(size=(4, 2))
    mean, deviation = search(square(goal), first, np.full_like(first, 2.0), noise, elites=3, momentum=0.25)
    assert mean.dtype == "float64"
    for row in range(3):
        drawn = first[row] + 2.0 * noise[0, row]
        best = drawn[np.argsort(((drawn - goal) ** 2).sum((1, 2)))[:3]]
        np.testing.assert_allclose(mean[row], 0.25 * first[row] + 0.75 * best.mean(0), rtol=1e-12)
        np.testing.assert_allclose(deviation[row], 0.25 * 2.0 + 0.75 * best.std(0), rtol=1e-12)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_elites_of_a_linear_score_are_a_truncated_normal(share):
    """Above its quantile z a normal has the mean density(z) / share and the variance 1 + z * mean - mean ** 2."""
    count = 20_001
    noise = norm.ppf((np.arange(count) + 0.5) / count).reshape(1, 1, count, 1)
    mean, deviation = search(lambda x: x[..., 0], [[1.0]], [[2.0]], noise, elites=round(share * count))
    z = norm.ppf(1 - share)
    inverse = norm.pdf(z) / share
    assert mean[0, 0] == pytest.approx(1 + 2 * inverse, rel=1e-3)
    assert deviation[0, 0] == pytest.approx(2 * np.sqrt(1 + z * inverse - inverse**2), rel=1e-2)


def test_the_maximum_of_a_quadratic_is_found_in_each_problem():
    goals = np.array([[[0.3, -0.7]], [[1.4, 0.2]]])
    noise = np.random.default_rng(1).normal(size=(10, 1, 64, 1, 2))
    mean, deviation = search(square(goals[:, None]), np.zeros((2, 1, 2)), np.full((2, 1, 2), 3.0), noise, elites=12)
    np.testing.assert_allclose(mean, goals, atol=0.05)
    assert deviation.max() < 0.05


def test_candidates_stay_within_bounds():
    noise, seen = np.random.default_rng(2).normal(size=(5, 1, 32, 2)) * 9, []

    def score(x):
        seen.append(np.asarray(x))
        return x[..., 0]

    mean, _ = search(score, [[0.0, 0.0]], [[1.0, 1.0]], noise, elites=4, low=[-1.0, -2.0], high=[0.5, 2.0])
    seen = np.stack(seen)
    np.testing.assert_array_equal(seen.min((0, 1, 2)), [-1.0, -2.0])
    np.testing.assert_array_equal(seen.max((0, 1, 2)), [0.5, 2.0])
    assert mean[0, 0] == 0.5


def test_scores_that_are_no_numbers_come_last_and_no_deviation_stays():
    noise = np.linspace(-2, 2, 9).reshape(1, 1, 9, 1)
    mean, deviation = search(lambda x: keras.ops.sqrt(x[..., 0]), [[0.0]], [[1.0]], noise, elites=2)
    np.testing.assert_allclose([mean[0, 0], deviation[0, 0]], [1.75, 0.25])
    mean, deviation = search(lambda x: x[..., 0] * np.nan, [[3.0]], [[0.0]], noise, elites=2)
    np.testing.assert_array_equal([mean[0, 0], deviation[0, 0]], [3.0, 0.0])


def test_wrong_shapes_and_numbers_are_refused():
    good = {"score": lambda x: x[..., 0], "mean": [[0.0]], "deviation": [[1.0]], "noise": np.zeros((1, 1, 4, 1))}
    wrong = [
        ({"noise": np.zeros((1, 4, 1))}, "noise"),
        ({"noise": np.zeros((1, 2, 4, 1))}, "noise"),
        ({"noise": np.zeros((0, 1, 4, 1))}, "rounds"),
        ({"deviation": [1.0]}, "deviation"),
        ({"elites": 5}, "number of candidates, 4"),
        ({"elites": 0}, "elites"),
        ({"momentum": 1.0}, "momentum"),
        ({"momentum": float("nan")}, "momentum"),
        ({"score": lambda x: x}, "one number a candidate"),
    ]
    for changes, match in wrong:
        given = {**good, "elites": 2, **changes}
        parts = [given.pop(name) for name in good]
        with pytest.raises(ArgumentError, match=match):
            search(*parts, **given)
