"""Generator of the static index from the live registry: `python -m kerasdl.core.registry.indexing`.

A test fails when the index is stale.
"""

import dataclasses
import importlib
import json
import pkgutil
from typing import Any

from .. import files
from . import index, models, tasks

FAMILIES = ("vision", "sequence", "tabular")


def import_families() -> None:
    """Imports every module of every family, so that each registers its models and tasks."""
    for family in FAMILIES:
        package = importlib.import_module(f"kerasdl.{family}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def build_index() -> dict[str, Any]:
    """Returns the index of the live registry."""
    import_families()
    nets = {spec.name: dataclasses.asdict(spec) for spec in models.live_specs() if _is_ours(spec.builder)}
    modules = {task.name: task.module for task in tasks.live_tasks() if _is_ours(task.module)}
    return json.loads(json.dumps({"models": nets, "tasks": modules}))


def _is_ours(module: str) -> bool:
    return module.startswith("kerasdl.")


if __name__ == "__main__":
    files.write_json(index.INDEX, build_index())
