"""Samplers on normal data, whose equation has a solution: measured order of convergence, moments, shared steps."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdl import generative
from kerasdl.core.errors import ArgumentError, UnknownNameError
from kerasdl.generative.samplers import (
    DDIM,
    Ancestral,
    DPMSolver,
    Euler,
    Heun,
    SamplingPlan,
    UniPC,
    as_sampler,
)
from kerasdl.generative.samplers.heun import run_heun
from kerasdl.generative.samplers.linear_steps import run_linear_steps

MEAN, DEVIATION = 0.7, 0.3
RATES = {
    "preserving": lambda ratio: (1 / np.sqrt(1 + ratio**2), ratio / np.sqrt(1 + ratio**2)),
    "exploding": lambda ratio: (np.ones_like(ratio), ratio),
    "flow": lambda ratio: (1 / (1 + ratio), ratio / (1 + ratio)),
}


def plan_of(steps, rates="preserving", low=0.05, high=20.0):
    """Levels in equal factors from much noise to little, and clean data behind them."""
    alphas, sigmas = RATES[rates](np.geomspace(high, low, steps))
    return SamplingPlan(np.arange(steps, 0, -1.0), np.append(alphas, 1.0), np.append(sigmas, 0.0))


def best_data(x, time, alpha, sigma):
    """The mean of normal data, where noisy data are known."""
    gain = alpha * DEVIATION**2 / (alpha**2 * DEVIATION**2 + sigma**2)
    return MEAN + gain * (x - alpha * MEAN), None


def sampled(sampler, plan, x, seed=0):
    """Returns all states of a sampling in float64, compiled."""
    own = (plan.times, plan.alphas[:-1], plan.sigmas[:-1])

    @tf.function
    def run(x):
        if isinstance(sampler, Heun):
            return run_heun(sampler, plan, own, best_data, x, tf.constant(seed), True)[1]
        return run_linear_steps(sampler.linear_steps(plan), plan, best_data, x, tf.constant(seed), True)[1]

    return run(tf.constant(x, tf.float64)).numpy()


def exact(x, plan, level):
    """What the probability-flow equation makes of the first state, at a level: quantiles stay."""
    deviations = np.sqrt(np.square(plan.alphas * DEVIATION) + np.square(plan.sigmas))
    return plan.alphas[level] * MEAN + deviations[level] / deviations[0] * (x - plan.alphas[0] * MEAN)


CASES = [
    (DDIM(), 1),
    (DPMSolver(order=2), 2),
    (DPMSolver(order=3), 3),
    (UniPC(order=1), 2),
    (UniPC(order=2), 3),
    (UniPC(order=3), 4),
    (Heun(), 2),
]


def each_pair():
    """Every sampler with all rates, in the default lane with one of them."""
    for place, (sampler, order) in enumerate(CASES):
        for number, rates in enumerate(RATES):
            marks = [] if number == place % 3 else [pytest.mark.bars]
            yield pytest.param(sampler, order, rates, id=f"{sampler!r}-{rates}", marks=marks)


@pytest.mark.parametrize(("sampler", "order", "rates"), [*each_pair()])
def test_order_of_convergence(sampler, order, rates):
    """Twice the steps divide the error before the last step by 2^order; UniPC's corrector is worth an order."""
    x, errors = np.array([[1.3], [-0.4]]), []
    for steps in (33, 65):
        plan = plan_of(steps, rates)
        states = sampled(sampler, plan, x)
        assert states.shape == (steps + 1, 2, 1)
        np.testing.assert_array_equal(states[0], x)
        errors.append(np.abs(states[-2] - exact(x, plan, -2)).max())
    assert errors[1] > 1e-11  # rounding would hide the order
    assert order - 0.25 < np.log2(errors[0] / errors[1]) < order + 0.6


def test_the_first_order_is_ddim_and_euler():
    plan, x = plan_of(12, "flow"), np.array([[0.3], [2.0]])
    expected = sampled(DDIM(), plan, x)
    np.testing.assert_allclose(sampled(DPMSolver(order=1), plan, x), expected, atol=1e-12)
    np.testing.assert_allclose(sampled(Euler(), plan, x), expected, atol=0)
    state = x
    for level in range(12):  # Euler by hand: the velocity is noise - data
        alpha, sigma = plan.alphas[level], plan.sigmas[level]
        data = best_data(state, None, alpha, sigma)[0]
        state = state + (plan.sigmas[level + 1] - sigma) * ((state - alpha * data) / sigma - data)
    np.testing.assert_allclose(expected[-1], state, atol=1e-12)


