"""Time series: tables read by line, windows cut by time, leaks planted and found, embedded and drawn series."""

import dataclasses

import numpy as np
import pytest

from kerasdl.core import ArgumentError, DataError
from kerasdl.data import list_datasets, load
from kerasdl.data.series import (
    SeriesScaling,
    TimeSeries,
    calendar_columns,
    check_leakage,
    load_series,
    plant_anomalies,
    random_walks,
    read_series,
    seasonal_series,
    window_series,
)
from kerasdl.data.series.named import SERIES


def two_columns(steps=120, seed=0, **roles):
    rng = np.random.default_rng(seed)
    columns = {
        "sold": rng.normal(size=steps).cumsum() + 50,
        "wind": rng.normal(size=steps),
        "price": rng.normal(size=steps),
    }
    return TimeSeries(np.arange(steps), columns, ("sold",), ("wind",), ("price",), **roles)


def test_windows_hold_the_steps_before_their_labels_and_parts_follow_in_time():
    series = two_columns(static={"size": 7.0}, name="shop")
    data = window_series(series, 8, 3)
    assert series.channels == ("sold", "wind", "price", "size")
    ends = 0
    for split, (low, high) in {"train": (8, 72), "validation": (72, 96), "test": (96, 120)}.items():
        dataset, origins = getattr(data, split), data.origins[split]
        inputs, labels = dataset.arrays()
        steps = origins[:, 1]
        assert steps.min() == max(low, ends)
        assert steps.max() + 3 == high
        ends = high
        for place in (0, len(steps) - 1):
            step = steps[place]
            raw = inputs["window"][place] * dataset.feature_std + dataset.feature_mean
            np.testing.assert_allclose(raw, series.values()[step - 8 : step], atol=1e-4)
            ahead = data.scaling.unscaled(labels[place])
            np.testing.assert_allclose(ahead, series.values("target")[step : step + 3], atol=1e-4)
            price = inputs["future"][place] * dataset.feature_std[2] + dataset.feature_mean[2]
            np.testing.assert_allclose(price, series.values("future")[step : step + 3], atol=1e-4)
    np.testing.assert_allclose(data.scaling.mean, series.values()[:72].mean(axis=0))


def test_several_series_share_windows_and_a_scaling():
    series = [*seasonal_series(200, count=3, seed=1), *seasonal_series(150, seed=2)]
    data = check_leakage(window_series(series, 24, 6, stride=2))
    assert set(data.origins["test"][:, 0]) == {0, 1, 2, 3}
    assert data.train.size == 3 * len(range(24, 115, 2)) + len(range(24, 85, 2))
    past = np.concatenate([each.values()[: round(each.size * 0.6)] for each in series])
    np.testing.assert_allclose(data.scaling.std, past.std(axis=0))


def test_missing_inputs_take_the_last_value_and_missing_labels_weigh_nothing():
    values = np.arange(60.0)
    values[[20, 21, 40]] = np.nan
    data = window_series(TimeSeries(np.arange(60), {"x": values}, ("x",)), 5, 2)
    origins = data.origins["train"][:, 1]
    (inputs, labels), weights = data.train.arrays(), data.train.source.weights
    assert np.isfinite(inputs).all()
    assert np.isfinite(labels).all()
    place = int(np.flatnonzero(origins == 22)[0])
    np.testing.assert_allclose(
        inputs[place, :, 0] * data.scaling.std + data.scaling.mean, [17, 18, 19, 19, 19], atol=1e-4
    )
    np.testing.assert_array_equal(weights[origins == 20], [[0, 0]])
    np.testing.assert_array_equal(weights[origins == 21], [[0, 1]])
    assert weights.sum() == weights.size - 4
    scaling = SeriesScaling.of(values[:, None], 1)
    assert scaling.scaled(np.full((1, 3, 1), np.nan)).tolist() == [[[0.0], [0.0], [0.0]]]


def replaced(data, **origins):
    return dataclasses.replace(data, origins={**data.origins, **origins})


