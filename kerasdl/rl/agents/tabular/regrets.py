"""Regret curves of bandit learners: simulation over many runs, comparison and picture.

Source: Lai and Robbins 1985, https://doi.org/10.1016/0196-8858(85)90002-8 (regret and its lower bound).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from matplotlib.figure import Figure

from kerasdl.core import checks
from kerasdl.core.display.results import Displayed, text_table
from kerasdl.core.plotting import dress, keep, new_figure

from .bandits import BanditLearner

REWARDS = ("normal", "bernoulli")


@dataclass(frozen=True, repr=False, eq=False)
class RegretCurves(Displayed):
    """Regret of bandit learners over the pulls, and the share of pulls of the best arm."""

    names: tuple[str, ...]
    """Names of the L learners."""
    regret: np.ndarray
    """Sum of (best mean - mean of the pulled arm) up to each pull, float64 (L, R, T)."""
    best_share: np.ndarray
    """Share of the runs that pulled a best arm at each pull, (L, T)."""

    @property
    def runs(self) -> int:
        """R, the number of runs."""
        return self.regret.shape[1]

    @property
    def steps(self) -> int:
        """T, the number of pulls."""
        return self.regret.shape[2]

    @cached_property
    def mean(self) -> np.ndarray:
        """Mean regret over the runs, (L, T)."""
        return self.regret.mean(1)

    @cached_property
    def error(self) -> np.ndarray:
        """Standard error of the mean, (L, T); 0 for a single run."""
        return self.regret.std(1, ddof=min(1, self.runs - 1)) / np.sqrt(self.runs)

    def table(self) -> str:
        """Returns the last regrets as a text table."""
        rows = [
            (name, f"{mean[-1]:.2f}", f"{error[-1]:.2f}", f"{share[-1]:.0%}")
            for name, mean, error, share in zip(self.names, self.mean, self.error, self.best_share, strict=True)
        ]
        return text_table(("learner", "regret", "error", "best arm"), rows)

    def plot(self, path: str | os.PathLike | None = None) -> Figure:
        """Draws the mean regrets with a band of two standard errors.

        Args:
            path: file of the picture; None writes none.

        Returns:
            A matplotlib figure.
        """
        figure = new_figure(7.0, 4.2)
        axes = figure.subplots()
        pulls = np.arange(1, self.steps + 1)
        for name, mean, error in zip(self.names, self.mean, self.error, strict=True):
            (line,) = axes.plot(pulls, mean, label=name, linewidth=1.6)
            axes.fill_between(
                pulls, mean - 2 * error, mean + 2 * error, color=line.get_color(), alpha=0.15, linewidth=0
            )
        dress(axes, f"Regret, mean of {self.runs} runs", "pulls", "regret")
        axes.legend(frameon=False, fontsize=9)
        return keep(figure, path)

    def _shown(self) -> tuple[str, str]:
        return f"RegretCurves: {self.steps} pulls, {self.runs} runs", self.table()

    def _picture(self) -> Figure:
        return self.plot()


def compare_bandits(
    learners: Mapping[str, BanditLearner],
    means: Sequence[float],
    *,
    rewards: str = "normal",
    deviation: float = 1.0,
    steps: int = 1000,
    runs: int = 200,
    seed: int = 0,
) -> RegretCurves:
    """Returns the regret curves of bandit learners on the same arms.

    Args:
        learners: bandit learners by name.
        means: mean reward of each arm, (A,), or of each arm in each run, (R, A).
        rewards: `"normal"` with the deviation, or `"bernoulli"`, whose means are probabilities.
        deviation: deviation of normal rewards.
        steps: T, pulls of a run.
        runs: R, independent runs.
        seed: seed of the arms and of the learners.

    Returns:
        The curves.

    Raises:
        ArgumentError: an argument is out of its range.

    Example:
        >>> learners = {"greedy": EpsilonGreedy(0.0), "ucb": UpperConfidence()}
        >>> curves = compare_bandits(learners, [0.3, 0.7], rewards="bernoulli", steps=500, runs=50)
        >>> bool(curves.mean[0, -1] > curves.mean[1, -1])  # greedy may stay at the wrong arm for ever
        True
    """
    checks.at_least("steps", steps, 1)
    checks.at_least("runs", runs, 1)
    checks.at_least("seed", seed, 0)
    checks.one_of("rewards", rewards, REWARDS)
    checks.within("deviation", deviation, 0.0, 1e9)
    if not learners:
        checks.refuse("learners must name one bandit learner or more", dict(learners))
    arms = np.asarray(means, np.float64)
    if arms.ndim not in (1, 2) or arms.shape[-1] < 1 or not np.isfinite(arms).all():
        checks.refuse("means must be finite numbers (arms,) or (runs, arms)", arms.shape)
    if arms.ndim == 2 and len(arms) != runs:
        checks.refuse(f"means of each run must have {runs} rows, the number of runs", len(arms))
    if rewards == "bernoulli" and (arms.min() < 0 or arms.max() > 1):
        checks.refuse("means of bernoulli rewards must be 0 to 1", (arms.min(), arms.max()))
    arms = np.broadcast_to(arms, (runs, arms.shape[-1]))
    noise = None if rewards == "bernoulli" else deviation
    curves = [_regret(each, arms, noise, steps, np.random.default_rng(seed)) for each in learners.values()]
    regret, best = (np.stack(each) for each in zip(*curves, strict=True))
    return RegretCurves(tuple(learners), regret.cumsum(-1), best.mean(1))


def _regret(
    learner: BanditLearner, arms: np.ndarray, deviation: float | None, steps: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the gap of each pull to the best mean, and whether it was a best arm, (R, T) each.

    A deviation of None stands for bernoulli rewards.
    """
    runs = np.arange(len(arms))
    state, best = learner.start(*arms.shape), arms.max(-1)
    gaps = np.zeros((len(arms), steps))
    for step in range(steps):
        chosen = learner.choose(state, rng)
        mean = arms[runs, chosen]
        gaps[:, step] = best - mean
        bernoulli = deviation is None
        earned = (rng.random(len(arms)) < mean).astype(np.float64) if bernoulli else rng.normal(mean, deviation)
        learner.learn(state, chosen, earned)
    return gaps, gaps == 0
