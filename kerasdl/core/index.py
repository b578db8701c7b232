"""The static index: what is registered, readable without importing TensorFlow."""

import json
from functools import cache
from pathlib import Path
from typing import Any

INDEX = Path(__file__).with_name("index.json")


@cache
def load_index() -> dict[str, Any]:
    """Returns `{"models": {name: fields of its ModelSpec}, "tasks": {name: module}}`."""
    return json.loads(INDEX.read_text(encoding="utf-8"))
