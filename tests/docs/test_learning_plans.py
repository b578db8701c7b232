"""The page of ways to learn: fresh, with something to see each day, and nothing but what exists."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def generator():
    spec = importlib.util.spec_from_file_location("make_learn", ROOT / "tools" / "make_learn.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_fresh_and_each_day_shows_something_or_waits_for_a_topic():
    tool = generator()
    assert (ROOT / "docs" / "learn.md").read_text() == tool.main(), "run: make topics"
    shown, rows = tool.shown_by_topic(), tool.table(tool.PLANS)
    assert len({row["plan"] for row in rows}) == 5
    for row in rows:
        ids = row["topics"].split()
        assert ids, row
        assert set(ids) <= set(shown), row
        built = [each for each in ids if shown[each][0]]
        if built:
            assert any(shown[each][1] for each in built), f"{row}: no test"
    for topic, places in tool.SHOWN.items():
        assert topic in shown
        for place in places.split():
            assert (ROOT / "docs" / place).exists(), f"{topic}: {place}"


def test_the_days_of_each_plan_are_all_there():
    rows = generator().table(ROOT / "docs" / "learning_plans.tsv")
    days = {plan: [row["when"] for row in rows if row["plan"] == plan] for plan in {row["plan"] for row in rows}}
    assert days["57 days"] == [str(day) for day in range(1, 58)]
    assert days["30 days"] == [str(day) for day in range(1, 31)]
    assert len(days["10 weeks"]) == 70
