"""Agents by name: those of the package, found in its source without TensorFlow, and one that a folder holds."""

import ast
import functools
import json
import re
from pathlib import Path
from typing import Any

from kerasdl import rl
from kerasdl.core import checks
from kerasdl.core.errors import DataError


@functools.cache
def _agent_names() -> tuple[str, ...]:
    """Returns the public names of the package whose classes derive from `Agent`, read from the source."""
    here = Path(__file__).parent
    trees = [ast.parse(each.read_text(encoding="utf-8")) for each in sorted(here.rglob("*.py"))]
    classes = [each for tree in trees for each in tree.body if isinstance(each, ast.ClassDef)]
    bases = {each.name: [ast.unparse(base) for base in each.bases] for each in classes}
    agents = {"Agent"}
    while more := {name for name, above in bases.items() if agents & set(above)} - agents:
        agents |= more
    stub = (here.parent / "__init__.pyi").read_text(encoding="utf-8")
    public = re.findall(r"^from \.agents\.\S+ import (\w+)", stub, re.M)
    return tuple(sorted((agents & set(public)) - {"Agent"}))


def list_agents() -> list[str]:
    """Returns the names of all agents, sorted; each is a class of `kerasdl.rl`.

    Example:
        >>> "PPO" in list_agents()
        True
    """
    return list(_agent_names())


def agent_name(name: str) -> str:
    """Returns the name of an agent as its class is called; capital letters, `-` and `_` do not matter.

    Args:
        name: such as `ppo` or `q_learning`.

    Returns:
        The name, such as `PPO`.

    Raises:
        UnknownNameError: no agent has the name.

    Example:
        >>> agent_name("q-learning")
        'QLearning'
    """
    known = {each.lower(): each for each in _agent_names()}
    plain = str(name).lower().replace("-", "").replace("_", "")
    if plain not in known:
        checks.known_name("agent", str(name), _agent_names())
    return known[plain]


def agent_class(name: str) -> type:
    """Returns the class of an agent by its name, as of `agent_name`.

    Args:
        name: such as `ppo`.

    Returns:
        A subclass of `Agent`.

    Raises:
        UnknownNameError: no agent has the name.

    Example:
        >>> agent_class("ppo").__name__
        'PPO'
    """
    return getattr(rl, agent_name(name))


def load_agent(folder: Any, env: Any = None) -> Any:
    """Returns the agent that `save` wrote to a folder, of whichever class.

    Args:
        folder: folder of the agent.
        env: its environment, where that is none of `list_environments()` with its default settings.

    Returns:
        The agent.

    Raises:
        DataError: the folder is damaged, or holds no agent.
        ArgumentError: the environment is another one.

    Example:
        >>> agent = PPO("cartpole", PPOConfig(jit_compile=False))
        >>> agent.save("agent")
        >>> load_agent("agent").name
        'PPO'
    """
    try:
        name = json.loads((Path(folder) / "agent.json").read_text(encoding="utf-8"))["agent"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} must hold an agent written by save; reading it failed: {error}.") from error
    if name not in _agent_names():
        raise DataError(f"{folder} must hold one of the agents {', '.join(_agent_names())}; it holds {name!r}.")
    return getattr(rl, name).load(folder, env)
