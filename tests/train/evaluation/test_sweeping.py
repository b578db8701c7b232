"""Sweeps: the statistics against SciPy, pairing by seed, failures, folders that go on, table and picture."""

import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

import kerasdl
from kerasdl.core.errors import ArgumentError, DataError, TrainingError
from kerasdl.train import Run
from kerasdl.train.evaluation import sweep_results, sweeps
from kerasdl.train.evaluation.sweeps import sweep

SCRIPT = """
import sys, time
from kerasdl.train.evaluation.sweeps import sweep

def run(setting, seed):
    time.sleep(0.1)
    return setting["height"] + seed + (setting["kind"] in {"plain", "wide", "tall", "flat"})

print(sweep(run, {"height": [1.0, 2.0], "kind": ["plain", "other"]}, folder=sys.argv[1], figure="sum").to_json())
"""


def height(setting, seed):
    return setting["height"] + seed / 10


def of(values, *others, mode="max", confidence=0.95):
    """Returns the result of cells whose values are given, a list each, by seeds 0, 1, ..."""
    table = [values, *others]
    settings = [{"row": row} for row in range(len(table))]
    options = {"seeds": range(len(values)), "mode": mode, "confidence": confidence, "progress": "off"}
    return sweep(lambda setting, seed: table[setting["row"]][seed], settings, **options)


numbers = st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=2, max_size=12)


@given(numbers, st.floats(0.5, 0.999))
def test_intervals_are_those_of_scipy(values, confidence):
    found = sweep_results.interval_of(values, confidence)
    assert found.mean == pytest.approx(np.mean(values), rel=1e-12, abs=1e-12)
    assert found.deviation == pytest.approx(statistics.stdev(values), rel=1e-9, abs=1e-12)
    error = stats.sem(values)
    if error > 1e-9:
        low, high = stats.t.interval(confidence, len(values) - 1, loc=np.mean(values), scale=error)
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=2, max_size=8))
def test_a_difference_counts_where_the_paired_test_rejects(pairs):
    first, second = ([float(pair[row]) for pair in pairs] for row in (0, 1))
    cell = of(first, second).cells[1]
    steps = np.subtract(second, first)
    assert cell.difference.mean == pytest.approx(steps.mean(), abs=1e-12)
    if len(set(steps)) > 1:
        p = stats.ttest_rel(second, first).pvalue
        if abs(p - 0.05) > 1e-9:
            assert (cell.verdict != "unclear") == (p < 0.05)
    else:
        assert cell.verdict == ("unclear" if steps[0] == 0 else "better" if steps[0] > 0 else "worse")


def test_the_textbook_table_of_student():
    """Student's own data (1908, section IX): extra sleep of ten patients under two drugs; the difference has t 4.06."""
    one = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    two = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    first, second = of(one, two).cells
    assert first.interval.mean == pytest.approx(0.75)
    assert second.interval.mean == pytest.approx(2.33)
    assert second.difference.mean == pytest.approx(1.58)
    assert second.difference.mean / (second.difference.deviation / math.sqrt(10)) == pytest.approx(4.06, abs=0.005)
    assert (second.difference.low, second.difference.high) == pytest.approx((0.70, 2.46), abs=0.005)
    assert second.verdict == "better"
    # Not paired, the same figures do not tell the drugs apart.
    assert stats.ttest_ind(one, two).pvalue > 0.05


def test_of_one_seed_nothing_is_known():
    result = of([1.0], [9.0])
    for cell in result.cells:
        assert (cell.interval.deviation, cell.interval.low, cell.interval.high, cell.interval.n) == (
            None,
            None,
            None,
            1,
        )
    assert result.cells[1].difference.low is None
    assert result.cells[1].verdict == "unclear"
    assert json.loads(result.to_json())["cells"][0]["interval"]["low"] is None
    assert result.table().count("unknown") == 3


def test_less_can_be_better():
    result = of([3.0, 3.1, 3.2], [1.0, 1.2, 1.1], [5.0, 5.1, 5.3], mode="min")
    assert [cell.verdict for cell in result.cells] == ["first", "better", "worse"]
    assert result.best is result.cells[1]
    assert of([3.0, 3.1], [1.0, 1.2]).best.setting == {"row": 0}


def test_every_setting_meets_the_same_seeds_and_the_same_random_numbers():
    calls = []

    def run(setting, seed):
        calls.append((setting["a"], setting["b"], seed))
        return np.random.normal()

    result = sweep(run, {"a": [1, 2], "b": ["x", "y"]}, seeds=(3, 5), progress="off")
    cells = [(1, "x"), (1, "y"), (2, "x"), (2, "y")]
    assert sorted(calls) == sorted((*cell, seed) for cell in cells for seed in (3, 5))
    assert calls[:4] == [(*cell, 3) for cell in cells]
    assert all(cell.values == result.cells[0].values for cell in result.cells)
    assert [cell.difference.mean for cell in result.cells[1:]] == [0.0] * 3


