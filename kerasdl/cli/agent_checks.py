"""Checks of agents, environments and their folders before TensorFlow is imported, and settings from words."""

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import kerasdl
from kerasdl.core import checks
from kerasdl.core.errors import DataError
from kerasdl.rl.agents.listing import agent_name

from .path_checks import check_bundle, check_paths

GYMNASIUM = "gymnasium:"
STUDY, AGENT = "study.json", "agent.json"


def check_training(agent: str, environment: str, out: Path) -> str:
    """Returns the name of an agent; refuses unknown agents and environments, and a path that is no folder.

    Raises:
        UnknownNameError: no agent or environment has the name.
        ArgumentError: the path is a file.
    """
    name = agent_name(agent)
    check_environment(environment)
    if out.exists() and not out.is_dir():
        checks.refuse("--out must be a folder", str(out))
    return name


def check_environment(name: str) -> None:
    """Refuses an environment that `kerasdl.rl.make` does not know; names of Gymnasium are known later.

    Raises:
        UnknownNameError: there is none.
    """
    if not name.startswith(GYMNASIUM):
        checks.known_name("environment", name, environment_names(), "Those of Gymnasium are named gymnasium:NAME.")


def environment_names() -> list[str]:
    """Returns the names of the environments, read from the source of their table, which imports TensorFlow."""
    source = Path(kerasdl.__file__).with_name("rl") / "envs" / "making.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and node.target.id == "ENVIRONMENTS":
            parts = [part for part in ast.walk(node.value) if isinstance(part, ast.Dict)]
            return sorted(key.value for part in parts for key in part.keys if key is not None)
    raise DataError(f"{source} must hold the table ENVIRONMENTS.")


def player_kind(name: str) -> str:
    """Returns what plays: `study`, `agent` or `bundle`; refuses paths at which there is nothing of these.

    Raises:
        BundleError: nothing is at that path, or something else.
        UnknownNameError: there is no such embedded bundle.
    """
    path = Path(name).expanduser()
    for kind, file in {"study": STUDY, "agent": AGENT}.items():
        if (path / file).is_file():
            return kind
    check_bundle(name)
    return "bundle"


def settings_of(words: Sequence[str], file: Path | None) -> dict[str, Any]:
    """Returns settings by name, from a JSON file and then from words such as `learning_rate=1e-3`.

    Args:
        words: name=value; values are numbers, true, false, none, lists in brackets, and texts.
        file: a JSON file of settings, such as the best.json of a tuning; None for none.

    Raises:
        ArgumentError: a word has no `=`.
        DataError: the file cannot be read, or holds no settings.
    """
    settings: dict[str, Any] = {}
    check_paths("--settings must be a JSON file", file)
    if file is not None:
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"--settings must be a JSON file; reading {file} failed: {error}.") from error
        if not isinstance(found, dict):
            raise DataError(f"--settings must hold settings by name; {file} holds a {type(found).__name__}.")
        settings |= found
    for word in words:
        name, mark, text = word.partition("=")
        if not mark or not name:
            checks.refuse("--set must be name=value", word)
        settings[name] = _value(text)
    return settings


def _value(text: str) -> Any:
    try:
        return json.loads(text.lower() if text.lower() in ("true", "false") else text)
    except ValueError:
        return None if text.lower() in ("none", "null") else text
