"""Results of agents: the record of a training, and the returns of an evaluation."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.core.display.results import Displayed, figures_text
from kerasdl.core.plotting import TRAIN, dress, keep, new_figure


@dataclass(frozen=True, repr=False)
class TrainingRecord(Displayed):
    """Record of one call of `train`: figures over environment steps.

    Attributes:
        agent: name of the algorithm.
        environment: name of the environment.
        steps: environment steps of the agent at each line of the record, those of earlier calls included.
        figures: by name, one number a line: `return` and `length` are means of the episodes that ended since the line
            before (NaN where none did), the others means over the updates.
        seconds: time of the training, that before a resume included.
        steps_per_second: environment steps in a second inside the compiled calls, without the first one, which
            compiles; NaN of a single call.
        stopped: `"finished"`, or `"early"` where a callback ended it.
        folder: folder of the run; None where it has none.

    Example:
        >>> record = TrainingRecord("PPO", "cartpole", [512, 1024], {"return": [20.0, 35.5]}, 1.0, 1024.0, "finished")
        >>> record.returns
        array([20. , 35.5])
    """

    agent: str
    environment: str
    steps: Sequence[int]
    figures: Mapping[str, Sequence[float]]
    seconds: float
    steps_per_second: float
    stopped: str
    folder: Path | None = None

    @property
    def returns(self) -> np.ndarray:
        """Mean return of the episodes that ended since the line before, (lines,)."""
        return np.asarray(self.figures.get("return", ()), float)

    def plot(self, path: str | os.PathLike | None = None) -> Any:
        """Returns a figure of return and length over environment steps; saves it where a path is given."""
        figure = new_figure(8.4, 3.0)
        for axes, name in zip(figure.subplots(1, 2), ("return", "length"), strict=True):
            axes.plot(self.steps, self.figures.get(name, ()), color=TRAIN, marker="o", markersize=3)
            dress(axes, f"{name} of an episode", "environment steps")
        return keep(figure, path)

    def _shown(self) -> tuple[str, dict[str, Any]]:
        last = {name: values[-1] for name, values in self.figures.items() if len(values)}
        title = (
            f"TrainingRecord: {self.agent} on {self.environment}, {self.steps[-1] if len(self.steps) else 0:,} steps"
        )
        rows = {
            "last": figures_text(last),
            "speed": f"{self.steps_per_second:,.0f} steps a second, {self.seconds:.1f} s",
            "stopped": None if self.stopped == "finished" else self.stopped,
            "folder": self.folder,
        }
        return title, rows

    def _picture(self) -> Any:
        return self.plot() if len(self.steps) else None


@dataclass(frozen=True, repr=False)
class Evaluation(Displayed):
    """Returns of whole episodes of a policy, in environments apart from those of training.

    Attributes:
        mean: mean return.
        deviation: standard deviation of the returns, over the episodes.
        returns: return of each episode, (episodes,).
        lengths: steps of each episode, (episodes,).

    Example:
        >>> Evaluation(2.0, 1.0, np.array([1.0, 3.0]), np.array([1, 3]))
        Evaluation: mean return 2 over 2 episodes
          deviation  1, from 1 to 3
          length     2
    """

    mean: float
    deviation: float
    returns: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, returns: np.ndarray, lengths: np.ndarray) -> "Evaluation":
        """Returns the evaluation of episodes."""
        return cls(float(returns.mean()), float(returns.std()), returns, lengths)

    def _shown(self) -> tuple[str, dict[str, Any]]:
        rows = {
            "deviation": f"{self.deviation:.4g}, from {self.returns.min():.4g} to {self.returns.max():.4g}",
            "length": f"{self.lengths.mean():.4g}",
        }
        return f"Evaluation: mean return {self.mean:.4g} over {len(self.returns)} episodes", rows
