"""Docstrings of Python's standard library, and paragraphs of its language reference, by their part of the library.

The texts are those of the Python that runs, whose source is read and not imported: figures hold for one version.
"""

import ast
import sysconfig
from pathlib import Path

from ..dataset import Dataset
from .rows import Row, read_rows

LICENCE = "Python Software Foundation License 2.0"
LANGUAGE = "language"
# Parts of the library with 150 docstrings or more in Python 3.11 to 3.13, and the file or folder of each.
PARTS = {
    "asyncio": "asyncio",
    "decimal": "_pydecimal.py",
    "email": "email",
    "importlib": "importlib",
    "logging": "logging",
    "multiprocessing": "multiprocessing",
    "tkinter": "tkinter",
    "turtle": "turtle.py",
    "unittest": "unittest",
    "xml": "xml",
}
SHORTEST = 40
"""Characters of the shortest docstring that is taken."""
SHORTEST_PARAGRAPH, PARAGRAPHS = 100, 4
"""Characters of the shortest paragraph of the reference, and paragraphs taken of each of its topics."""


def read_docstrings(split: str, *, seed: int = 0) -> Dataset:
    """Returns a split of the docstrings, with the part of the library as label: `language` and the keys of `PARTS`.

    Args:
        split: `train`, `validation`, `test` or `all`.
        seed: seed of the split.

    Example:
        >>> read_docstrings("test").class_names[:3]
        ('asyncio', 'decimal', 'email')
    """
    from pydoc_data.topics import topics

    library, rows = Path(sysconfig.get_paths()["stdlib"]), []
    for label, place in PARTS.items():
        files = [library / place] if place.endswith(".py") else sorted((library / place).rglob("*.py"))
        for file in files:
            if {"test", "tests"}.isdisjoint(file.relative_to(library).parts):
                rows += [Row(str(file), text, label) for text in _docstrings(file.read_bytes())]
    for topic, text in sorted(topics.items()):
        paragraphs = [" ".join(each.split()) for each in text.split("\n\n")]
        long = [each for each in paragraphs if len(each) >= SHORTEST_PARAGRAPH and each.endswith(".")]
        rows += [Row(topic, each, LANGUAGE) for each in long[:PARAGRAPHS]]
    return read_rows("pydoc", rows, split, on_bad="refuse", seed=seed, licence=LICENCE)


def _docstrings(source: bytes) -> list[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = (ast.get_docstring(node) for node in ast.walk(ast.parse(source)) if isinstance(node, kinds))
    return [text for text in found if text and len(text) >= SHORTEST and "\0" not in text]
