"""The project as a whole: its style, its generated pages, the wheel, what stands in the README."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kerasdl

ROOT = Path(__file__).parents[2]


def ruff(*words: str):
    return subprocess.run([sys.executable, "-m", "ruff", *words], cwd=ROOT, capture_output=True, text=True)


def tool(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ruff_check_passes():
    result = ruff("check")
    assert result.returncode == 0, result.stdout


def test_ruff_format_passes():
    result = ruff("format", "--check")
    assert result.returncode == 0, result.stdout


def test_topics_page_is_fresh_and_lists_every_file():
    page = (ROOT / "docs" / "topics.md").read_text()
    assert page == tool("make_topics").main(), "run: make topics"
    for path in (ROOT / "kerasdl").rglob("*.py"):
        assert path.name == "__init__.py" or f"../{path.relative_to(ROOT).as_posix()})" in page, path


def test_links_in_the_pages_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_glossary_is_short_sorted_and_linked():
    page = (ROOT / "docs" / "glossary.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"][2:]
    terms = [term.lower() for term, _, _ in rows]
    assert 20 <= len(terms) <= 40
    assert terms == sorted(set(terms))
    for term, meaning, home in rows:
        assert re.fullmatch(r"[A-Z`](?:(?!\. ).)*[^.]\.", meaning), f"{term}: one sentence"
        assert re.fullmatch(r"\[[^\]]+\]\([^)]+\)", home), f"{term}: a link to the file or page that defines it"
    assert "(glossary.md)" in (ROOT / "docs" / "index.md").read_text()


def test_the_matrix_names_every_full_size_model():
    page = (ROOT / "docs" / "exporting.md").read_text()
    for name in importlib.import_module("cases").FULL_SIZE:
        assert f"| `{name}` |" in page, "run: make matrix"


def readme_example() -> str:
    return re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)[1]


def test_the_example_in_the_readme_is_short():
    assert len(readme_example().strip().splitlines()) <= 15


@pytest.mark.bars
def test_the_example_in_the_readme_runs_with_all_its_epochs(tmp_path, monkeypatch):
    """One epoch of it is run by tests/docs, and the same settings by the quickstart below."""
    monkeypatch.chdir(tmp_path)
    code, names = readme_example(), {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["report"].top1_agreement > 0.9
    assert (tmp_path / "emoji.tflite").stat().st_size == names["report"].bytes


def test_versions_agree():
    assert f"## {kerasdl.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.slow
def test_the_wheel_alone_runs_the_quickstart(tmp_path):
    """Built, unpacked outside the checkout and run from there: bundles and data travel inside."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    work = tmp_path / "work"
    work.mkdir()
    run = subprocess.run(
        [sys.executable, "-m", "kerasdl", "quickstart", "--out", "out"],
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == "", "noise reached the terminal"
    made = {path.name for path in (work / "out").iterdir()}
    figures = json.loads((work / "out" / "figures.json").read_text())
    assert min(figures["same style"], figures["other style"]) > 0.5
    assert min(export["same answer"] for export in figures["exports"]) >= 0.95
    assert made >= {"emoji.zip", "emoji.tflite", "emoji_int8.tflite", "answers.png", "confusion.png", "card.md"}
    where = [sys.executable, "-c", "import kerasdl; print(kerasdl.__file__)"]
    found = subprocess.run(where, cwd=work, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True)
    assert str(site) in found.stdout
