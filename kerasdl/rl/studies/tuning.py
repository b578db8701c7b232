"""Search for settings of an agent: random draws from ranges, compared with the preset over the same seeds.

Source: Bergstra and Bengio 2012, https://jmlr.org/papers/v13/bergstra12a.html (random search).
"""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kerasdl.core import checks, files
from kerasdl.core.errors import ArgumentError
from kerasdl.train.evaluation.sweep_results import SweepResult, compare_cells

from ..agents.listing import agent_name
from .jobs import Job, plain_config, resolved_config, resolved_steps, run_jobs
from .seed_studies import Lines, check_makes, checked_seeds, silent
from .study_folder import claim_study

RANGES: Mapping[str, Any] = {
    "learning_rate": (1e-4, 1e-2),
    "discount": [0.9, 0.95, 0.98, 0.99, 0.995],
    "hidden": [(64,), (64, 64), (128, 128), (256, 256)],
    "decay": [0.8, 0.9, 0.95, 0.98, 1.0],
    "anneal": [False, True],
    "normalize_observations": [False, True],
    "entropy_weight": [0.0, 0.001, 0.01],
    "rollout_steps": [16, 32, 64, 128, 256],
    "epochs": [4, 10, 20],
    "minibatch_size": [64, 128, 256, 512],
    "largest_divergence": (0.003, 0.03),
    "batch_size": [32, 64, 128],
    "updates": [1, 4, 16, 64, 128],
    "target_every": (30, 3000),
    "exploration_share": [0.05, 0.1, 0.2, 0.4],
}
"""Ranges by setting, for agents that have it: a pair (low, high) on a logarithmic scale, or a list of choices."""
MOST_DRAWS = 1000
BEST = "best.json"


def tune(
    agent: str,
    environment: str,
    ranges: Mapping[str, Any] | None = None,
    *,
    folder: str | os.PathLike,
    trials: int = 16,
    seeds: int | Iterable[int] = 1,
    steps: int | None = None,
    processes: int | None = None,
    episodes: int = 100,
    seed: int = 0,
    resume: bool = True,
    progress: str = "auto",
) -> SweepResult:
    """Searches for settings at random, and compares each trial with the preset over the same seeds.

    The figure is the mean return of the last policy. The best of many trials was lucky too: train it by other seeds
    before you believe its figure.

    Args:
        agent: name of the agent, such as `PPO`.
        environment: name for `make`, or `gymnasium:NAME`.
        ranges: by setting a pair (low, high), drawn on a logarithmic scale (whole numbers of whole numbers), or a list
            to choose from; None takes ranges of learning rate, discount, widths, rollouts and updates.
        folder: folder of the trials; after a kill the same call makes those that are missing.
        trials: number of draws, beside the preset.
        seeds: number of seeds of each trial from 0, or the seeds.
        steps: environment steps of each training; None takes those of the preset.
        processes: processes at once; None takes one for each core.
        episodes: episodes of each evaluation.
        seed: seed of the draws.
        resume: False trains all anew.
        progress: `"auto"` prints a line now and then; `"off"` prints nothing.

    Returns:
        The comparison, whose first cell is the preset; `best.json` in the folder has the settings of the best cell.

    Raises:
        ArgumentError: an argument breaks its rule, no draw makes valid settings, or the folder holds something else.
        UnknownNameError: no agent, environment or setting has the name.
        TrainingError: a training failed; the others may be resumed.

    Example:
        >>> small = {"environments": [2], "rollout_steps": [8], "hidden": [(4,), (8,)], "jit_compile": [False]}
        >>> result = tune("a2c", "pendulum", small, folder="trials", trials=1, steps=16, episodes=2, progress="off")
        >>> len(result.cells)
        2
    """
    agent, seeds, trials = agent_name(agent), checked_seeds(seeds), checks.at_least("trials", trials, 1)
    checks.one_of("progress", progress, ("auto", "off"))
    checks.at_least("seed", seed, 0)
    checks.at_least("episodes", episodes, 1)
    steps, preset = resolved_steps(agent, environment, steps), resolved_config(agent, environment, None)
    ranges = checked_ranges(ranges, preset)
    check_makes(agent, environment, preset)
    draws = [{}, *(drawn_settings(agent, environment, ranges, (seed, trial)) for trial in range(trials))]
    parts = {"agent": agent, "environment": environment, "steps": steps, "episodes": episodes}
    about = {"kind": "trials", **parts, "preset": plain_config(preset), "ranges": _plain_ranges(ranges), "seed": seed}
    path = claim_study(folder, about, resume)
    jobs = []
    for trial, settings in enumerate(draws):
        config = plain_config(resolved_config(agent, environment, settings))
        parts |= {"config": config, "curve_episodes": 1}
        jobs += [Job(**parts, seed=each, folder=str(path / f"trial{trial}" / f"seed{each}")) for each in seeds]
    results = iter(run_jobs(jobs, processes, resume, Lines(steps) if progress == "auto" else silent))
    cells = []
    for settings in draws:
        found = {each: next(results) for each in seeds}
        values = {each: result["return"] for each, result in found.items()}
        seconds = sum(result["seconds"] for result in found.values())
        label = ", ".join(f"{name}={_short(value)}" for name, value in settings.items()) or "preset"
        cells.append((label, settings, values, {}, seconds))
    result = compare_cells("return", "max", 0.95, seeds, cells)
    files.write_json(path / BEST, result.best.setting)
    return result


