"""Files of an agent: `agent.json`, `variables.npz` and a Keras file of each network."""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.core import checks, files
from kerasdl.core.errors import DataError

FORMAT = 1


def environment_rules(env: Any) -> str:
    """Returns what tells environments of one name apart: spaces, and a checksum of a table of outcomes.

    Args:
        env: an `Environment`, or `GymnasiumEnvironments`.
    """
    table = getattr(env, "table", None)
    text = f"{env.observation_space!r} -> {env.action_space!r}"
    if table is None:
        return text
    parts = (table.next_state, table.probability, table.reward, table.terminated, table.start)
    return f"{text}, table {zlib.crc32(b''.join(each.tobytes() for each in parts)):08x}"


def write_agent(agent: Any, folder: Path) -> None:
    """Writes an agent; the folder appears whole or not at all."""
    with files.writing_folder(folder) as draft:
        about = {
            "format": FORMAT,
            **agent.identity(),
            "steps": agent.steps,
            "environment_rules": environment_rules(agent.env),
        }
        files.write_json(draft / "agent.json", about)
        variables = {**agent.weights(), **agent.extras()}
        np.savez(draft / "variables.npz", **{name: each.numpy() for name, each in variables.items()})
        for role, network in agent.networks.items():
            network.save(draft / f"{role}.keras")


def read_agent(kind: type, folder: Path, env: Any) -> Any:
    """Returns the agent of a class from a folder; nothing is unpickled."""
    try:
        about = json.loads((folder / "agent.json").read_text(encoding="utf-8"))
        with np.load(folder / "variables.npz", allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        name, environment, seed = about["agent"], about["environment"], about["seed"]
        settings, known = about["config"], about["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{folder} must hold an agent written by save; reading it failed: {error}.") from error
    if name != kind.__name__ or not known:
        raise DataError(f"{folder} must hold a {kind.__name__} of format {FORMAT}; it holds {name}.")
    if env is not None and env.name != environment:
        checks.refuse(f"env must be {environment!r}, in which the agent was trained", env.name)
    try:
        config = kind.config_class(**settings)
    except TypeError as error:
        raise DataError(f"{folder} must hold settings of {kind.__name__}; {error}.") from error
    agent = kind(environment if env is None else env, config, seed=seed)
    rules, trained_by = environment_rules(agent.env), about.get("environment_rules")
    if trained_by not in (None, rules):
        hint = "Pass env=, or play agent.policy in another one by PolicyPlayer."
        checks.refuse(f"env must have the settings of that of the training, {trained_by}", rules, hint)
    variables = {**agent.weights(), **agent.extras()}
    wrong = [name for name, each in variables.items() if name not in arrays or arrays[name].shape != tuple(each.shape)]
    if wrong or set(arrays) != set(variables):
        odd = wrong or sorted(set(arrays) - set(variables))
        raise DataError(f"variables.npz of {folder} must hold the variables of the agent; {odd[0]!r} does not fit.")
    for name, each in variables.items():
        each.assign(arrays[name])
    return agent
