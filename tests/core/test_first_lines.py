"""First lines of docstrings, and names of classes, functions and arguments: words that no reader would search for."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "kerasdl"
FILES = sorted(ROOT.rglob("*.py"))
QUESTIONS = {"What", "How", "Whose", "Who", "Which", "Whether", "Where", "When"}
# Words for things that have a name in the field, and whole names that name nothing.
PRIVATE = {
    "crew",
    "team",
    "ears",
    "wish",
    "wishes",
    "keeper",
    "twin",
    "twins",
    "trail",
    "trainee",
    "carried",
    "occasion",
    "watcher",
}
PARTICIPLES = {"told", "given", "found", "made", "kept", "heard", "said", "stand", "stands"}


def faults(tree: ast.Module) -> list[str]:
    """Returns the lines of a file with a docstring that begins with a question, or a private name."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            words = (ast.get_docstring(node) or "").split()
            if words and words[0].strip(",:") in QUESTIONS:
                lines.append(f"{getattr(node, 'lineno', 1)}: begin with the noun, not with {words[0]}")
        name = getattr(node, "name", None) if isinstance(node, (ast.ClassDef, ast.FunctionDef)) else None
        name = node.arg if isinstance(node, ast.arg) else name
        if name and (PRIVATE & set(words_of(name)) or name.strip("_").lower() in PARTICIPLES):
            lines.append(f"{node.lineno}: {name} must bear the name of the thing it holds")
    return lines


def words_of(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_first_lines_and_names_are_of_the_field(path):
    assert not faults(ast.parse(path.read_text()))


@pytest.mark.parametrize(
    "source",
    ['"""What a file holds."""', 'def f():\n    """Whether it is."""', "class TrainCrew: ...", "def f(kept): ..."],
)
def test_the_rule_sees_a_fault(source):
    assert faults(ast.parse(source))
    assert not faults(ast.parse('"""Content of a file."""\ndef keep(folder):\n    """Returns whether it is."""'))
