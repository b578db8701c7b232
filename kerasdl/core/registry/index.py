"""Static index of registered models and tasks, readable without importing TensorFlow."""

import json
from functools import cache
from pathlib import Path
from typing import Any

INDEX = Path(__file__).with_name("index.json")
MACS = Path(__file__).with_name("macs.json")


@cache
def load_index() -> dict[str, Any]:
    """Returns `{"models": {name: fields of its ModelSpec}, "tasks": {name: module}, "saved": modules}`.

    The last are those of the classes that saved models name.
    """
    return json.loads(INDEX.read_text(encoding="utf-8"))


@cache
def load_macs() -> dict[str, int]:
    """Returns the multiply-accumulates of each model at its default size, counted by tools/make_macs.py."""
    return json.loads(MACS.read_text(encoding="utf-8"))
