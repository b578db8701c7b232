"""Bandit learners: epsilon-greedy, upper confidence bounds, Thompson sampling and gradient bandits, many runs at once.

Source: Sutton and Barto 2018, http://incompleteideas.net/book/the-book-2nd.html, chapter 2; Auer, Cesa-Bianchi and
Fischer 2002, https://doi.org/10.1023/A:1013689704352 (UCB1); Thompson 1933, https://doi.org/10.2307/2332286.

A learner is a frozen dataclass of settings. Its state is a dict of arrays (R, A) of R runs and A arms; the functions
take a NumPy generator, so that one seed reproduces all runs.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kerasdl.core import checks

State = dict[str, np.ndarray]


class BanditLearner(Protocol):
    """Interface of a bandit learner."""

    def start(self, runs: int, arms: int) -> State:
        """Returns the state before the first pull."""

    def choose(self, state: State, rng: np.random.Generator) -> np.ndarray:
        """Returns an arm for each run, (R,)."""

    def learn(self, state: State, chosen: np.ndarray, rewards: np.ndarray) -> None:
        """Changes the state by the rewards of the chosen arms, both (R,)."""


class _Averages:
    """Base of learners that keep the number of pulls and the mean reward of each arm."""

    def start(self, runs: int, arms: int) -> State:
        return {"pulls": np.zeros((runs, arms)), "means": np.zeros((runs, arms))}

    def learn(self, state: State, chosen: np.ndarray, rewards: np.ndarray) -> None:
        place = (np.arange(len(chosen)), chosen)
        state["pulls"][place] += 1
        state["means"][place] += (rewards - state["means"][place]) / state["pulls"][place]


@dataclass(frozen=True)
class EpsilonGreedy(_Averages):
    """Epsilon-greedy: a random arm with probability epsilon, else the arm of the highest mean.

    Source: Sutton and Barto 2018, sections 2.2 to 2.6.

    Raises:
        ArgumentError: a setting breaks its range.

    Example:
        >>> compare_bandits({"greedy": EpsilonGreedy(0.1)}, [0.2, 0.8], steps=100, runs=10).regret.shape
        (1, 10, 100)
    """

    epsilon: float = 0.1
    """Probability of a random arm, 0 to 1."""
    step_size: float | None = None
    """Weight of the newest reward, for arms that drift; None takes the mean of all rewards."""
    initial: float = 0.0
    """Mean of an arm before its first pull; a high one makes a greedy learner try every arm."""

    def __post_init__(self):
        checks.within("epsilon", self.epsilon, 0.0, 1.0)
        checks.within("initial", self.initial, -1e9, 1e9)
        if self.step_size is not None:
            checks.within("step_size", self.step_size, 1e-9, 1.0, "None takes the mean of all rewards.")

    def start(self, runs: int, arms: int) -> State:
        return {"pulls": np.zeros((runs, arms)), "means": np.full((runs, arms), float(self.initial))}

    def choose(self, state: State, rng: np.random.Generator) -> np.ndarray:
        runs, arms = state["means"].shape
        explores = rng.random(runs) < self.epsilon
        return np.where(explores, rng.integers(0, arms, runs), best_arms(state["means"], rng))

    def learn(self, state: State, chosen: np.ndarray, rewards: np.ndarray) -> None:
        if self.step_size is None:
            return super().learn(state, chosen, rewards)
        place = (np.arange(len(chosen)), chosen)
        state["pulls"][place] += 1
        state["means"][place] += self.step_size * (rewards - state["means"][place])


@dataclass(frozen=True)
class UpperConfidence(_Averages):
    """UCB1: the arm of the highest mean + sqrt(width * ln t / pulls), every arm once before.

    Source: Auer, Cesa-Bianchi and Fischer 2002, figure 1. Its bound on the regret holds for rewards from 0 to 1.

    Raises:
        ArgumentError: the width is negative.

    Example:
        >>> compare_bandits({"ucb": UpperConfidence()}, [0.2, 0.8], steps=100, runs=10).names
        ('ucb',)
    """

    width: float = 2.0
    """Factor of ln t inside the root; 2 in the paper."""

    def __post_init__(self):
        checks.within("width", self.width, 0.0, 1e9)

    def choose(self, state: State, rng: np.random.Generator) -> np.ndarray:
        pulls = state["pulls"]
        total = np.maximum(pulls.sum(-1, keepdims=True), 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            bonus = np.sqrt(self.width * np.log(total) / pulls)
        return best_arms(np.where(pulls == 0, np.inf, state["means"] + bonus), rng)


@dataclass(frozen=True)
class ThompsonSampling(_Averages):
    """Thompson sampling: a draw from the posterior of each mean, and the arm of the highest.

    Rewards of 0 and 1 have the posterior Beta(1 + ones, 1 + zeros). Other rewards are taken as normal with a known
    deviation d, whose posterior under the prior N(0, s^2) is N(sum / (n + d^2/s^2), d^2 / (n + d^2/s^2)).
    Source: Thompson 1933; Russo et al. 2018, https://arxiv.org/abs/1707.02038, sections 3 and 4.

    Raises:
        ArgumentError: a setting breaks its range.

    Example:
        >>> compare_bandits({"thompson": ThompsonSampling()}, [0.2, 0.8], rewards="bernoulli", runs=10).steps
        1000
    """

    deviation: float | None = None
    """Deviation of the rewards of an arm; None for rewards of 0 and 1."""
    prior_deviation: float = 10.0
    """Deviation s of the normal prior of the means around 0; without effect on rewards of 0 and 1."""

    def __post_init__(self):
        checks.within("prior_deviation", self.prior_deviation, 1e-6, 1e9)
        if self.deviation is not None:
            checks.within("deviation", self.deviation, 1e-6, 1e9, "None is for rewards of 0 and 1.")

    def choose(self, state: State, rng: np.random.Generator) -> np.ndarray:
        pulls, sums = state["pulls"], state["pulls"] * state["means"]
        if self.deviation is None:
            return rng.beta(1.0 + sums, 1.0 + pulls - sums).argmax(-1)
        counts = pulls + (self.deviation / self.prior_deviation) ** 2
        return rng.normal(sums / counts, self.deviation / np.sqrt(counts)).argmax(-1)

    def learn(self, state: State, chosen: np.ndarray, rewards: np.ndarray) -> None:
        if self.deviation is None and not np.isin(rewards, (0.0, 1.0)).all():
            other = rewards[~np.isin(rewards, (0.0, 1.0))][0]
            checks.refuse("ThompsonSampling without a deviation takes rewards of 0 and 1", float(other))
        super().learn(state, chosen, rewards)


@dataclass(frozen=True)
class GradientBandit:
    """Gradient bandit: preferences of a softmax, moved along the gradient of the expected reward.

    Source: Sutton and Barto 2018, section 2.8, equation 2.12.

    Raises:
        ArgumentError: the step size is not positive.

    Example:
        >>> compare_bandits({"gradient": GradientBandit(0.2)}, [0.2, 0.8], steps=100, runs=10).runs
        10
    """

    step_size: float = 0.1
    """Learning rate of the preferences."""
    baseline: bool = True
    """True if the mean of the rewards so far is subtracted from each."""

    def __post_init__(self):
        checks.within("step_size", self.step_size, 1e-9, 1e3)

    def start(self, runs: int, arms: int) -> State:
        return {"preferences": np.zeros((runs, arms)), "baseline": np.zeros(runs), "pulls": np.zeros((runs, arms))}

    def choose(self, state: State, rng: np.random.Generator) -> np.ndarray:
        return (state["preferences"] + rng.gumbel(size=state["preferences"].shape)).argmax(-1)

    def learn(self, state: State, chosen: np.ndarray, rewards: np.ndarray) -> None:
        runs = np.arange(len(chosen))
        state["pulls"][runs, chosen] += 1
        if self.baseline:
            state["baseline"] += (rewards - state["baseline"]) / state["pulls"].sum(-1)
        powers = np.exp(state["preferences"] - state["preferences"].max(-1, keepdims=True))
        change = -powers / powers.sum(-1, keepdims=True)
        change[runs, chosen] += 1.0
        state["preferences"] += self.step_size * (rewards - state["baseline"])[:, None] * change


def best_arms(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the arm of the highest score of each run, drawn evenly among equals.

    Args:
        scores: (R, A).
        rng: generator of the draws.
    """
    ties = scores == scores.max(-1, keepdims=True)
    return np.where(ties, rng.random(scores.shape), -1.0).argmax(-1)
