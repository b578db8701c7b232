"""The figures of a drift, against numbers worked out by hand."""

import numpy as np
import pytest

from kerasdl.core.errors import ExportError
from kerasdl.deploy.export.parity import drifts_of, worst


def drift(expected, given):
    return drifts_of("real", {"y": np.array(expected)}, {"y": np.array(given)})[0]


def test_figures_by_hand():
    found = drift([[3.0, 4.0], [0.0, 0.0]], [[3.0, 4.5], [0.5, 0.0]])
    assert found.absolute == 0.5
    assert found.relative == 0.5  # the second example is judged by itself, over 1
    assert found.rmse == pytest.approx(np.sqrt(0.5 / 4) / 2.5)
    assert found.top1_agreement == 1.0


def test_small_outputs_are_measured_against_one():
    assert drift([[0.01, 0.02]], [[0.01, 0.03]]).relative == pytest.approx(0.01)


def test_top1_counts_rows():
    assert (
        drift(
            [[1.0, 2.0], [2.0, 1.0], [0.0, 1.0], [1.0, 0.0]], [[1.0, 2.0], [1.0, 2.0], [0.0, 1.0], [1.0, 0.0]]
        ).top1_agreement
        == 0.75
    )
    assert drift([[1.0], [2.0]], [[1.0], [3.0]]).top1_agreement is None


def test_infinity_equals_infinity_and_nan_equals_nothing():
    assert drift([[-np.inf, 1.0]], [[-np.inf, 1.0]]).absolute == 0
    assert drift([[0.0, 1.0]], [[np.nan, 1.0]]).absolute == np.inf
    assert drift([[-np.inf, 1.0]], [[0.0, 1.0]]).rmse == np.inf


def test_outputs_are_matched_by_name():
    expected = {"a": np.zeros((1, 2)), "b": np.ones((1, 2))}
    found = drifts_of("real", expected, {"b": np.ones((1, 2)), "a": np.full((1, 2), 0.5)})
    assert [(each.output, each.absolute) for each in found] == [("a", 0.5), ("b", 0.0)]
    assert worst(found, "absolute") == 0.5
    with pytest.raises(ExportError, match=r"outputs \['a', 'b'\]; got \['a'\]"):
        drifts_of("real", expected, {"a": np.zeros((1, 2))})
    with pytest.raises(ExportError, match="shape"):
        drifts_of("real", expected, expected | {"b": np.ones((2, 2))})
