"""Generator of the static index from the live registry: `python -m kerasdl.core.registry.indexing`.

A test fails when the index is stale.
"""

import ast
import dataclasses
import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

from .. import files
from . import index, models, tasks

ROOT = Path(__file__).parents[2]
# Packages that register no models; every other one is a family, found by its folder.
TOOLS = (
    *("core", "ops", "layers", "losses", "metrics", "data", "blocks", "train", "deploy", "explain", "responsible"),
    *("search", "bundles", "weights", "serving", "cli", "foundations"),
)
SERIALIZABLE = "keras.saving.register_keras_serializable"


def families() -> list[str]:
    """Returns the packages that hold models and tasks, such as `vision`."""
    return [each.name for each in pkgutil.iter_modules([str(ROOT)]) if each.ispkg and each.name not in TOOLS]


def import_families() -> None:
    """Imports every module of every family, so that each registers its models and tasks, and the task `network`."""
    importlib.import_module("kerasdl.core.registry.network")
    for family in families():
        package = importlib.import_module(f"kerasdl.{family}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def saved_modules() -> list[str]:
    """Returns the modules of the classes and functions that saved models name: those registered with Keras."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        nodes = ast.walk(ast.parse(text)) if SERIALIZABLE in text else ()
        marks = [mark for node in nodes for mark in getattr(node, "decorator_list", ())]
        if any(ast.unparse(mark).startswith(SERIALIZABLE) for mark in marks):
            found.append(".".join([ROOT.name, *path.relative_to(ROOT).with_suffix("").parts]))
    return found


def build_index() -> dict[str, Any]:
    """Returns the index of the live registry."""
    import_families()
    nets = {spec.name: dataclasses.asdict(spec) for spec in models.live_specs() if _is_ours(spec.builder)}
    modules = {task.name: task.module for task in tasks.live_tasks() if _is_ours(task.module)}
    return json.loads(json.dumps({"models": nets, "tasks": modules, "saved": saved_modules()}))


def _is_ours(module: str) -> bool:
    return module.startswith("kerasdl.")


if __name__ == "__main__":
    files.write_json(index.INDEX, build_index())
