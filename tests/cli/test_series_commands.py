"""Time series on the command line: a CSV file is learnt, measured and forecast, and wrong calls are refused."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import kerasdl
from kerasdl.cli.application import app
from kerasdl.cli.commands import main
from kerasdl.data.series import read_series

assert main  # its import fills the application
ROLES = ["--time", "day", "--target", "sold", "--future", "offer", "--series", "shop"]
STEPS, KNOWN = 110, 107


@pytest.fixture(scope="module")
def shops(tmp_path_factory):
    """Returns `csv:FILE` of two shops that sell three more on offers; the last three days hold the offers alone."""
    rng, rows = np.random.default_rng(0), ["day,shop,sold,offer"]
    for shop, level in (("a", 10), ("b", 14)):
        for step, offer in enumerate(rng.integers(0, 2, STEPS)):
            day = np.datetime64("2024-01-01") + step
            sold = "" if step >= KNOWN else f"{level + 3 * offer + rng.normal(0, 0.1):.3f}"
            rows.append(f"{day},{shop},{sold},{offer}")
    path = tmp_path_factory.mktemp("shops") / "shops.csv"
    path.write_text("\n".join(rows) + "\n")
    return f"csv:{path}"


def called(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


@pytest.fixture(scope="module")
def learnt(shops, tmp_path_factory):
    """Returns the path of a bundle that learnt the shops, and what `finetune` printed."""
    out = tmp_path_factory.mktemp("learnt") / "shops.zip"
    steps = ["--horizon", 3, "--length", 6, "--epochs", 2]
    return out, called("finetune", shops, "--task", "forecasting", *ROLES, *steps, "--out", out, "--json")


def test_a_csv_file_is_learnt_and_measured(shops, learnt):
    out, told = learnt
    assert told["notes"][0].endswith("2 series; windows of 6 steps to forecast 3.")
    bundle = kerasdl.load_bundle(out)
    assert bundle.preprocess["channels"] == ["sold", "offer"]
    assert {name: bundle.preprocess[name] for name in ("time", "series")} == {"time": "day", "series": "shop"}
    found = called("evaluate", out, shops, "--json")
    data = kerasdl.data.series.window_series(
        read_series(shops, time="day", target="sold", future=["offer"], series="shop"), 6, 3
    )
    assert found["mae"] == pytest.approx(bundle.evaluate(data.test)["mae"], rel=1e-5)
    last = [float(note.split()[8]) for note in found["notes"]]
    errors = []
    for series in data.series:
        sold = series.values("target")[:, 0]
        firsts = data.origins["test"][: len(data.origins["test"]) // 2, 1]
        errors += [np.abs(sold[step : step + 3] - sold[step - 1]) for step in firsts]
    np.testing.assert_allclose(last, [np.nanmean(errors)], rtol=1e-3)


def test_the_next_steps_follow_the_last_known_ones(shops, learnt):
    found = called("predict", learnt[0], shops, "--json")
    assert [each["input"] for each in found] == ["a", "b"]
    assert found[0]["times"] == ["2024-04-17", "2024-04-18", "2024-04-19"]
    series = read_series(shops, time="day", target="sold", future=["offer"], series="shop")
    raw = {
        "window": np.stack([each.values()[KNOWN - 6 : KNOWN] for each in series]),
        "future": np.stack([each.values("future")[KNOWN:] for each in series]),
    }
    for answer, wanted in zip(found, kerasdl.load_bundle(learnt[0]).predict(raw), strict=True):
        np.testing.assert_allclose(answer["forecast"]["sold"], wanted["forecast"]["sold"], rtol=1e-5)
    text = CliRunner().invoke(app, ["predict", str(learnt[0]), shops]).output
    assert "2024-04-19" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["finetune", "SHOPS", "--time", "day", "--target", "sold"], "needs --time, --target and --horizon"),
        (["finetune", "SHOPS", *ROLES, "--horizon", "3", "--task", "text_classification"], "the task of --time"),
        (["finetune", "SHOPS", *ROLES, "--horizon", "3", "--text", "sold"], "text is not for time series"),
        (["finetune", "SHOPS", *ROLES, "--horizon", "70"], "must have a window"),
        (["finetune", "LEARNT", "SHOPS", "--horizon", "4"], "horizon must be that of the bundle, 3"),
        (["finetune", "digits", *ROLES, "--horizon", "3"], "must be csv:FILE"),
        (["predict", "series_tcn", "SHOPS"], "Pass --time COLUMN"),
        (["evaluate", "LEARNT", "SHOPS", "--split", "all"], "split must be one of"),
    ],
)
def test_wrong_calls_are_refused(arguments, words, shops, learnt, tmp_path):
    given = {"SHOPS": shops, "LEARNT": str(learnt[0])}
    out = ["--out", str(tmp_path / "x.zip")] if arguments[0] == "finetune" else []
    done = CliRunner().invoke(app, [given.get(each, each) for each in arguments] + out)
    assert done.exit_code == 2
    assert words in done.output


def test_offers_that_are_not_known_are_asked_for(shops, learnt, tmp_path):
    lines = shops.removeprefix("csv:")
    short = tmp_path / "short.csv"
    with open(lines) as file:
        short.write_text("".join(line for line in file if "2024-04-19" not in line))
    done = CliRunner().invoke(app, ["predict", str(learnt[0]), f"csv:{short}"])
    assert done.exit_code == 3
    assert "a must have 3 rows of offer behind its last value; it has 2" in done.output
