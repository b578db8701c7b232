"""Writes the static index from the live registry: `python -m kerasdl.core.indexing`.

A test fails when the index is stale.
"""

import dataclasses
import importlib
import json
import pkgutil
from typing import Any

from . import files, index, registry, task

FAMILIES = ("vision", "sequence", "tabular")


def import_families() -> None:
    """Imports every module of every family, so that each registers what it has."""
    for family in FAMILIES:
        package = importlib.import_module(f"kerasdl.{family}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def build_index() -> dict[str, Any]:
    """Returns the index as the registry would write it now."""
    import_families()
    models = {spec.name: dataclasses.asdict(spec) for spec in registry.live_specs() if _is_ours(spec.builder)}
    tasks = {found.name: found.module for found in task.live_tasks() if _is_ours(found.module)}
    return json.loads(json.dumps({"models": models, "tasks": tasks}))


def _is_ours(module: str) -> bool:
    return module.startswith("kerasdl.")


if __name__ == "__main__":
    files.write_json(index.INDEX, build_index())