def test_planted_leaks_are_found():
    series = seasonal_series(300, noise=0.5)[0]
    data = check_leakage(window_series(series, 24, 6))
    every = np.concatenate([*data.origins.values()])
    mixed = np.random.default_rng(0).permutation(every)
    with pytest.raises(DataError, match=r"leak: step .* is forecast in validation"):
        check_leakage(replaced(data, train=mixed[:150], validation=mixed[150:200], test=mixed[200:]))
    with pytest.raises(DataError, match="leak: the mean of value"):
        check_leakage(dataclasses.replace(data, scaling=SeriesScaling.of(series.values(), 1)))


@pytest.mark.parametrize(("size", "level"), [(1e-7, 0.0), (1.0, 1e6), (1e-9, 1e-9), (5.0, 1e9)])
def test_series_of_any_size_are_scaled_and_their_leaks_found(size, level):
    series = random_walks(300)[0]
    (name,) = series.target
    walk = level + size * np.random.default_rng(0).normal(size=series.size).cumsum()
    series = dataclasses.replace(series, columns={name: walk})
    data = check_leakage(window_series(series, 12, 3))
    assert np.abs(data.train.arrays()[0]).mean() == pytest.approx(0.8, abs=0.3)
    with pytest.raises(DataError, match="leak: the mean of"):
        check_leakage(dataclasses.replace(data, scaling=SeriesScaling.of(series.values(), 1)))
    assert SeriesScaling.of(np.full((1000, 1), level + size), 1).std == (1.0,)


@pytest.mark.parametrize(
    ("role", "shift", "words"),
    [("past", -2, "moves as value does 2 steps later"), ("future", 0, "known in advance and moves as value")],
)
def test_a_column_that_knows_the_target_is_found(role, shift, words):
    series = seasonal_series(300, noise=0.5)[0]
    shifted = 3 - 2 * np.roll(series.columns["value"], shift)
    planted = dataclasses.replace(series, columns={**series.columns, "hint": shifted}, **{role: ("hint",)})
    with pytest.raises(DataError, match=words):
        check_leakage(window_series(planted, 24, 6))
    harmless = dataclasses.replace(planted, columns={**series.columns, "hint": np.roll(shifted, -2 * shift + 1)})
    assert check_leakage(window_series(harmless, 24, 6))


CSV = """day,shop,sold,price,size
2024-02-28,a,3,1.5,10
2024-03-01,a,5,1.6,10
2024-02-29,a,NA,1.5,10
2024-02-28,b,7,2,20
2024-03-02,b,9,2,20
"""


