"""Bases of trends and seasons against their formulas, as kernels of dense layers, through a save."""

import keras
import numpy as np
import pytest

from kerasdl.core import ArgumentError
from kerasdl.layers import FourierBasis, PolynomialBasis


def test_rows_are_the_functions_of_the_paper():
    t = np.arange(-6, 2)
    found = PolynomialBasis(span=4, start=-6)((3, 8)).numpy()
    np.testing.assert_allclose(found, [np.ones(8), t / 4, (t / 4) ** 2], rtol=1e-6)
    found = FourierBasis(period=5, start=-6)((5, 8)).numpy()
    waves = [
        np.ones(8),
        *(np.cos(2 * np.pi * k * t / 5) for k in (1, 2)),
        *(np.sin(2 * np.pi * k * t / 5) for k in (1, 2)),
    ]
    np.testing.assert_allclose(found, waves, atol=1e-5)


@pytest.mark.parametrize("basis", [PolynomialBasis(3, 1), FourierBasis(4, -2)])
def test_a_dense_layer_gives_values_of_coefficients_and_survives_a_save(basis, tmp_path):
    entry = keras.Input((5,))
    layer = keras.layers.Dense(7, use_bias=False, trainable=False, kernel_initializer=basis, name="basis")
    model = keras.Model(entry, layer(entry))
    theta = np.random.default_rng(0).normal(size=(2, 5)).astype("float32")
    np.testing.assert_allclose(model(theta), theta @ basis((5, 7)).numpy(), rtol=1e-5, atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("basis").kernel_initializer.get_config() == basis.get_config()


def test_other_shapes_are_refused():
    with pytest.raises(ArgumentError, match="odd number"):
        FourierBasis(4)((4, 8))
    with pytest.raises(ArgumentError, match="coefficients, steps"):
        PolynomialBasis(4)((4,))