def checked_ranges(ranges: Mapping[str, Any] | None, config: Any) -> dict[str, Any]:
    """Returns the ranges of settings that a config has.

    Raises:
        ArgumentError: a range is none.
        UnknownNameError: the config has no such setting.
    """
    known = type(config).__dataclass_fields__
    if ranges is None:
        return {name: each for name, each in RANGES.items() if name in known}
    if not isinstance(ranges, Mapping) or not ranges:
        checks.refuse("ranges must be ranges by setting", ranges)
    for name, each in ranges.items():
        checks.known_name(f"setting of {type(config).__name__}", name, known)
        if isinstance(each, list) and each:
            continue
        pair = isinstance(each, tuple) and len(each) == 2 and all(_is_number(end) for end in each)
        if not pair or not 0 < each[0] < each[1] < math.inf:
            rule = f"the range of {name} must be a list to choose from, or a pair 0 < low < high"
            checks.refuse(rule, each, "A value that does not vary is a list of one.")
    return dict(ranges)


def drawn_settings(agent: str, environment: str, ranges: Mapping[str, Any], seeds: Sequence[int]) -> dict[str, Any]:
    """Returns settings drawn from ranges, of those that the config takes.

    Args:
        agent: name of the agent.
        environment: name of the environment.
        ranges: ranges by setting.
        seeds: what determines the draw.

    Raises:
        ArgumentError: of a thousand draws the config takes none.
    """
    rng = np.random.default_rng(list(seeds))
    for _ in range(MOST_DRAWS):
        settings = {name: _drawn(each, rng) for name, each in ranges.items()}
        try:
            resolved_config(agent, environment, settings)
        except ArgumentError as error:
            reason = error
            continue
        return settings
    checks.refuse(f"ranges must hold settings that {agent} takes ({reason})", dict(ranges))


def _plain_ranges(ranges: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: each if isinstance(each, list) else {"low": each[0], "high": each[1]} for name, each in ranges.items()
    }


def _drawn(values: Any, rng: np.random.Generator) -> Any:
    if isinstance(values, list):
        return values[int(rng.integers(len(values)))]
    low, high = values
    whole = isinstance(low, int) and isinstance(high, int)
    drawn = math.exp(rng.uniform(math.log(low), math.log(high + whole)))
    return min(int(drawn), high) if whole else float(f"{drawn:.4g}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _short(value: Any) -> str:
    return json.dumps(value).replace(" ", "")
