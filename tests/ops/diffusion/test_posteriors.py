"""Posteriors against Bayes' rule on a grid and DDPM's own formulas; bounds, levels and weights at closed forms."""

import numpy as np
import pytest
from scipy import stats

from kerasdl.core.errors import ArgumentError
from kerasdl.ops import (
    beta_schedule,
    bits_per_dimension,
    diffusion_weights,
    edm_coefficients,
    learned_log_variance,
    level_log_likelihood,
    normal_divergence,
    normal_mass,
    posterior,
    posterior_coefficients,
    signal_rates,
)


@pytest.mark.parametrize(
    ("alpha", "sigma", "next_alpha", "next_sigma"), [(0.3, 0.95, 0.7, 0.71), (1, 5, 1, 2), (0.2, 0.8, 0.6, 0.4)]
)
def test_posterior_is_bayes_rule(alpha, sigma, next_alpha, next_sigma):
    x0, x = 0.7, -0.4
    grid = np.linspace(-30, 30, 600_001)
    ratio = alpha / next_alpha
    mass = stats.norm.pdf(grid, next_alpha * x0, next_sigma) * stats.norm.pdf(
        x, ratio * grid, np.sqrt(sigma**2 - (ratio * next_sigma) ** 2)
    )
    mass /= mass.sum()
    mean, variance = posterior(np.float64([x0]), np.float64([x]), alpha, sigma, next_alpha, next_sigma)
    assert float(mean[0]) == pytest.approx((grid * mass).sum(), rel=1e-9)
    assert float(variance) == pytest.approx((grid**2 * mass).sum() - (grid * mass).sum() ** 2, rel=1e-6)


def test_posterior_of_neighbours_is_that_of_ddpm():
    betas = beta_schedule("linear")
    rates = signal_rates(betas)
    before, rate, beta = rates[:-1], rates[1:], betas[1:]
    of_x, of_data, variance = posterior_coefficients(
        np.sqrt(rate), np.sqrt(1 - rate), np.sqrt(before), np.sqrt(1 - before)
    )
    np.testing.assert_allclose(of_x, np.sqrt(1 - beta) * (1 - before) / (1 - rate), rtol=1e-9)
    np.testing.assert_allclose(of_data, np.sqrt(before) * beta / (1 - rate), rtol=1e-8)
    np.testing.assert_allclose(variance, beta * (1 - before) / (1 - rate), rtol=1e-8)


def test_learned_variance_goes_from_bound_to_bound():
    ends = learned_log_variance(np.float64([[-1.0, 0.0, 1.0]]), np.float64([0.01]), np.float64([0.04]))
    np.testing.assert_allclose(np.exp(ends), [[0.01, 0.02, 0.04]])
    with pytest.raises(ArgumentError, match="rates"):
        learned_log_variance(np.zeros((2, 2)), np.ones((2, 1)), 1.0)


def test_divergence_is_the_integral():
    grid = np.linspace(-20, 20, 200_001)
    p, q = stats.norm(0.3, 0.8), stats.norm(-0.5, 1.7)
    expected = np.trapezoid(p.pdf(grid) * (p.logpdf(grid) - q.logpdf(grid)), grid)
    found = normal_divergence(np.array([0.3]), 2 * np.log(0.8), -0.5, 2 * np.log(1.7))
    assert float(found[0]) == pytest.approx(expected, rel=1e-8)
    assert float(normal_divergence(np.array([2.0]), 1.0, 2.0, 1.0)[0]) == 0


def test_levels_have_all_mass_and_that_of_their_interval():
    levels = np.linspace(-1, 1, 256)
    found = level_log_likelihood(levels, 0.2, np.log(0.1))
    assert np.exp(found).sum() == pytest.approx(1.0, rel=1e-12)
    middle = stats.norm.cdf(levels[150] + 1 / 255, 0.2, 0.1) - stats.norm.cdf(levels[150] - 1 / 255, 0.2, 0.1)
    assert float(found[150]) == pytest.approx(np.log(middle), rel=1e-10)
    assert float(level_log_likelihood(np.array([-1.0]), -5.0, 0.0)[0]) == pytest.approx(
        np.log(stats.norm.cdf(4 + 1 / 255)), abs=1e-15
    )
    # 30 deviations above the mean, where 1 - 1 would be 0
    tail = level_log_likelihood(levels[200:201], levels[200] - 0.3, np.log(0.01))
    assert float(tail[0]) == pytest.approx(stats.norm.logsf(30 - 1 / 2.55), rel=1e-5)
    assert np.isfinite(level_log_likelihood(np.float32([-1, 0, 1]), np.float32(1e6), np.float32(-30))).all()
    np.testing.assert_allclose(normal_mass(np.array([-2.0, 0, 2])), stats.norm.cdf([-2, 0, 2]), rtol=1e-12)