def moments(sampler, plan):
    """Mean and deviation at the end of a plan, of normal noise: each step is linear in state and noise."""
    steps, mean, variance = sampler.linear_steps(plan), 0.0, 1.0
    for level in range(plan.steps):
        alpha, sigma = plan.alphas[level], plan.sigmas[level]
        at_zero = best_data(0.0, None, alpha, sigma)[0]
        slope = steps.of_x[level] + steps.of_data[level, 0] * (best_data(1.0, None, alpha, sigma)[0] - at_zero)
        mean = slope * mean + steps.of_data[level, 0] * at_zero
        variance = slope**2 * variance + steps.of_noise[level] ** 2
    return mean, np.sqrt(variance)


@pytest.mark.parametrize("sampler", [Ancestral(), Ancestral(variance="large"), DDIM(eta=1.0), DDIM(eta=0.5)], ids=repr)
def test_noise_of_steps_keeps_the_moments(sampler):
    plan = plan_of(20, low=0.02)
    x = np.random.default_rng(0).normal(size=(20_000, 1))
    states = sampled(sampler, plan, x, seed=3)
    mean, deviation = moments(sampler, plan)
    assert states[-1].mean() == pytest.approx(mean, abs=4 * deviation / np.sqrt(20_000))
    assert states[-1].std() == pytest.approx(deviation, rel=4 / np.sqrt(40_000))
    fine = moments(sampler, plan_of(500, low=0.002))
    np.testing.assert_allclose(fine, (MEAN, DEVIATION), rtol=0.015)  # with many steps those of the data
    again, other = sampled(sampler, plan, x[:5], seed=3), sampled(sampler, plan, x[:5], seed=4)
    np.testing.assert_array_equal(again, sampled(sampler, plan, x[:5], seed=3))
    assert np.abs(again[-1] - other[-1]).max() > 1e-3


def test_full_noise_of_ddim_is_ancestral_sampling():
    plan, x = plan_of(10), np.array([[0.5], [-1.0]])
    np.testing.assert_allclose(sampled(DDIM(eta=1.0), plan, x, 7), sampled(Ancestral(), plan, x, 7), atol=1e-10)


@pytest.mark.parametrize("sampler", [DDIM(), Ancestral(), DPMSolver(order=3), UniPC(order=3), Heun()], ids=repr)
@pytest.mark.parametrize("steps", [1, 3])
def test_pure_noise_and_few_steps_stay_finite(sampler, steps):
    """The first level of a flow has no signal, and the last step ends at clean data."""
    times = np.linspace(1, 0, steps + 1)
    plan = SamplingPlan(1000 * times[:-1], 1 - times, times)
    states = sampled(sampler, plan, np.array([[0.0], [1.5]]))
    assert np.isfinite(states).all()
    np.testing.assert_allclose(states[1 if steps == 1 else -1], states[-1])
    if steps == 1:
        np.testing.assert_allclose(states[-1], MEAN)


def test_every_name_is_a_sampler_with_steps_of_a_plan():
    plan = plan_of(4)
    for name, sampler in generative.samplers.SAMPLERS.items():
        assert as_sampler(name) is sampler
        if name != "heun":
            steps = sampler.linear_steps(plan)
            assert steps.of_x.shape == steps.of_noise.shape == (4,)
            at_end = steps.of_data[-1].sum() + steps.of_x[-1]  # the last step gives the data, whatever the state
            assert at_end == pytest.approx(1.0)


def test_what_is_no_plan_and_no_sampler_is_refused():
    good = dict(times=[1.0, 0.5], alphas=[0.1, 0.5, 1.0], sigmas=[0.9, 0.5, 0.0])
    for changed in (
        dict(times=[1.0]),
        dict(sigmas=[0.1, 0.9, 0.0]),
        dict(sigmas=[0.9, 0.5, 0.1]),
        dict(alphas=[0.1, np.nan, 1.0]),
        dict(times=[], alphas=[1.0], sigmas=[0.0]),
    ):
        with pytest.raises(ArgumentError):
            SamplingPlan(**{key: np.array(value) for key, value in {**good, **changed}.items()})
    plan = plan_of(4)
    assert plan.after(3).steps == 1
    for make in (
        lambda: plan.after(4),
        lambda: DDIM(eta=1.1),
        lambda: DDIM(eta=np.nan),
        lambda: Euler(eta=0.5),
        lambda: Ancestral(variance="middle"),
        lambda: DPMSolver(order=4),
        lambda: UniPC(order=0),
        lambda: Heun(churn=-1.0),
        lambda: as_sampler(DDIM),
    ):
        with pytest.raises(ArgumentError):
            make()
    with pytest.raises(UnknownNameError, match="ddim"):
        as_sampler("ddmi")
