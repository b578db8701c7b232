"""Agents of studies and folders, each with the environment that its files name."""

import json
import os
from pathlib import Path
from typing import Any

from kerasdl.core import checks
from kerasdl.core.errors import DataError

from ..agents.listing import load_agent
from ..envs.making import list_environments
from .jobs import GYMNASIUM, RESULT, environment_named
from .study_folder import read_study


def study_agents(folder: str | os.PathLike, best: bool = False) -> list[tuple[int, Any]]:
    """Returns the agents of a study by seed, those that were trained to the end.

    Args:
        folder: folder of `train_seeds`.
        best: True for the one whose last policy has the highest return alone.

    Returns:
        Pairs of seed and agent, in the order of the seeds.

    Raises:
        ArgumentError: the folder holds no study of seeds.
        DataError: no seed has ended, or a file is damaged.

    Example:
        >>> small = {"environments": 2, "rollout_steps": 8, "jit_compile": False, "iterations_per_call": 1}
        >>> study = train_seeds("a2c", "cartpole", small, folder="study", seeds=1, steps=32, progress="off")
        >>> [(seed, agent.name) for seed, agent in study_agents("study")]
        [(0, 'A2C')]
    """
    about = read_study(folder)
    if about["kind"] != "seeds":
        checks.refuse("folder must be of a study of seeds", about["kind"], "A trial has seedN/agent in its folder.")
    returns = {}
    for path in Path(folder).glob(f"seed*/{RESULT}"):
        try:
            returns[int(path.parent.name.removeprefix("seed"))] = (
                json.loads(path.read_text(encoding="utf-8"))["return"],
                path.parent / "agent",
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} must hold the result of a training; reading it failed: {error}.") from error
    if not returns:
        raise DataError(f"{folder} must hold a seed that was trained to its end; none was. Train it first.")
    chosen = [max(sorted(returns), key=lambda seed: returns[seed][0])] if best else sorted(returns)
    return [(seed, agent_of_folder(returns[seed][1], about["environment"])) for seed in chosen]


def agent_of_folder(folder: str | os.PathLike, environment: str | None = None) -> Any:
    """Returns the agent of a folder with its environment, also one of Gymnasium.

    Args:
        folder: folder that `save` wrote.
        environment: name for `make`, or `gymnasium:NAME`; None takes the name in the folder.

    Returns:
        The agent.

    Raises:
        ArgumentError: the environment is another one, or is not known by the name in the folder.
        DataError: the folder is damaged, or holds no agent.
        UnknownNameError: there is no such environment.

    Example:
        >>> agent = PPO("cartpole", PPOConfig(jit_compile=False))
        >>> agent.save("agent")
        >>> agent_of_folder("agent").env.name
        'cartpole'
    """
    try:
        about = json.loads((Path(folder) / "agent.json").read_text(encoding="utf-8"))
        name, count = about["environment"], about["config"]["environments"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} must hold an agent written by save; reading it failed: {error}.") from error
    if environment is None and name not in list_environments():
        hint = f"Name it, such as {GYMNASIUM}{name}."
        checks.refuse("the environment of the agent must be one that kerasdl.rl.make knows", name, hint)
    if environment is None or not environment.startswith(GYMNASIUM):
        return load_agent(folder, None if environment is None else environment_named(environment))
    return load_agent(folder, environment_named(environment, count))
