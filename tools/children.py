"""Measurements in child processes, one after another: a crash or a hang costs one figure, and a run can be resumed."""

import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from kerasdl.core import files

MARK = "measured: "


def measured_in_children(script: Path, name: str, columns: Sequence[str], limit: float) -> dict[str, dict]:
    """Runs `script --child NAME COLUMN...` until every column has a result.

    Args:
        script: calls `in_child` when it finds `--child` among its arguments.
        name: of what is measured.
        columns: its figures.
        limit: seconds that a child may take.
    """
    results: dict[str, dict] = {}
    while left := [column for column in columns if column not in results]:
        command = [sys.executable, str(script), "--child", name, *left]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=limit)
            output, end = done.stdout, f"the process ended with {done.returncode}"
        except subprocess.TimeoutExpired as late:
            output, end = late.stdout or b"", f"not done after {limit:g} seconds"
        lines = [line.removeprefix(MARK) for line in output.decode().splitlines() if line.startswith(MARK)]
        results |= dict(map(json.loads, lines))
        first = next((column for column in left if column not in results), None)
        if first is not None:
            results[first] = {"outcome": "crashed", "why": end}
    return results


def in_child(arguments: Sequence[str], measure: Callable[[str, str], dict]) -> None:
    """Prints the result of `measure` for a name and each column of the command line."""
    _, name, *columns = arguments
    for column in columns:
        print(MARK + json.dumps([column, measure(name, column)]), flush=True)


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Returns the versions of installed packages by name."""
    return {package: importlib.metadata.version(package) for package in packages}


def taken_up(path: Path, versions: dict[str, str], fresh: bool) -> dict[str, dict]:
    """Returns earlier measurements with the same versions."""
    record = json.loads(path.read_text()) if path.exists() and not fresh else {}
    return record["measured"] if record.get("versions") == versions else {}


def keep(path: Path, versions: dict[str, str], measured: dict[str, dict]) -> None:
    """Writes the measurements and the versions of packages."""
    files.write_json(path, {"versions": versions, "measured": measured})


def without_paths(text: str) -> str:
    """Returns a text with the folders removed from file paths of this machine."""
    return re.sub(r"(?<![\w.])/(?:[\w.\-]+/)+", "", text)
