"""Share of a test in its lane: cases beyond it are of the release, by kept times that name tests which exist."""

import json
import re
from types import SimpleNamespace

import pytest
import shares

ROOT = shares.lanes.TESTS.parent


class Case:
    """What a collected test is to the shares."""

    def __init__(self, nodeid, *marks):
        self.nodeid, self.marks = nodeid, [*marks]

    def get_closest_marker(self, name):
        return SimpleNamespace(name=name) if name in self.marks else None

    def add_marker(self, mark):
        self.marks.append(mark.name)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Writes the kept times."""

    def write(times):
        (tmp_path / "times.json").write_text(json.dumps(times))
        monkeypatch.setattr(shares, "TIMES", tmp_path / "times.json")
        monkeypatch.delenv(shares.PROVED, raising=False)

    return write


def marked(*cases):
    shares.pytest_collection_modifyitems([*cases])
    return ["bars" in case.marks for case in cases]


def test_cases_beyond_the_share_are_of_the_release(kept):
    kept({"tests/a.py::test_a": {"one": 9.0, "two": 0.5, "[3]-x": 3.0}})
    names = [f"tests/a.py::test_a[{case}]" for case in ("one", "two", "new", "[3]-x")]
    assert marked(*map(Case, names)) == [False, True, False, True]
    assert marked(*map(Case, names[1:])) == [False, False, False]
    assert marked(*(Case(name, "slow") for name in names)) == [False, True, False, True]
    assert marked(*(Case(name, "slow") for name in names[1:])) == [False, False, False]
    both = [Case(names[0]), Case(names[3], "slow")]
    assert marked(*both) == [False, False]  # each lane has a share of its own
    assert marked(Case("tests/a.py::test_b")) == [False]


def test_long_cases_of_the_slow_lane_are_of_the_release_but_for_promises(kept):
    promise, other = "tests/cli/test_launch.py::test_a", "tests/contract/a.py::test_a"
    kept({promise: {"": 99.0}, other: {"": 99.0, "short": 9.0}, "tests/a.py::test_a": {"": 9.0}})
    cases = (promise, other, f"{other}[short]", "tests/a.py::test_a")
    assert marked(*(Case(case, "slow") for case in cases)) == [False, True, False, False]
    assert marked(*map(Case, cases)) == [False] * 4


def test_times_are_kept_of_long_cases_and_of_tests_with_several():
    run = {
        "t.py::test_a": 99.0,
        "t.py::test_b": 5.0,
        "t.py::test_c[x]": 3.0,
        "t.py::test_c[y]": 2.0,
        "t.py::test_d[x]": 1.0,
    }
    old = {"t.py::test_c": {"x": 1.0, "z": 1.0}}
    assert shares.with_times(old, run) == {
        "t.py::test_a": {"": 99.0},
        "t.py::test_c": {"x": 3.0, "y": 2.0, "z": 1.0},
    }


def test_rows_of_nets_and_what_is_to_be_proved_have_no_share(kept, monkeypatch):
    rows = [f"tests/contract/a.py::test_a[{case}]" for case in "xy"]
    kept({"tests/contract/a.py::test_a": {"x": 9.0, "y": 9.0}, "tests/a.py::test_a": {"x": 9.0, "y": 9.0}})
    assert marked(*map(Case, rows)) == [False, False]
    cases = [f"tests/a.py::test_a[{case}]" for case in "xy"]
    assert marked(*map(Case, cases)) == [False, True]
    monkeypatch.setenv(shares.PROVED, "mlp")
    assert marked(*map(Case, cases)) == [False, False]


def test_kept_times_name_tests_that_exist():
    for test in json.loads(shares.TIMES.read_text()):
        path, _, name = test.partition("::")
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE), f"{test}: run with --record-times"
