"""Exported forecasters: raw windows in and raw forecasts out, and the program beside the file."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from filling import fill_weights

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.data.series import TimeSeries, window_series
from kerasdl.deploy import run_exported

RNG = np.random.default_rng(0)
STEPS = 120
COLUMNS = {
    "sold": 300 + 40 * RNG.normal(size=STEPS),
    "back": 0.01 * RNG.normal(size=STEPS) - 5,
    "price": 7 + RNG.normal(size=STEPS),
}
DISTRIBUTIONS = {"point": "point", "gaussian": "gaussian", "quantiles": (0.1, 0.4, 0.6)}


def bundle_of(distribution, ahead=False):
    series = TimeSeries(
        np.arange(STEPS),
        COLUMNS,
        ("sold", "back"),
        () if ahead else ("price",),
        ("price",) if ahead else (),
        name="shop",
    )
    data = window_series(series, 8, 3)
    sizes = {"length": 8, "horizon": 3, "channels": 3, "targets": 2, "future": int(ahead)}
    sizes = sizes if ahead else {name: size for name, size in sizes.items() if name != "future"}
    name = "lstm_forecaster" if ahead else "tcn_forecaster"
    small = {"units": 4, "depth": 1} if ahead else {"filters": 4, "depth": 1}
    network = fill_weights(kerasdl.build(name, **sizes, **small, distribution=distribution))
    settings = {"name": "shop", "task": "forecasting", "preprocess": data.settings, "labels": series.target}
    return Bundle.of(network, **settings)


def write_csv(path, names, start, stop, gaps=()):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["day", *names])
        for step in range(start, stop):
            cells = ["" if (step, name) in gaps else float(COLUMNS[name][step]) for name in names]
            writer.writerow([step, *cells])


def answered(program, *paths):
    """Returns the table that a program prints, by column."""
    command = [sys.executable, str(program), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    head, *rows = [line.split("\t") for line in done.stdout.splitlines()]
    return dict(zip(head, np.array(rows, float).T, strict=True))


def expected(bundle, raw):
    """Returns the table of a bundle, by column."""
    rows = bundle.task.table(bundle.predict(raw)[0])
    return {name: [row[name] for row in rows] for name in rows[0]}


def check_same(found, wanted):
    assert set(found) == set(wanted)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=2e-4, err_msg=name)


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_a_file_of_raw_windows_gives_forecasts_in_their_unit(kind, tmp_path):
    bundle, path = bundle_of(DISTRIBUTIONS[kind]), tmp_path / "shop.onnx"
    bundle.export(path, raw_shape=(8, 3))
    window = np.stack([COLUMNS[name][60:68] for name in COLUMNS], axis=1)
    (found,) = run_exported(path, window[None].astype("float32")).values()
    rows = expected(bundle, window[None])
    if kind == "point":
        np.testing.assert_allclose(found[0], np.stack([rows["sold"], rows["back"]], axis=1), rtol=2e-4)
    if kind == "gaussian":
        np.testing.assert_allclose(found[0, :, 0, 0], rows["sold"], rtol=2e-4)
        np.testing.assert_allclose(np.exp(found[0, :, 1, 1]), rows["back std"], rtol=2e-4)
    facts = json.loads((tmp_path / "shop.onnx.json").read_text())
    assert facts["series"]["in_unit"] is True
    assert "std" not in " ".join(facts["series"]["steps"])
    write_csv(tmp_path / "shop.csv", COLUMNS, 50, 68)
    check_same(answered(f"{path}.py", tmp_path / "shop.csv"), rows)


@pytest.mark.parametrize("kind", ["gaussian", "quantiles"])
def test_a_file_of_scaled_windows_has_a_program_that_scales(kind, tmp_path):
    bundle, path = bundle_of(DISTRIBUTIONS[kind]), tmp_path / "shop.onnx"
    bundle.export(path)
    text = (tmp_path / "shop.onnx.md").read_text()
    assert "Feed value = (value - mean) / std of its column, float32." in text
    assert "* std" in text
    window = np.stack([COLUMNS[name][60:68] for name in COLUMNS], axis=1)
    window[0, 0] = window[4, 2] = np.nan
    write_csv(tmp_path / "shop.csv", COLUMNS, 60, 68, gaps=((60, "sold"), (64, "price")))
    check_same(answered(f"{path}.py", tmp_path / "shop.csv"), expected(bundle, window[None]))


def test_a_tflite_file_takes_covariates_in_advance(tmp_path):
    bundle, path = bundle_of("point", ahead=True), tmp_path / "shop.tflite"
    bundle.export(path)
    window = np.stack([COLUMNS[name][60:68] for name in bundle.preprocess["channels"]], axis=1)
    ahead = COLUMNS["price"][68:71, None]
    write_csv(tmp_path / "shop.csv", COLUMNS, 60, 68)
    write_csv(tmp_path / "next.csv", ["price"], 68, 72)
    found = answered(f"{path}.py", tmp_path / "shop.csv", tmp_path / "next.csv")
    check_same(found, expected(bundle, {"window": window[None], "future": ahead[None]}))
    with pytest.raises(subprocess.CalledProcessError):
        answered(f"{path}.py", tmp_path / "shop.csv")