def test_bits():
    # a uniform density over [-1, 1] is 1/2; 256 levels of the same mass are 8 bits
    assert float(bits_per_dimension(np.float64(10 * np.log(2.0)), 10, levels=256)) == pytest.approx(8.0)
    assert float(bits_per_dimension(np.float64(10 * np.log(256.0)), 10)) == pytest.approx(8.0)
    for wrong in (
        lambda: bits_per_dimension(1.0, 0),
        lambda: bits_per_dimension(1.0, 4, levels=1),
        lambda: level_log_likelihood(0.0, 0.0, 0.0, 1),
    ):
        with pytest.raises(ArgumentError):
            wrong()


@pytest.mark.parametrize("weighting", ["min_snr", "p2", "edm", "truncated_snr", "likelihood"])
@pytest.mark.parametrize("target", ["eps", "v", "flow"])
def test_weights_of_targets_weigh_one_error(weighting, target):
    """A small error of the data is weighed the same, by whichever target it is measured."""
    sigma = np.linspace(0.05, 0.95, 7)
    alpha = 1 - sigma if target == "flow" else np.sqrt(1 - sigma**2)
    # d target / d x0 at fixed x = alpha x0 + sigma eps, where eps moves by -alpha / sigma
    moved = {"eps": alpha / sigma, "v": alpha * alpha / sigma + sigma, "flow": alpha / sigma + 1}[target]
    of_data = diffusion_weights(alpha, sigma, weighting, "x0")
    np.testing.assert_allclose(diffusion_weights(alpha, sigma, weighting, target) * moved**2, of_data, rtol=1e-9)


def test_weights_by_hand():
    ratio = np.float64([1 / 9, 4.0, 25.0])  # of rates sqrt(r / (1 + r)) and sqrt(1 / (1 + r))
    rates = np.sqrt(ratio / (1 + ratio)), np.sqrt(1 / (1 + ratio))
    np.testing.assert_allclose(diffusion_weights(*rates, "simple", "v"), 1)
    np.testing.assert_allclose(diffusion_weights(*rates, "min_snr", "eps"), [1, 1, 0.2])
    np.testing.assert_allclose(diffusion_weights(*rates, "p2", "eps"), 1 / (1 + ratio))
    np.testing.assert_allclose(diffusion_weights(*rates, "edm", "x0", deviation=0.5), ratio + 4)
    np.testing.assert_allclose(diffusion_weights(*rates, "truncated_snr", "x0"), [1, 4, 25])
    np.testing.assert_allclose(diffusion_weights(*rates, "likelihood", "eps"), 1)
    for wrong in (dict(weighting="snr"), dict(target="score"), dict(gamma=np.nan), dict(deviation=0.0)):
        with pytest.raises(ArgumentError):
            diffusion_weights(*rates, **wrong)


def test_preconditioning_has_inputs_and_targets_of_variance_1_and_one_loss_weight():
    ratio, deviation = np.geomspace(0.002, 80, 9), 0.5
    skip, output, scale, noise = edm_coefficients(ratio, deviation)
    np.testing.assert_allclose(np.square(scale) * (deviation**2 + ratio**2), 1)
    # the target (x0 - skip * (x0 + ratio * eps)) / output
    variance = (np.square(1 - skip) * deviation**2 + np.square(skip * ratio)) / np.square(output)
    np.testing.assert_allclose(variance, 1)
    weights = diffusion_weights(np.ones(9), ratio, "edm", "x0", deviation=deviation)
    np.testing.assert_allclose(weights * np.square(output), 1)
    np.testing.assert_allclose(noise, np.log(ratio) / 4)