def test_a_table_becomes_series_with_steps_that_are_missing(tmp_path):
    file = tmp_path / "sales.csv"
    file.write_text(CSV)
    roles = dict(time="day", target="sold", future=["price"], static=["size"], series="shop")
    a, b = read_series(f"csv:{file}", **roles)
    np.testing.assert_array_equal(a.columns["sold"], [3, np.nan, 5])
    assert a.times.tolist() == [np.datetime64(day).item() for day in ("2024-02-28", "2024-02-29", "2024-03-01")]
    assert (a.name, b.name, a.static["size"], b.static["size"]) == ("a", "b", 10, 20)
    months = tmp_path / "months.csv"
    months.write_text("month,x\n2024-01-01,1\n2024-02-01,2\n2024-04-01,4\n")
    (series,) = read_series(months, time="month", target="x")
    assert series.times.dtype == "datetime64[M]"
    np.testing.assert_array_equal(series.columns["x"], [1, 2, np.nan, 4])
    hours = tmp_path / "hours.csv"
    hours.write_text("t,x\n2024-01-01 13:00Z,1\n2024-01-01T14:00Z,2\n")
    assert read_series(hours, time="t", target="x")[0].times.dtype == "datetime64[h]"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("t,x\n1,1\n2,two\n", "line 3, column x: a cell must be a finite number or empty; got 'two'"),
        ("t,x\n1,1\nsoon,2\n", "line 3: a time must be a whole number or a date"),
        ("t,x\n1,1\n1,2\n", "lines 2 and 3: .* has the time 1 twice"),
        ("t,x\n1,1\n2,2,3\n", "line 3: a row must have 2 cells"),
        ("t,y\n1,1\n", "must have one column 'x'"),
        ("t,x,x\n1,1,2\n2,1,2\n", "must have one column 'x'"),
        ("t,x\n20240131,1\n20240201,2\n20240202,2\n", "are dates run together. Write them as 2024-01-31"),
        ("t,x\n202311,1\n202312,2\n202401,2\n", "are dates run together"),
        ("t,x\n1,1\n13,2\n25,2\n26,2\n37,2\n49,3\n", "25 is followed by 26, but most steps are 12"),
        ("t,x\n2024-01-01 00:00+01:00,1\n2024-01-01 01:00,2\n", "line 2 has one, line 3 has none"),
        ("t,x\n2024-01-01,1\n,2\n2024-01-02,2\n", "line 3: a time must be"),
        ("t,x\n01-03-24,1\n02-03-24,2\n", "line 2: a time must be"),
        ("t,x\nnow,1\n2024-01-01,2\n", "line 2: a time must be"),
        ("t,x\n2024-01-01 00:00:00.5,1\n2024-01-01 00:00:01.5,2\n", "in whole seconds"),
        ("t,x\n", "must have rows"),
        ("t,x\n1,1\n3,1\n6,2\n", "in steps of 2 int64"),
        ("t,x\n1,1\n2,1\n9000,2\n", "steps are missing"),
        ("t,x\n1,1\n2024-01-01,1\n", "all whole numbers or all dates"),
    ],
)
def test_wrong_tables_are_refused_by_line(tmp_path, text, words):
    file = tmp_path / "table.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=words):
        read_series(file, time="t", target="x")
    with pytest.raises(DataError, match="cannot be read"):
        read_series(tmp_path / "none.csv", time="t", target="x")


def test_times_with_an_offset_become_utc(tmp_path):
    file = tmp_path / "autumn.csv"
    file.write_text(
        "t,x\n2024-10-27 02:00:00+02:00,1\n2024-10-27T02:00+0100,2\n2024-10-27T02:00Z,3\n2024-10-27T00:30-02:30,4\n"
    )
    (series,) = read_series(file, time="t", target="x")
    assert [str(time) for time in series.times] == [f"2024-10-27T{hour:02}" for hour in range(4)]
    np.testing.assert_array_equal(series.columns["x"], [1, 2, 3, 4])


def test_masked_values_are_missing():
    values = np.ma.masked_equal([1, -999, 3, 4], -999)
    np.testing.assert_array_equal(TimeSeries(np.arange(4), {"x": values}, ("x",)).columns["x"], [1, np.nan, 3, 4])


def test_calendar_places_are_on_circles():
    series = calendar_columns(load_series("sea_temperature"), ["month"])
    np.testing.assert_allclose(series.columns["month_sin"][[0, 3, 12]], [0, 1, 0], atol=1e-12)
    days = TimeSeries(np.datetime64("2024-01-01") + np.arange(400), {"x": np.zeros(400)}, ("x",))  # a Monday
    days = calendar_columns(days, ["weekday", "yearday"])
    np.testing.assert_allclose(days.columns["weekday_cos"][[0, 7]], 1)
    assert days.columns["yearday_sin"][91] > 0.99
    with pytest.raises(ArgumentError, match="datetime64"):
        calendar_columns(seasonal_series(20)[0], ["month"])


def test_embedded_series_are_those_of_their_sources():
    co2, spots, sea = map(load_series, ("co2", "sunspots", "sea_temperature"))
    assert (co2.size, co2.missing, str(co2.times[-1])) == (2284, 59, "2001-12-29")
    np.testing.assert_allclose(co2.columns["co2"][[0, 1, -1]], [316.1, 317.3, 371.5])
    assert (spots.size, str(spots.times[-1]), spots.columns["sunspots"].max()) == (309, "2008", 190.2)
    assert (sea.size, str(sea.times[-1]), sea.columns["sea_temperature"][0]) == (732, "2010-12", 23.11)


