"""Densities and divergences against SciPy and integrals; both bounds against a linear-Gaussian model in closed form."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import multivariate_normal, norm

from kerasdl.core import ArgumentError
from kerasdl.ops import (
    active_units,
    bernoulli_log_density,
    free_bits,
    gaussian_divergence,
    gaussian_log_density,
    importance_bound,
)


def linear_gaussian(seed=0, inputs=4, code=2):
    """Returns W, b and the noise's deviation of x = W z + b + noise, and one x."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(inputs, code)), rng.normal(size=inputs), 0.7, rng.normal(size=inputs)


def posterior(weights, bias, deviation, x):
    """Returns mean and covariance of z given x, and log p(x)."""
    precision = np.eye(weights.shape[1]) + weights.T @ weights / deviation**2
    covariance = np.linalg.inv(precision)
    mean = covariance @ weights.T @ (x - bias) / deviation**2
    evidence = multivariate_normal(bias, weights @ weights.T + deviation**2 * np.eye(len(x))).logpdf(x)
    return mean, covariance, evidence


def test_densities_are_those_of_scipy():
    rng = np.random.default_rng(0)
    x, mean, log_variance = rng.normal(size=(3, 5))
    np.testing.assert_allclose(
        gaussian_log_density(x, mean, log_variance), norm(mean, np.exp(log_variance / 2)).logpdf(x), rtol=1e-10
    )
    shares, logits = rng.uniform(size=5), rng.normal(size=5) * 3
    p = 1 / (1 + np.exp(-logits))
    expected = shares * np.log(p) + (1 - shares) * np.log(1 - p)
    np.testing.assert_allclose(bernoulli_log_density(shares, logits), expected, rtol=1e-10)
    assert np.isfinite(bernoulli_log_density(np.array([0.0, 1.0]), np.array([1e4, -1e4]))).all()


def test_divergence_is_the_integral():
    z = np.linspace(-30, 30, 200_001)
    mean, log_variance, prior_mean, prior_log_variance = 0.6, -0.8, -0.3, 0.5
    log_q = norm(mean, np.exp(log_variance / 2)).logpdf(z)
    for prior in ((), (prior_mean, prior_log_variance)):
        log_p = norm(*(prior[0], np.exp(prior[1] / 2)) if prior else (0, 1)).logpdf(z)
        integral = np.trapezoid(np.exp(log_q) * (log_q - log_p), z)
        found = gaussian_divergence(np.array([mean]), np.array([log_variance]), *prior)
        np.testing.assert_allclose(found, [integral], rtol=1e-6)
    assert gaussian_divergence(np.float64(1.5), np.float64(-1.0), 1.5, -1.0) == 0


def test_elbo_is_the_evidence_less_the_divergence_from_the_posterior():
    weights, bias, deviation, x = linear_gaussian()
    exact_mean, covariance, evidence = posterior(weights, bias, deviation, x)
    mean, log_variance = exact_mean + 0.3, np.array([-0.5, -1.5])
    variance = np.exp(log_variance)
    # E log p(x | z) of a Gaussian z has a closed form: the density at the mean, and the traces of the variance.
    at_mean = float(np.sum(gaussian_log_density(x, weights @ mean + bias, 2 * np.log(deviation))))
    expected_likelihood = at_mean - 0.5 * np.sum(np.square(weights) * variance) / deviation**2
    elbo = expected_likelihood - float(np.sum(gaussian_divergence(mean, log_variance)))
    inverse = np.linalg.inv(covariance)
    apart = mean - exact_mean
    gap = 0.5 * (
        np.trace(inverse @ np.diag(variance))
        - 2
        + apart @ inverse @ apart
        + np.linalg.slogdet(covariance)[1]
        - log_variance.sum()
    )
    assert elbo == pytest.approx(evidence - gap, rel=1e-10)
    # The mean of log weights of one sample each is the same number.
    draws = mean + np.sqrt(variance) * np.random.default_rng(2).normal(size=(200_000, 2))
    log_weights = log_weights_of(draws, weights, bias, deviation, x, mean, log_variance)
    assert np.mean(importance_bound(log_weights[None])) == pytest.approx(elbo, abs=0.02)


def log_weights_of(draws, weights, bias, deviation, x, mean, log_variance):
    likelihood = np.asarray(gaussian_log_density(x, draws @ weights.T + bias, np.float64(2 * np.log(deviation)))).sum(
        -1
    )
    prior = np.asarray(gaussian_log_density(draws, 0.0, 0.0)).sum(-1)
    return likelihood + prior - np.asarray(gaussian_log_density(draws, mean, log_variance)).sum(-1)


def test_importance_bound_rises_to_the_evidence():
    weights, bias, deviation, x = linear_gaussian(3)
    exact_mean, covariance, evidence = posterior(weights, bias, deviation, x)
    log_variance = np.log(np.diag(covariance))
    draws = exact_mean + np.exp(log_variance / 2) * np.random.default_rng(4).normal(size=(64_000, 2))
    log_weights = log_weights_of(draws, weights, bias, deviation, x, exact_mean, log_variance)
    bounds = [float(np.mean(importance_bound(log_weights.reshape(k, -1)))) for k in (1, 4, 64)]
    assert bounds[0] < bounds[1] < bounds[2] < evidence + 0.01
    assert bounds[2] == pytest.approx(evidence, abs=0.02)
    # With the posterior itself every weight is p(x), so that one sample is enough.
    turned = np.linalg.cholesky(covariance) @ np.random.default_rng(5).normal(size=(2, 7)) + exact_mean[:, None]
    log_q = multivariate_normal(exact_mean, covariance).logpdf(turned.T)
    diagonal = log_weights_of(turned.T, weights, bias, deviation, x, np.zeros(2), np.zeros(2))
    exact = diagonal + np.asarray(gaussian_log_density(turned.T, 0.0, 0.0)).sum(-1) - log_q
    np.testing.assert_allclose(exact, evidence, rtol=1e-9)


def test_bounds_hold_for_far_weights():
    assert importance_bound(np.array([-1e4, -1e4])).numpy() == pytest.approx(-1e4)
    assert importance_bound(np.array([-np.inf, 0.0])).numpy() == pytest.approx(-np.log(2))


def test_free_bits_give_no_gradient_below_the_floor():
    divergences = tf.Variable([[0.1, 2.0], [0.3, 4.0]], dtype=tf.float64)
    with tf.GradientTape() as tape:
        value = free_bits(divergences, 0.5)
    assert value.numpy() == pytest.approx(3.5)
    np.testing.assert_allclose(tape.gradient(value, divergences), [[0, 0.5], [0, 0.5]])
    assert free_bits(divergences, 0.0).numpy() == pytest.approx(3.2)
    with pytest.raises(ArgumentError, match="floor"):
        free_bits(divergences, -1)


def test_active_units_vary_over_the_data():
    rng = np.random.default_rng(0)
    means = np.stack([rng.normal(size=500), 0.05 * rng.normal(size=500), np.full(500, 7.0)], axis=1)
    assert active_units(means).tolist() == [True, False, False]
    assert active_units(means, 0.001).tolist() == [True, True, False]
    for wrong in (means[:1], means[0], np.full((4, 2), np.nan)):
        with pytest.raises(ArgumentError, match="means must be"):
            active_units(wrong)