def test_labels_say_what_varies():
    grid = sweep(lambda setting, seed: 0.0, {"rate": np.array([1e-3, 1e-2]), "width": [8]}, progress="off")
    assert [cell.label for cell in grid.cells] == ["rate=0.001", "rate=0.01"]
    one_by_one = [{"rate": 0.1}, {"rate": 0.1, "ema": True}, {"rate": 0.2}]
    listed = sweep(lambda setting, seed: 0.0, one_by_one, progress="off")
    assert [cell.label for cell in listed.cells] == ["rate=0.1", "rate=0.1, ema=True", "rate=0.2"]
    assert sweep(lambda setting, seed: 0.0, [{"rate": 0.1}], progress="off").cells[0].label == "rate=0.1"
    assert sweep(lambda setting, seed: 0.0, [{}], progress="off").cells[0].label == "as it is"


def test_a_run_that_fails_is_kept_and_the_others_go_on():
    def run(setting, seed):
        if setting["rate"] == 9 or (setting["rate"] == 2 and seed == 1):
            raise TrainingError("loss not finite at step 3")
        return math.nan if (setting["rate"], seed) == (1, 2) else setting["rate"] + seed

    result = sweep(run, {"rate": [1, 2, 9]}, progress="off")
    first, second, third = result.cells
    assert (first.values, first.failures) == ({0: 1.0, 1: 2.0}, {2: "val_accuracy is nan"})
    assert (second.values, second.failures) == ({0: 2.0, 2: 4.0}, {1: "loss not finite at step 3"})
    assert (second.difference.n, second.difference.mean) == (1, 1.0)  # seed 0 alone has both
    assert (third.interval, third.difference, third.verdict) == (None, None, "unclear")
    lines = result.table().splitlines()
    assert "2 of 3" in lines[1]
    assert "0 of 3" in lines[3]
    assert "rate=2, seed 1 failed: loss not finite at step 3" in lines
    assert result.best is second
    result.plot()


def test_other_errors_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        sweep(lambda setting, seed: 1 / seed, {"a": [1]}, progress="off")


def test_takes_a_number_figures_or_a_run():
    history = {"val_accuracy": [0.1, 0.9, 0.5]}
    best = Run(None, history, kerasdl.train.loop.state.Best(0.9, 2), 1.0, 3, None, False, "finished")
    last = Run(None, history, None, 1.0, 3, None, False, "finished")
    for outcome, value in ((0.5, 0.5), ({"val_accuracy": np.float32(0.25)}, 0.25), (best, 0.9), (last, 0.5)):
        assert sweep(lambda setting, seed, it=outcome: it, [{}], seeds=[0], progress="off").cells[0].values == {
            0: value
        }
    with pytest.raises(ArgumentError, match=r"figure must name one of \('val_accuracy',\); got 'val_loss'"):
        sweep(lambda setting, seed: best, [{}], figure="val_loss", progress="off")
    with pytest.raises(ArgumentError, match="run must return a Run, figures by name or a number; got None"):
        sweep(lambda setting, seed: None, [{}], progress="off")


def test_a_stopped_sweep_goes_on_with_what_is_missing(tmp_path, capsys):
    calls = []

    def run(setting, seed):
        calls.append((setting["height"], seed))
        if stop and len(calls) == 3:
            raise KeyboardInterrupt
        return height(setting, seed)

    stop, options = True, {"seeds": (0, 1), "folder": tmp_path, "figure": "sum"}
    with pytest.raises(KeyboardInterrupt):
        sweep(run, {"height": [1.0, 2.0]}, **options)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"interrupted after 2 of 4 runs: kept in {tmp_path}; the same call continues"
    assert lines[0].startswith("1/4  height=1.0  seed 0  sum 1  0.0 s")
    stop = False
    result = sweep(run, {"height": [1.0, 2.0]}, **options)
    assert calls[3:] == [(1.0, 1), (2.0, 1)]
    assert capsys.readouterr().out.splitlines()[0] == f"2 of 4 runs were found in {tmp_path}"
    assert [cell.values for cell in result.cells] == [{0: 1.0, 1: 1.1}, {0: 2.0, 1: 2.1}]
    assert sweep(run, {"height": [1.0, 2.0]}, **options).cells[0].values == result.cells[0].values
    sweep(run, {"height": [1.0, 2.0]}, **{**options, "seeds": (0, 1, 2)})
    assert calls[5:] == [(1.0, 2), (2.0, 2)]


def test_a_failed_run_is_not_made_again(tmp_path):
    calls = []

    def run(setting, seed):
        calls.append(seed)
        raise TrainingError("too hot")

    for _ in range(2):
        result = sweep(run, [{}], folder=tmp_path, seeds=[4], progress="off")
        assert result.cells[0].failures == {4: "too hot"}
    assert calls == [4]


def test_the_folder_of_another_sweep_is_refused(tmp_path):
    options = {"folder": tmp_path, "figure": "sum", "progress": "off"}
    sweep(height, {"height": [1.0]}, **options)
    with pytest.raises(ArgumentError, match=r"the same settings.*cells is \[{'height': 1.0}\] there"):
        sweep(height, {"height": [2.0]}, **options)
    with pytest.raises(ArgumentError, match="figure is 'sum' there, 'loss' here"):
        sweep(height, {"height": [1.0]}, **{**options, "figure": "loss"})
    with pytest.raises(ArgumentError, match=r"run is 'height .*' there"):
        sweep(lambda setting, seed: height(setting, seed) + 1, {"height": [1.0]}, **options)
    assert sweep(height, {"height": [1.0]}, **options, confidence=0.9).confidence == 0.9