@pytest.mark.parametrize("name", SERIES)
def test_load_gives_windows_without_leaks(name):
    parts = [load(name, split) for split in ("train", "validation", "test")]
    entry = next(each for each in list_datasets() if each.name == name)
    assert sum(part.size for part in parts) == int(entry.size)
    assert {part.task for part in parts} == {"forecasting"}
    named = SERIES[name]
    check_leakage(window_series(load_series(name), named.length, named.horizon))
    np.testing.assert_allclose(parts[0].arrays()[0].mean(), 0, atol=0.3)


def test_a_random_walk_has_returns_of_its_volatility():
    walk = random_walks(20_000, volatility=0.02, drift=0.001, seed=3)[0]
    returns = np.diff(np.log(walk.columns["price"]))
    np.testing.assert_allclose([returns.mean(), returns.std()], [0.001, 0.02], rtol=0.2)
    assert abs(np.corrcoef(returns[1:], returns[:-1])[0, 1]) < 0.03


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"times": np.array([0, 1, 3])}, "equal steps; got '1 and 3"),
        ({"times": np.array([0.0, 1.0, 2.0])}, "whole numbers or datetime64"),
        ({"columns": {"x": [1, 2]}}, r"shape \(3,\)"),
        ({"columns": {"x": [1, np.inf, 2]}}, "inf at step 1"),
        ({"columns": {"x": ["a", "b", "c"]}}, "hold numbers"),
        ({"target": ("y",)}, "a column of a role"),
        ({"past": ("x",)}, "each column one role"),
    ],
)
def test_wrong_series_are_refused(change, words):
    right = {"times": np.arange(3), "columns": {"x": [1.0, 2.0, 3.0]}, "target": ("x",)}
    with pytest.raises(ArgumentError, match=words):
        TimeSeries(**{**right, **change})


def test_series_too_short_or_unlike_are_refused():
    with pytest.raises(ArgumentError, match="in its part validation"):
        window_series(seasonal_series(40)[0], 6, 10)
    with pytest.raises(ArgumentError, match="same columns"):
        window_series([seasonal_series(100)[0], random_walks(100)[0]], 5, 2)
    with pytest.raises(ArgumentError, match="shares"):
        window_series(seasonal_series(100)[0], 5, 2, shares=(0.5, 0.5, 0.5))
    with pytest.raises(ArgumentError, match="0 <= start < stop"):
        two_columns().part(3, 500)


def test_planted_anomalies_are_where_the_labels_say():
    series = seasonal_series(400, noise=0.1)[0]
    planted, labels = plant_anomalies(series, 6, length=5, start=200, seed=1)
    changed = planted.columns["value"] != series.columns["value"]
    assert not changed[labels == 0].any()
    assert changed[labels == 1].mean() > 0.95
    assert not labels[:200].any()
    runs = np.flatnonzero(np.diff(np.concatenate([[0], labels, [0]]))).reshape(-1, 2)
    assert sorted((stop - start) for start, stop in runs) == [1, 1, 5, 5, 5, 5]
    flat = [np.ptp(planted.columns["value"][start - 1 : stop]) for start, stop in runs if stop - start == 5]
    assert sorted(each < 1e-12 for each in flat) == [False, False, True, True]
    with pytest.raises(ArgumentError, match="at most 20"):
        plant_anomalies(series, 21, length=5, start=200)
    ramp = dataclasses.replace(series, columns={"value": 0.1 * np.arange(series.size)})
    with pytest.raises(ArgumentError, match="change by different amounts"):
        plant_anomalies(ramp, 2)
    gap = np.where(np.arange(series.size) > 200, np.nan, series.columns["value"])
    with pytest.raises(ArgumentError, match="must have values where"):
        plant_anomalies(dataclasses.replace(series, columns={"value": gap}), 2, start=200)


def test_roles_of_columns_that_are_missing_are_named_with_an_example():
    with pytest.raises(ArgumentError, match=r'given time and target; .*Pass time="date"'):
        read_series("csv:rides.csv")
