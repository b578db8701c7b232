"""Prediction targets: every one of every other, in float64, and the shapes and rates that are refused."""

import itertools

import numpy as np
import pytest

from kerasdl.core.errors import ArgumentError
from kerasdl.ops import convert_prediction, data_and_noise, diffuse, per_example, prediction_of

TARGETS = ("eps", "x0", "v", "flow", "score")


def drawn(rates="preserving"):
    rng = np.random.default_rng(0)
    x0, noise = rng.normal(size=(2, 5, 3, 2))
    sigma = rng.uniform(0.1, 0.9, 5)
    alpha = {"preserving": np.sqrt(1 - sigma**2), "exploding": np.ones(5), "flow": 1 - sigma}[rates]
    return x0, noise, alpha, sigma if rates != "exploding" else 30 * sigma


@pytest.mark.parametrize("rates", ["preserving", "exploding", "flow"])
@pytest.mark.parametrize(("source", "target"), itertools.product(TARGETS, TARGETS))
def test_targets_are_converted(source, target, rates):
    x0, noise, alpha, sigma = drawn(rates)
    x = diffuse(x0, noise, alpha, sigma)
    value = prediction_of(x0, noise, alpha, sigma, source)
    expected = prediction_of(x0, noise, alpha, sigma, target)
    np.testing.assert_allclose(convert_prediction(value, x, alpha, sigma, source, target), expected, atol=1e-9)


def test_definitions_by_hand():
    x0, noise, alpha, sigma = drawn()
    a, s = alpha[:, None, None], sigma[:, None, None]
    np.testing.assert_allclose(diffuse(x0, noise, alpha, sigma), a * x0 + s * noise)
    np.testing.assert_allclose(prediction_of(x0, noise, alpha, sigma, "v"), a * noise - s * x0)
    np.testing.assert_allclose(prediction_of(x0, noise, alpha, sigma, "flow"), noise - x0)
    np.testing.assert_allclose(prediction_of(x0, noise, alpha, sigma, "score"), -noise / s)


def test_v_and_flow_are_defined_at_both_ends():
    x0, noise, *_ = drawn()
    for alpha, sigma in ((1.0, 0.0), (0.0, 1.0)):
        x = diffuse(x0, noise, alpha, sigma)
        for target in ("v", "flow"):
            data, found = data_and_noise(prediction_of(x0, noise, alpha, sigma, target), x, alpha, sigma, target)
            np.testing.assert_allclose(data, x0, atol=1e-12)
            np.testing.assert_allclose(found, noise, atol=1e-12)
    assert not np.isfinite(data_and_noise(noise, noise, 0.0, 1.0, "eps")[0]).any()


def test_shapes_and_names_are_checked():
    assert per_example(np.ones(4), np.ones((4, 2, 2))).shape == (4, 1, 1)
    assert per_example(2.0, np.ones((4, 2, 2))).shape == ()
    with pytest.raises(ArgumentError, match="rates"):
        per_example(np.ones((4, 1)), np.ones((4, 2)))
    for noise in (np.ones((4, 3)), np.ones((1, 2)), np.ones(2)):
        with pytest.raises(ArgumentError, match="one shape"):
            diffuse(np.ones((4, 2)), noise, 0.5, 0.5)
    with pytest.raises(ArgumentError, match="target"):
        convert_prediction(1.0, 1.0, 0.5, 0.5, "eps", "noise")
    with pytest.raises(ArgumentError, match="target"):
        prediction_of(1.0, 1.0, 0.5, 0.5, "epsilon")