@pytest.mark.parametrize("text", ["", "{", "[]", '{"value": "x", "error": null, "seconds": 1}', '{"seconds": 1}'])
def test_a_damaged_file_is_named(tmp_path, text):
    options = {"folder": tmp_path, "seeds": [0], "progress": "off"}
    sweep(height, {"height": [1.0]}, **options)
    file = tmp_path / "runs" / "000_seed_0.json"
    file.write_text(text)
    with pytest.raises(DataError, match=r"000_seed_0\.json is damaged\. Remove it"):
        sweep(height, {"height": [1.0]}, **options)
    file.unlink()
    sweep(height, {"height": [1.0]}, **options)


@pytest.mark.slow
def test_a_killed_sweep_ends_with_the_result_of_an_undisturbed_one(tmp_path):
    """Another process finds the same plan, though a set of texts in the function has another order there."""
    paths = os.pathsep.join(filter(None, [str(Path(kerasdl.__file__).parents[1]), os.environ.get("PYTHONPATH")]))

    def start(seed):
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": paths, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
        return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE)

    killed = start("1")
    while len(list(tmp_path.glob("runs/*.json"))) < 3 and killed.poll() is None:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    there = len(list(tmp_path.glob("runs/*.json")))
    text = start("3").communicate()[0]
    assert f"{there} of 12 runs were found" in text
    cells = json.loads(text[text.index("\n{") :])["cells"]
    bases = [height + (kind == "plain") for height in (1.0, 2.0) for kind in ("plain", "other")]
    assert [cell["values"] for cell in cells] == [{str(seed): base + seed for seed in range(3)} for base in bases]


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({"a": "xy"}, {}, "the values of 'a' must be a list; got 'xy'"),
        ({"a": 1}, {}, "the values of 'a' must be a list; got 1"),
        ({"a": []}, {}, "settings must hold at least one, and no two equal ones"),
        ([{"a": 1}, {"a": 1}], {}, "no two equal ones"),
        (7, {}, "settings must be a mapping from names to values, or a list of mappings; got 7"),
        ({"a": [object()]}, {}, "a setting must hold text, numbers"),
        ([{}], {"seeds": []}, "seeds must be different integers"),
        ([{}], {"seeds": (1, 1)}, "seeds must be different integers"),
        ([{}], {"seeds": (0.5,)}, "a seed must be an integer of 0 or more"),
        ([{}], {"mode": "best"}, "mode must be one of"),
        ([{}], {"confidence": 1.0}, "confidence must lie between 0 and 1"),
        ([{}], {"confidence": 95}, "confidence must be a number from"),
        ([{}], {"progress": "loud"}, "progress must be one of"),
    ],
)
def test_refuses_what_it_cannot_compare(settings, options, message):
    with pytest.raises(ArgumentError, match=message):
        sweep(lambda setting, seed: 0.0, settings, **options)


def test_the_table_reads_as_measured():
    rows = of([0.90, 0.92, 0.94], [0.95, 0.96, 0.97]).table().splitlines()
    assert rows[0].split("  ")[0] == "setting"
    assert rows[0].split() == [
        *["setting", "val_accuracy", "95", "%", "interval", "deviation", "n"],
        *["to", "the", "first", "95", "%", "interval"],
    ]
    reach = stats.t.ppf(0.975, 2) * 0.02 / math.sqrt(3)
    assert rows[1].split() == ["row=0", "0.9200", f"{0.92 - reach:.4f}", "to", f"{0.92 + reach:.4f}", "0.0200", "3"]
    assert rows[2].split()[-5:] == ["+0.0400", "+0.0152", "to", "+0.0648", "better"]
    assert len({row.index("0.9") for row in rows[1:]}) == 1


def test_the_picture_shows_every_cell(tmp_path):
    result = of([0.90, 0.92, 0.94], [0.95, 0.96, 0.97])
    axes = result.plot(tmp_path / "sweep.png").axes[0]
    assert Image.open(tmp_path / "sweep.png").size[0] > 600
    assert [text.get_text() for text in axes.get_yticklabels()] == ["row=0", "row=1"]
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
    for row, cell in enumerate(result.cells):
        assert ([cell.interval.mean], [row]) in drawn
        assert ([cell.interval.low, cell.interval.high], [row, row]) in drawn
        assert any(xs == list(cell.values.values()) and {round(y - row, 2) for y in ys} == {0.22} for xs, ys in drawn)
    assert ([0.92, 0.92], [0, 1]) in [([round(x, 9) for x in xs], ys) for xs, ys in drawn]


def test_time_left_reads_as_a_clock():
    assert [sweeps._clock(seconds) for seconds in (0.2, 59.5, 61, 3725)] == ["0:01", "1:00", "1:01", "1:02:05"]
