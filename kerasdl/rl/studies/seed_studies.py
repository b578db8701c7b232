"""Studies of several seeds: parallel trainings of one agent, and learning curves with the interval of their mean.

Source: https://arxiv.org/abs/2108.13264: interquartile means over runs, with intervals by the stratified bootstrap.
"""

import dataclasses
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.core import checks
from kerasdl.core.display.results import Displayed, text_table
from kerasdl.core.plotting import FADED, GREY, TRAIN, dress, keep, new_figure

from ..agents.listing import agent_class, agent_name
from ..agents.presets import PRESETS
from .aggregates import bootstrap_interval, interquartile_mean
from .jobs import Job, environment_named, plain_config, resolved_config, resolved_steps, run_jobs
from .study_folder import claim_study

CURVE = "evaluation_return"


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class SeedStudy(Displayed):
    """Trainings of one agent by several seeds.

    Attributes:
        agent: name of the agent.
        environment: name of the environment.
        seeds: the seeds, S of them.
        steps: environment steps at each of L lines of the records.
        curves: (S, L) mean return of the deterministic policy at each line, in episodes apart from training.
        returns: (S,) mean return of each last policy, over `episodes` episodes.
        episodes: episodes of the last evaluation.
        bar: return asked for, None where no preset says one.
        seconds: (S,) time of each training.
        folder: folder of the study, in which `seed0/agent` is the agent of seed 0.

    Example:
        >>> returns = np.array([500.0, 450.0])
        >>> found = (returns[:, None], returns, 100, 475.0, [9.0, 9.0], "runs")
        >>> study = SeedStudy("PPO", "cartpole", (0, 1), [512], *found)
        >>> study.mean, study.reached
        (475.0, 1)
    """

    agent: str
    environment: str
    seeds: tuple[int, ...]
    steps: Sequence[int]
    curves: np.ndarray
    returns: np.ndarray
    episodes: int
    bar: float | None
    seconds: Sequence[float]
    folder: str | os.PathLike

    @property
    def mean(self) -> float:
        """Interquartile mean of the returns of the last policies."""
        return interquartile_mean(self.returns)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Interval of 95 % of `mean`; None of a single seed."""
        return bootstrap_interval(self.returns) if len(self.seeds) > 1 else None

    @property
    def reached(self) -> int | None:
        """Number of seeds that reach the bar; None without a bar."""
        return None if self.bar is None else int(np.count_nonzero(self.returns >= self.bar))

    @property
    def best(self) -> int:
        """Seed with the highest return of its last policy; of equals the first."""
        return self.seeds[int(np.argmax(self.returns))]

    def agent_folder(self, seed: int) -> Path:
        """Returns the folder of the agent of a seed, for `load_agent`.

        Raises:
            ArgumentError: the study has no such seed.
        """
        checks.one_of("seed", seed, self.seeds)
        return seed_folder(self.folder, seed) / "agent"

    def table(self) -> str:
        """Returns a row for each seed as a text table."""
        rows = [
            (f"{seed}", f"{each:.4g}", f"{seconds:.0f}")
            for seed, each, seconds in zip(self.seeds, self.returns, self.seconds, strict=True)
        ]
        return text_table(("seed", "return", "seconds"), rows)

    def plot(self, path: str | os.PathLike | None = None) -> Any:
        """Draws the curve of each seed, their interquartile mean and its interval of 95 %.

        Args:
            path: file of the picture; None writes none.

        Returns:
            A matplotlib figure.
        """
        figure = new_figure(7.0, 4.2)
        axes = figure.subplots()
        axes.plot(self.steps, self.curves.T, color=FADED, linewidth=0.9)
        whole = self.curves[:, None]
        if len(self.seeds) > 1:
            low, high = bootstrap_interval(whole)
            axes.fill_between(self.steps, low, high, color=TRAIN, alpha=0.15, linewidth=0)
        axes.plot(self.steps, interquartile_mean(whole), color=TRAIN, linewidth=2.2, marker="o", markersize=3)
        if self.bar is not None:
            axes.axhline(self.bar, color=GREY, linewidth=1.2, linestyle=(0, (4, 3)), zorder=0)
        title = f"{self.agent} on {self.environment}: interquartile mean of {len(self.seeds)} seeds"
        dress(axes, title, "environment steps", "return")
        return keep(figure, path)

    def _shown(self) -> tuple[str, dict[str, Any]]:
        rows = {
            "mean": f"{self.mean:.4g}, interquartile, over {len(self.seeds)} seeds of {self.episodes} episodes",
            "interval": self.interval and "{:.4g} to {:.4g}, 95 %".format(*self.interval),
            "returns": ", ".join(f"{each:.4g}" for each in self.returns),
            "bar": None if self.bar is None else f"{self.bar:.4g}, reached by {self.reached} of {len(self.seeds)}",
            "folder": self.folder,
        }
        return f"SeedStudy: {self.agent} on {self.environment}, {self.steps[-1]:,} steps", rows

    def _picture(self) -> Any:
        return self.plot()


def train_seeds(
    agent: str,
    environment: str,
    config: Any = None,
    *,
    folder: str | os.PathLike,
    seeds: int | Iterable[int] = 5,
    steps: int | None = None,
    processes: int | None = None,
    episodes: int = 100,
    curve_episodes: int = 20,
    resume: bool = True,
    progress: str = "auto",
) -> SeedStudy:
    """Trains an agent by several seeds, each in a process of its own, and keeps agents, curves and a picture.

    After a kill the same call goes on where each training was; a call with more seeds trains only those. Every process
    computes in one thread, so that results do not depend on how many run at once.

    Args:
        agent: name of the agent, such as `PPO`.
        environment: name for `make`, or `gymnasium:NAME`.
        config: settings by name that differ from the preset, or a config of the agent; None takes the preset, or the
            defaults where there is none.
        folder: folder of the study.
        seeds: number of seeds from 0, or the seeds.
        steps: environment steps of each training; None takes those of the preset.
        processes: processes at once; None takes one for each core.
        episodes: episodes of the evaluation of each last policy.
        curve_episodes: episodes of each evaluation within a training, about 20 times.
        resume: False trains all anew.
        progress: `"auto"` prints a line now and then; `"off"` prints nothing.

    Returns:
        The study; `study.json`, `seedN/result.json`, `seedN/agent` and `curves.png` are in the folder.

    Raises:
        ArgumentError: an argument breaks its rule, or the folder holds something else.
        UnknownNameError: no agent, environment or setting has the name.
        DataError: a result in the folder is damaged.
        TrainingError: a training failed; the others may be resumed.

    Example:
        >>> small = {"environments": 2, "rollout_steps": 8, "minibatch_size": 16, "jit_compile": False}
        >>> study = train_seeds("ppo", "cartpole", small, folder="runs", seeds=1, steps=32, progress="off")
        >>> study.seeds, len(study.returns)
        ((0,), 1)
    """
    agent, seeds = agent_name(agent), checked_seeds(seeds)
    checks.one_of("progress", progress, ("auto", "off"))
    config, steps = resolved_config(agent, environment, config), resolved_steps(agent, environment, steps)
    for name, value in {"episodes": episodes, "curve_episodes": curve_episodes}.items():
        checks.at_least(name, value, 1)
    check_makes(agent, environment, config)
    parts = {"config": plain_config(config), "steps": steps, "episodes": episodes, "curve_episodes": curve_episodes}
    parts = {"agent": agent, "environment": environment, **parts}
    claim_study(folder, {"kind": "seeds", **parts}, resume)
    jobs = [Job(**parts, seed=seed, folder=str(seed_folder(folder, seed))) for seed in seeds]
    results = run_jobs(jobs, processes, resume, Lines(steps) if progress == "auto" else silent)
    found = PRESETS.get((agent, environment))
    study = SeedStudy(
        agent=agent,
        environment=environment,
        seeds=seeds,
        steps=results[0]["steps"],
        curves=np.array([each["figures"][CURVE] for each in results], float),
        returns=np.array([each["return"] for each in results]),
        episodes=episodes,
        bar=found.bar if found else None,
        seconds=[each["seconds"] for each in results],
        folder=folder,
    )
    study.plot(Path(folder) / "curves.png")
    return study


def checked_seeds(seeds: int | Iterable[int]) -> tuple[int, ...]:
    """Returns the seeds: so many from 0, or those given.

    Raises:
        ArgumentError: there is none, one is no whole number from 0 to 2**31 - 1, or one comes twice.
    """
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        return tuple(range(checks.at_least("seeds", seeds, 1)))
    if isinstance(seeds, (str, bytes)) or not isinstance(seeds, Iterable):
        checks.refuse("seeds must be a number of them, or whole numbers", seeds)
    seeds = tuple(checks.at_least("a seed", each, 0) for each in seeds)
    if not seeds or len(set(seeds)) < len(seeds) or max(seeds) >= 2**31:
        checks.refuse("seeds must be different whole numbers below 2**31, one or more", seeds)
    return seeds


def check_makes(agent: str, environment: str, config: Any) -> None:
    """Refuses an environment that there is not, and settings with which the agent cannot be made, before any process.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such environment.
    """
    env = environment_named(environment, config.environments)
    try:
        agent_class(agent)(env, config)
    finally:
        if hasattr(env, "close"):
            env.close()


def seed_folder(folder: str | os.PathLike, seed: int) -> Path:
    """Returns the folder of one seed of a study."""
    return Path(folder) / f"seed{seed}"


class Lines:
    """Progress of several trainings, a line each time one of them has done a quarter of its steps.

    Args:
        steps: environment steps of each training.
    """

    def __init__(self, steps: int):
        self.steps, self._told, self._lock = steps, {}, threading.Lock()

    def __call__(self, job: Job, answer: Mapping[str, Any]) -> None:
        with self._lock:
            name = f"{job.agent} on {job.environment}, seed {job.seed}"
            if "return" in answer:
                line = f"{name}: return {answer['return']:.4g} over {job.episodes} episodes, {answer['seconds']:.0f} s"
                print(line, flush=True)
                return
            quarter = 4 * answer["steps"] // self.steps
            if quarter > self._told.get(job.folder, 0):
                self._told[job.folder] = quarter
                value = answer["figures"].get(CURVE)
                shown = "" if value is None else f", return {value:.4g}"
                print(f"{name}: {answer['steps']:,} of {self.steps:,} steps{shown}", flush=True)


def silent(job: Job, answer: Mapping[str, Any]) -> None:
    """Tells nothing."""
