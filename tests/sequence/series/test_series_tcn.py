"""Embedded forecaster: its size and its figures on the part of the series that it never saw."""

import numpy as np
import pytest

import kerasdl
from kerasdl.bundles.listing import EMBEDDED
from kerasdl.data.series import load_series, window_series
from kerasdl.metrics import seasonal_naive_error


def test_the_embedded_forecaster_beats_the_last_year_by_far():
    assert (EMBEDDED / "series_tcn.zip").stat().st_size < 2_000_000
    bundle, series = kerasdl.load_bundle("series_tcn"), load_series("co2")
    data = window_series(series, 104, 26)
    assert bundle.preprocess["mean"] == pytest.approx(list(data.scaling.mean))
    figures = bundle.evaluate(data.test)
    for name, value in bundle.manifest.metrics["co2 test"].items():
        assert figures[name] == pytest.approx(value, rel=0.01)
    unit = seasonal_naive_error(series.values("target")[:1370], 52)[0]
    assert figures["mae"] < 0.5 * unit
    answer = bundle.predict(series.values()[None, -104:])[0]
    low, middle, high = (np.array(answer["quantiles"][level]["co2"]) for level in ("0.1", "0.5", "0.9"))
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert 365 < middle.mean() < 376  # parts per million in 2002
