"""Type checkers resolve kerasdl: programs of users have the expected types, and their typos are found."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """Errors of basedpyright as (file, line, rule), from one run over all programs in another folder."""
    folder = tmp_path_factory.mktemp("checked")
    for program in PROGRAMS.glob("*.py"):
        (folder / program.name).write_text(program.read_text())
    settings = {"typeCheckingMode": "standard", "extraPaths": [str(ROOT)], "pythonVersion": "3.11"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(folder)]
    result = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=300).stdout)
    assert result["summary"]["filesAnalyzed"] == len(list(PROGRAMS.glob("*.py"))) == 11
    errors = [each for each in result["generalDiagnostics"] if each["severity"] == "error"]
    return {(Path(each["file"]).name, each["range"]["start"]["line"] + 1, each["rule"]) for each in errors}


def test_programs_have_the_expected_types(findings):
    assert not {each for each in findings if each[0] != "typos.py"}


def test_every_typo_is_found(findings):
    lines = (PROGRAMS / "typos.py").read_text().splitlines()
    marks = [(number, re.search(r"# error: (\w+)", line)) for number, line in enumerate(lines, 1)]
    expected = {("typos.py", number, mark[1]) for number, mark in marks if mark}
    assert len(expected) == 7
    assert {each for each in findings if each[0] == "typos.py"} == expected


def test_an_editable_install_is_a_path():
    assert re.search(r"package_dir =\n    = \.\n", (ROOT / "setup.cfg").read_text())
    assert (ROOT / "kerasdl" / "py.typed").exists()
