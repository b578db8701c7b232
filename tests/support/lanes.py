"""CPU time of a test lane by folder, beside the budgets of tests/budgets.json, and its longest tests: `--lanes`."""

import json
import resource
import time
from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
BUDGETS = TESTS / "budgets.json"
LONGEST = 20
NOTE = "cpu_seconds"
STARTED = pytest.StashKey[float]()
seconds: dict[str, float] = {}


def cpu_seconds() -> float:
    """Returns the CPU time of this process and of those of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Notes the time before a test and its fixtures."""
    item.stash[STARTED] = cpu_seconds()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Hangs the time that a test took on its last report, which travels to the process that prints."""
    if call.when == "teardown":
        item.user_properties.append((NOTE, cpu_seconds() - item.stash[STARTED]))
    return (yield)


def pytest_runtest_logreport(report):
    """Collects the times."""
    if report.when == "teardown":
        seconds[report.nodeid] = dict(report.user_properties).get(NOTE, 0.0)


def pytest_terminal_summary(terminalreporter, config):
    """Prints the CPU minutes of each folder beside its budget, and the longest tests."""
    lane = "default" if "not slow" in config.option.markexpr else "slow"
    budgets = json.loads(BUDGETS.read_text())[lane]
    used = Counter()
    for test, taken in seconds.items():
        used[folder_of(test)] += taken / 60
    terminalreporter.section(f"CPU minutes of the {lane} lane, and budgets")
    for folder, minutes in used.most_common():
        budget = budgets.get(folder)
        over = "  over" if budget is not None and minutes > budget else ""
        terminalreporter.line(f"{minutes:8.2f} {'-' if budget is None else budget:>6}  {folder}{over}")
    terminalreporter.line(f"{sum(used.values()):8.2f} {sum(budgets.values()):6.1f}  whole lane")
    terminalreporter.section(f"the {LONGEST} longest tests, CPU seconds")
    for test, taken in Counter(seconds).most_common(LONGEST):
        terminalreporter.line(f"{taken:8.1f}  {test}")


def folder_of(test: str) -> str:
    """Returns the folder of a test by its id, such as "train" or "deploy/onnx"."""
    parts = Path(test.partition("::")[0]).parts[1:-1]
    return "/".join(parts) or "."
