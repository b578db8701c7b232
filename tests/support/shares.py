"""Shares of a lane: a test of many cases runs as many of them as its CPU seconds allow; `make bars` runs the others.

Rows of the contract and of the docstrings, a case for each net or name, have no share. `--record-times` keeps the
times of a run in tests/times.json, from which the next one chooses. A case without a time always runs.
"""

import json
import os
from collections import defaultdict

import lanes
import pytest

TIMES = lanes.TESTS / "times.json"
SHARES = {"default": 4.0, "slow": 8.0}
"""CPU seconds of a test, all its cases together; the first case runs always."""
LARGER = {"tests/docs/test_snippets.py::test_snippets_run": 150.0}
"""Shares of tests whose cases are not alike, so that a few of them say little of the others."""
WHOLE = ("tests/contract/", "tests/core/")
PROVED = "KERASDL_PROVE"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks the cases beyond the share of their test as bars, before the lanes choose by marks."""
    if os.environ.get(PROVED):
        return
    times, spent = json.loads(TIMES.read_text()), defaultdict(float)
    for item in items:
        test, case = parted(item.nodeid)
        if item.nodeid.startswith(WHOLE) or item.get_closest_marker("bars"):
            continue
        lane = "slow" if item.get_closest_marker("slow") else "default"
        seconds = times.get(test, {}).get(case, 0.0)
        if seconds and spent[lane, test] and spent[lane, test] + seconds > LARGER.get(test, SHARES[lane]):
            item.add_marker(pytest.mark.bars)
        else:
            spent[lane, test] += seconds


def pytest_sessionfinish(session):
    """Keeps the times of the cases of tests that take more than the smallest share."""
    is_worker = hasattr(session.config, "workerinput")
    if is_worker or not session.config.getoption("--record-times"):
        return
    times = json.loads(TIMES.read_text())
    for nodeid, taken in lanes.seconds.items():
        test, case = parted(nodeid)
        if case and not nodeid.startswith(WHOLE):
            times.setdefault(test, {})[case] = round(taken, 1)
    kept = {test: cases for test, cases in sorted(times.items()) if sum(cases.values()) > min(SHARES.values())}
    TIMES.write_text(json.dumps(kept, indent=1) + "\n")


def parted(nodeid: str) -> tuple[str, str]:
    """Returns the id of a test without its case, and the case; "" of a test with one."""
    test, _, case = nodeid.partition("[")
    return test, case.removesuffix("]")
