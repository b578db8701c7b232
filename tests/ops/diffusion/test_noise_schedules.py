"""Noise schedules: constants of other libraries, formulas of the papers, forward marginals against simulation."""

import numpy as np
import pytest

from kerasdl.core.errors import ArgumentError
from kerasdl.ops import beta_schedule, karras_sigmas, signal_rates, zero_terminal_snr


@pytest.mark.parametrize(
    ("shape", "step", "rate"),
    [
        ("linear", 1000, 4.0358e-5),
        ("linear", 500, 0.078587),
        ("cosine", 500, 0.49384),
        ("scaled_linear", 1000, 0.0046601),
    ],
)
def test_signal_rates_are_those_of_diffusers(shape, step, rate):
    assert signal_rates(beta_schedule(shape))[step - 1] == pytest.approx(rate, rel=2e-5)


def test_cosine_and_sigmoid_follow_their_curves():
    time = np.arange(1, 100) / 100  # the last step is cut at the highest beta
    curve = np.cos((time + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(signal_rates(beta_schedule("cosine", 100))[:-1], curve, rtol=1e-10)
    assert beta_schedule("cosine", 100)[-1] == 0.999
    rates = signal_rates(beta_schedule("sigmoid", 100))
    np.testing.assert_allclose(rates[49], 0.5, rtol=1e-10)  # the logistic curve is odd around the middle
    np.testing.assert_allclose(rates[:-1] + rates[-2::-1], 1.0, rtol=1e-10)


def test_marginals_of_steps_are_those_of_the_rates():
    """Moments of x_t by the step x_t = sqrt(1 - beta) x + sqrt(beta) z, simulated and by recursion."""
    betas = beta_schedule("linear", 200)
    rng, x, mean, variance = np.random.default_rng(0), np.full(20_000, 1.5), 1.5, 0.0
    for beta in betas:
        x = np.sqrt(1 - beta) * x + np.sqrt(beta) * rng.normal(size=x.shape)
        mean, variance = np.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
    rate = signal_rates(betas)[-1]
    np.testing.assert_allclose([mean, variance], [1.5 * np.sqrt(rate), 1 - rate], rtol=1e-12)
    assert x.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / 20_000))
    assert x.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / 20_000))


def test_zero_terminal_rates_keep_the_first_and_are_even_in_their_roots():
    rates = signal_rates(beta_schedule("scaled_linear"))
    zeroed = zero_terminal_snr(rates)
    assert zeroed[-1] == 0
    np.testing.assert_allclose(zeroed[0], rates[0], rtol=1e-12)
    slopes = np.diff(np.sqrt(zeroed)) / np.diff(np.sqrt(rates))
    np.testing.assert_allclose(slopes, slopes[0], rtol=1e-9)
    np.testing.assert_allclose(zero_terminal_snr(zeroed), zeroed, atol=1e-15)


def test_karras_sigmas_by_hand():
    np.testing.assert_allclose(karras_sigmas(3, low=1, high=128, rho=7), [128, 1.5**7, 1], rtol=1e-12)
    np.testing.assert_allclose(karras_sigmas(5, low=1, high=9, rho=1), [9, 7, 5, 3, 1], rtol=1e-12)
    assert (np.diff(karras_sigmas(50)) < 0).all()


def test_what_is_no_schedule_is_refused():
    for make in (
        lambda: beta_schedule("quadratic"),
        lambda: beta_schedule("cosine", first=1e-4),
        lambda: beta_schedule("linear", 0),
        lambda: beta_schedule("linear", first=0.5, last=0.1),
        lambda: beta_schedule("linear", first=np.nan),
        lambda: signal_rates([]),
        lambda: signal_rates([0.1, np.nan]),
        lambda: signal_rates([0.1, 1.2]),
        lambda: zero_terminal_snr([0.5]),
        lambda: zero_terminal_snr([0.5, 0.6]),
        lambda: karras_sigmas(1),
        lambda: karras_sigmas(5, low=2.0, high=1.0),
        lambda: karras_sigmas(5, rho=np.inf),
    ):
        with pytest.raises(ArgumentError):
            make()
    np.testing.assert_allclose(beta_schedule("linear", 1), [1e-4])
