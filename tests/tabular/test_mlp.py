"""Perceptrons: counts by their formula, the forward pass by NumPy."""

import itertools

import numpy as np
import pytest

import kerasdl


@pytest.mark.parametrize(("name", "sizes"), [("mlp", (4, 64, 64, 3)), ("mlp_regressor", (10, 64, 64, 1))])
def test_count_is_the_sum_over_layers(name, sizes):
    assert kerasdl.spec(name).params == sum((i + 1) * o for i, o in itertools.pairwise(sizes))


@pytest.mark.parametrize("name", ["mlp", "mlp_regressor"])
def test_forward_is_the_formula(name, tiny):
    model = tiny(name)
    rows = np.random.default_rng(1).normal(size=(5, 6)).astype("float32")
    weights = model.get_weights()
    x = rows
    for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        x = np.maximum(x @ kernel + bias, 0.0)
    np.testing.assert_allclose(model(rows, training=False), x @ weights[-2] + weights[-1], atol=1e-5)
