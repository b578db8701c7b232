"""Value distributions: the projection against the loop of the paper, quantile loss at its closed form."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from kerasdl.core.errors import ArgumentError
from kerasdl.ops import categorical_projection, quantile_huber_loss


def test_projection_is_algorithm_1_of_the_paper():
    rng = np.random.default_rng(0)
    atoms = np.linspace(-2, 3, 11)
    mass, rewards, discounts = rng.dirichlet(np.ones(11), 20), rng.normal(size=20) * 2, rng.choice([0.0, 0.9], 20)
    expected = np.zeros_like(mass)
    for row in range(20):
        for place in range(11):
            at = (np.clip(rewards[row] + discounts[row] * atoms[place], -2, 3) + 2) / 0.5
            low, high = int(np.floor(at)), int(np.ceil(at))
            if low == high:
                expected[row, low] += mass[row, place]
            else:
                expected[row, low] += mass[row, place] * (high - at)
                expected[row, high] += mass[row, place] * (at - low)
    found = categorical_projection(mass, atoms, rewards, discounts)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(np.asarray(found).sum(-1), 1.0, atol=1e-6)


def test_projection_keeps_the_mean_of_what_stays_inside():
    mass = np.random.default_rng(1).dirichlet(np.ones(21), 5)
    atoms = np.linspace(-10, 10, 21)
    found = np.asarray(categorical_projection(mass, atoms, np.full(5, 0.3), np.full(5, 0.5)))
    np.testing.assert_allclose(found @ atoms, 0.3 + 0.5 * mass @ atoms, atol=1e-5)


def test_quantile_loss_is_least_at_the_quantiles():
    """With a small threshold the loss is the pinball loss, whose minimum is the quantile (k + 1/2) / K."""
    samples = np.random.default_rng(2).normal(size=(1, 2001))
    best = np.quantile(samples, (0.5 + np.arange(4)) / 4)

    def loss(value, place):
        quantiles = best.copy()
        quantiles[place] = value
        return float(quantile_huber_loss(quantiles[None], samples, threshold=1e-4)[0])

    for place in range(4):
        found = minimize_scalar(lambda value, place=place: loss(value, place), (best[place] - 0.3, best[place] + 0.3))
        assert found.x == pytest.approx(best[place], abs=0.02)


def test_quantile_loss_by_hand():
    # shares 1/4 and 3/4; errors 0.5, -2 of the first quantile and -0.5, -3 of the second
    loss = quantile_huber_loss([[0.0, 1.0]], [[0.5, -2.0]])
    assert float(loss[0]) == pytest.approx((0.25 * 0.125 + 0.75 * 1.5) / 2 + (0.25 * 0.125 + 0.25 * 2.5) / 2)
    with pytest.raises(ArgumentError, match="threshold"):
        quantile_huber_loss([[0.0]], [[0.0]], threshold=0.0)
    with pytest.raises(ArgumentError, match="number of values"):
        categorical_projection([[1.0]], [0.0], [0.0], [1.0])
