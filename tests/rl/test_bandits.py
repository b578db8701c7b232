"""Bandits: laws of their choices in closed form, bounds on their regret, the ten-armed testbed."""

import numpy as np
import pytest
from scipy import stats

from kerasdl.core.errors import ArgumentError
from kerasdl.rl.agents.tabular.bandits import EpsilonGreedy, GradientBandit, ThompsonSampling, UpperConfidence
from kerasdl.rl.agents.tabular.regrets import compare_bandits


def share_of_first(learner, state, draws=20_000):
    many = {name: np.repeat(value, draws, axis=0) for name, value in state.items()}
    return np.mean(learner.choose(many, np.random.default_rng(0)) == 0)


def test_epsilon_greedy_loses_its_share_of_random_arms_for_ever():
    curves = compare_bandits({"a": EpsilonGreedy(0.2)}, [0.0, 1.0], deviation=0.0, steps=600, runs=300)
    slope = (curves.mean[0, -1] - curves.mean[0, 99]) / 500
    assert slope == pytest.approx(0.2 * 0.5, rel=0.02)
    assert curves.best_share[0, 200:].mean() == pytest.approx(1 - 0.2 / 2, abs=0.005)


def test_upper_confidence_stays_below_its_theorem_and_grows_by_the_logarithm():
    means, steps = np.array([0.3, 0.5, 0.8]), 3000
    curves = compare_bandits({"ucb": UpperConfidence()}, means, rewards="bernoulli", steps=steps, runs=60)
    gaps = 0.8 - means[:2]
    bound = 8 * np.log(np.arange(1, steps + 1)) * np.sum(1 / gaps) + (1 + np.pi**2 / 3) * gaps.sum()
    assert (curves.mean[0] <= bound).all()
    halves = np.diff(curves.mean[0, [steps // 4 - 1, steps // 2 - 1, steps - 1]])
    assert halves[1] < 1.6 * halves[0]  # twice for a line, once for a logarithm


def test_upper_confidence_tries_every_arm_once_first():
    curves = compare_bandits({"ucb": UpperConfidence()}, [0.0, 1.0, 2.0, 4.0], deviation=0.0, steps=4, runs=20)
    assert (curves.regret[0, :, -1] == 4 + 3 + 2).all()


def test_thompson_draws_an_arm_by_the_probability_that_it_is_best():
    state = {"pulls": np.array([[2.0, 0.0]]), "means": np.array([[1.0, 0.0]])}  # Beta(3, 1) against Beta(1, 1)
    assert share_of_first(ThompsonSampling(), state) == pytest.approx(0.75, abs=0.015)
    state = {"pulls": np.array([[4.0, 9.0]]), "means": np.array([[0.5, 0.2]])}
    learner = ThompsonSampling(deviation=2.0, prior_deviation=1.0)  # N(2 / 8, 4 / 8) against N(1.8 / 13, 4 / 13)
    expected = stats.norm.cdf((2 / 8 - 1.8 / 13) / np.sqrt(4 / 8 + 4 / 13))
    assert share_of_first(learner, state) == pytest.approx(expected, abs=0.015)


def test_gradient_bandit_moves_along_the_gradient_of_the_expected_reward():
    learner, rewards = GradientBandit(0.1, baseline=False), np.array([0.3, -0.2, 1.0])
    preferences = np.array([0.2, -0.4, 0.1])

    def law(preferences):
        return np.exp(preferences) / np.exp(preferences).sum()

    state = learner.start(3, 3)
    state["preferences"][:] = preferences
    learner.learn(state, np.arange(3), rewards)  # each arm in a run of its own
    moved = law(preferences) @ (state["preferences"] - preferences)
    nudges = 1e-6 * np.eye(3)
    slopes = [(law(preferences + e) @ rewards - law(preferences - e) @ rewards) / 2e-6 for e in nudges]
    np.testing.assert_allclose(moved, 0.1 * np.array(slopes), atol=1e-9)
    assert share_of_first(learner, {"preferences": preferences[None]}) == pytest.approx(law(preferences)[0], abs=0.015)


def test_ten_armed_testbed_as_in_the_book():
    """Sutton and Barto 2018, figure 2.2: the best arm in a third of the pulls for greedy, 4 of 5 for 0.1."""
    means = np.random.default_rng(1).normal(size=(400, 10))
    learners = {
        "0": EpsilonGreedy(0.0),
        "0.1": EpsilonGreedy(0.1),
        "optimistic": EpsilonGreedy(0.0, step_size=0.1, initial=5.0),
        "gradient": GradientBandit(0.1),
    }
    curves = compare_bandits(learners, means, steps=1000, runs=400)
    last = dict(zip(curves.names, curves.best_share[:, -100:].mean(-1), strict=True))
    assert 0.25 < last["0"] < 0.45
    assert 0.70 < last["0.1"] < 0.85
    assert last["optimistic"] > last["0.1"] - 0.02
    assert last["gradient"] > 0.65


def test_seeds_reproduce_and_the_picture_shows_every_learner(tmp_path):
    learners = {"a": EpsilonGreedy(), "b": UpperConfidence()}
    first, again, other = (compare_bandits(learners, [0.1, 0.9], steps=50, runs=5, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.regret, again.regret)
    assert not np.array_equal(first.regret, other.regret)
    figure = first.plot(tmp_path / "regret.png")
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["a", "b"]
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_ydata(), first.mean[1])
    assert (tmp_path / "regret.png").stat().st_size > 5000
    assert "best arm" in repr(first)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"means": [0.1, 2.0], "rewards": "bernoulli"}, "0 to 1"),
        ({"means": [np.nan]}, "finite"),
        ({"means": np.zeros((3, 2)), "runs": 2}, "2 rows"),
        ({"learners": {}}, "one bandit learner"),
        ({"learners": {"t": ThompsonSampling()}}, "rewards of 0 and 1"),
        ({"rewards": "poisson"}, "one of"),
    ],
)
def test_faults_are_named(change, match):
    arguments = {"learners": {"e": EpsilonGreedy()}, "means": [0.1, 0.2], "steps": 3} | change
    with pytest.raises(ArgumentError, match=match):
        compare_bandits(**arguments)
    for wrong in (lambda: EpsilonGreedy(2.0), lambda: GradientBandit(0.0), lambda: ThompsonSampling(deviation=-1.0)):
        with pytest.raises(ArgumentError):
            wrong()
