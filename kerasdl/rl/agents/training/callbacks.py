"""Callbacks of a training: evaluation apart from it, and its end at a return."""

from collections.abc import Mapping
from typing import Any

from kerasdl.core import checks
from kerasdl.train import RunCallback


class AgentCallback(RunCallback):
    """Base class of callbacks that use the agent in training; `train` sets `agent` before the first hook.

    Every `RunCallback` fits `train` too, such as the trackers of `kerasdl.train.tracking`. Epochs of a run are the
    lines of its record.

    Example:
        >>> class Count(AgentCallback):
        ...     def end_epoch(self, epoch, figures):
        ...         print(f"{self.agent.steps} steps")
    """

    agent: Any = None
    """The agent in training."""


class EvaluateOften(AgentCallback):
    """Evaluation of the deterministic policy every few lines of the record: `evaluation_return` and its deviation.

    Args:
        episodes: episodes of an evaluation.
        every: lines of the record between two evaluations.
        seed: seed of the episodes, which are the same each time.

    Raises:
        ArgumentError: a number is below 1, or the seed below 0.

    Example:
        >>> EvaluateOften(episodes=5).every
        1
    """

    def __init__(self, episodes: int = 20, every: int = 1, seed: int = 1_000_003):
        self.episodes = checks.at_least("episodes", episodes, 1)
        self.every = checks.at_least("every", every, 1)
        self.seed = checks.at_least("seed", seed, 0)

    def measure(self, epoch: int) -> Mapping[str, float]:
        if (epoch + 1) % self.every:
            return {}
        found = self.agent.evaluate(self.episodes, seed=self.seed)
        return {"evaluation_return": found.mean, "evaluation_deviation": found.deviation}


class StopOnReward(AgentCallback):
    """End of a training once a mean return is reached.

    Args:
        bar: the return; None takes the environment's `reward_bar`.
        figure: `return` of the episodes of training, or `evaluation_return`, which `EvaluateOften` measures; put it
            first.

    Raises:
        ArgumentError: the bar is not a number, or the environment has none.

    Example:
        >>> StopOnReward(475.0).end_epoch(3, {"return": 480.0})
        'return 480 is at least 475'
    """

    def __init__(self, bar: float | None = None, figure: str = "return"):
        self.bar = bar if bar is None else checks.within("bar", bar, -1e12, 1e12)
        self.figure = figure

    def begin(self) -> None:
        if self.bar is None:
            self.bar = self.agent.env.reward_bar
        if self.bar is None:
            checks.refuse("an environment without reward_bar needs a bar", self.agent.env, "Pass bar=.")

    def end_epoch(self, epoch: int, figures: dict[str, float]) -> str | None:
        value = figures.get(self.figure)
        if value is not None and value >= self.bar:
            return f"{self.figure} {value:.4g} is at least {self.bar:.4g}"
        return None
