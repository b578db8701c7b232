"""Snippets of README and docs: all are checked against the code, and each page's are run in order in one folder."""

import ast
import subprocess
import sys
from pathlib import Path

import checking
import pages
import pytest
import world
from typer.testing import CliRunner

from kerasdl.cli.commands import app
from kerasdl.core.registry import models

# Pages whose snippets take seconds altogether; the others run in the slow lane.
QUICK = {"adding_a_model.md", "folders.md", "optimizing.md", "training.md"}


def of_pages(names=lambda page: True):
    return [pytest.param(page, id=page.name) for page in pages.PAGES if names(page)]


@pytest.mark.parametrize("page", of_pages())
def test_snippets_fit_the_code(page):
    """Languages, comments, syntax, imports, names, arguments, commands, options and files."""
    reader = checking.Reader(dict.fromkeys(world.NAMES, checking.Unknown))
    for block in pages.blocks(page):
        assert block.language in pages.LANGUAGES, f"{block}: say the language, 'text' for output"
        block.tested()
        if block.language == "python":
            reader.read(block.code, str(block))
        elif block.language == "sh":
            for command in pages.commands(block.code):
                checking.check_command(command, page.read_text())


@pytest.fixture(scope="module")
def public_names():
    return checking.public()


@pytest.mark.parametrize("page", of_pages())
def test_calls_and_commands_in_the_text_fit_the_code(page, public_names):
    for code in pages.inline(page):
        checking.check_inline(code, public_names, page.name)


def used(code: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}


def run_command(line: str) -> None:
    """Runs a command of ours in this process, and a program that it wrote; others are only checked."""
    if line.startswith("python ") and Path(line.split()[1]).exists():
        result = subprocess.run([sys.executable, *line.split()[1:]], capture_output=True, text=True)
        assert result.returncode == 0, f"{line}: {result.stderr}"
        assert result.stdout, line
    if not line.startswith("kerasdl ") or line.startswith(("kerasdl launch", "kerasdl quickstart")):
        return
    result = CliRunner().invoke(app, line.split()[1:])
    assert result.exit_code == 0, f"{line}: {result.output} {result.exception!r}"


def runnable(page) -> list:
    return [block for block in pages.blocks(page) if block.language in ("python", "sh") and not block.reason]


@pytest.fixture
def _registry(monkeypatch):
    """Forgets the models that a snippet registers."""
    for table in ("_specs", "_functions"):
        monkeypatch.setattr(models, table, dict(getattr(models, table)))


@pytest.mark.usefixtures("_registry")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=[] if page.name in QUICK else [pytest.mark.slow])
        for page in pages.PAGES
        if runnable(page)
    ],
)
def test_snippets_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    world.write_files(tmp_path)
    values, names = world.Values(), {"__name__": "snippets"}
    for block in runnable(page):
        if block.language == "sh":
            for command in pages.commands(block.tested()):
                run_command(command)
            continue
        for name in used(block.code) & {*world.NAMES} - {*names}:
            names[name] = getattr(values, name)()
        exec(compile(block.tested(), str(block), "exec"), names)
        for name in [name for name in names if name.startswith("test_")]:
            names.pop(name)()


def test_a_wrong_snippet_is_found():
    reader = checking.Reader({})
    for wrong in (
        "import kerasdl\nkerasdl.train.fitt(1, 2)",
        "import kerasdl\nkerasdl.build('lenet5', 1, 2, 3)",
        "from kerasdl.train import RunConfig\nRunConfig(epoch=3)",
        "from kerasdl.train import nothing",
        "import kerasdl\nkerasdl.load_bundle('digits_mobilenet').export('a.tflite', quantise='int8')",
        "unheard_of + 1",
    ):
        with pytest.raises(AssertionError):
            reader.read(wrong, "here")
    for wrong in ("kerasdl finetun photos/", "kerasdl export a.zip b.tflite --quantise int8", "make cake", "rm photos"):
        with pytest.raises(AssertionError):
            checking.check_command(wrong)
    with pytest.raises(AssertionError):
        checking.check_command("python tools/no_such.py")
    with pytest.raises(AssertionError):
        checking.check_inline("RunConfig(epoch=3)", checking.public(), "here")
