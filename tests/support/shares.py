"""Shares of a lane: a test of many cases runs as many of them as its CPU seconds allow; `make bars` runs the others.

Cases of the slow lane that take long are bars too, but for those of PROMISES. Rows of the contract and of the
docstrings, a case for each net or name, have no share. `--record-times` keeps the times of a run in tests/times.json,
from which the next one chooses. A case without a time always runs.
"""

import json
import os
from collections import defaultdict

import lanes
import pytest

TIMES = lanes.TESTS / "times.json"
SHARES = {"default": 4.0, "slow": 6.0}
"""CPU seconds of a test, all its cases together; the first case runs always."""
LARGER = {"tests/docs/test_snippets.py::test_snippets_run": 120.0}
"""Shares of tests whose cases are not alike, so that a few of them say little of the others."""
LONGEST = 12.0
"""CPU seconds of a case of the slow lane."""
PROMISES = (
    *("tests/core/test_project.py", "tests/contract/test_contract.py", "tests/docs/", "tests/fuzz/"),
    *("tests/bundles/test_bundle.py::test_embedded", "tests/cli/test_commands.py::test_a_folder"),
    *("tests/cli/test_detection_commands.py::test_a_detector", "tests/cli/test_launch.py"),
    *(f"tests/train/loop/test_survival.py::test_{name}" for name in ("kills", "sigterm", "a_full_disk")),
)
"""Starts of tests that hold what the README promises, whatever they take."""
WHOLE = ("tests/contract/", "tests/core/")
PROVED = "KERASDL_PROVE"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks the cases beyond the share of their test as bars, before the lanes choose by marks."""
    if os.environ.get(PROVED):
        return
    times, spent = json.loads(TIMES.read_text()), defaultdict(float)
    for item in items:
        if item.get_closest_marker("bars"):
            continue
        test, case = parted(item.nodeid)
        lane = "slow" if item.get_closest_marker("slow") else "default"
        seconds = times.get(test, {}).get(case, 0.0)
        if lane == "slow" and seconds > LONGEST and not item.nodeid.startswith(PROMISES):
            item.add_marker(pytest.mark.bars)
        elif item.nodeid.startswith(WHOLE) or not case:
            continue
        elif seconds and spent[lane, test] and spent[lane, test] + seconds > LARGER.get(test, SHARES[lane]):
            item.add_marker(pytest.mark.bars)
        else:
            spent[lane, test] += seconds


def pytest_sessionfinish(session):
    """Keeps the times of the cases of tests that take more than the smallest share."""
    is_worker = hasattr(session.config, "workerinput")
    if not is_worker and session.config.getoption("--record-times"):
        TIMES.write_text(json.dumps(with_times(json.loads(TIMES.read_text()), lanes.seconds), indent=1) + "\n")


def with_times(times: dict[str, dict[str, float]], seconds: dict[str, float]) -> dict[str, dict[str, float]]:
    """Returns kept times, with those of a run by test id, as far as lanes are chosen from them."""
    times = {test: dict(cases) for test, cases in times.items()}
    for nodeid, taken in seconds.items():
        test, case = parted(nodeid)
        if taken > LONGEST or (case and not nodeid.startswith(WHOLE)):
            times.setdefault(test, {})[case] = round(taken, 1)
    return {test: cases for test, cases in sorted(times.items()) if sum(cases.values()) > min(SHARES.values())}


def parted(nodeid: str) -> tuple[str, str]:
    """Returns the id of a test without its case, and the case; "" of a test with one."""
    test, _, case = nodeid.partition("[")
    return test, case.removesuffix("]")
