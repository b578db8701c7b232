"""FastNormalizedFusion against its formula, through a save, and its refusals."""

import keras
import numpy as np
import pytest

from kerasdl.core import ArgumentError
from kerasdl.layers import FastNormalizedFusion


def test_fusion_is_its_formula_and_survives_a_save(tmp_path):
    x = np.random.default_rng(0).normal(size=(3, 2, 4, 5, 6)).astype("float32")
    entries = [keras.Input((4, 5, 6)) for _ in x]
    model = keras.Model(entries, FastNormalizedFusion(epsilon=0.25)(entries))
    model.set_weights([np.array([0.5, -2.0, 1.5], "float32")])  # a negative weight counts as 0
    out = np.asarray(model([*x]))
    np.testing.assert_allclose(out, (0.5 * x[0] + 1.5 * x[2]) / 2.25, atol=1e-6)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")([*x]), out)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: FastNormalizedFusion()(x),
        lambda x: FastNormalizedFusion()([x]),
        lambda x: FastNormalizedFusion()([x, keras.Input((4, 3))]),
        lambda x: FastNormalizedFusion()([x, keras.Input((4, 4, 2))]),
        lambda x: FastNormalizedFusion(epsilon=0),
    ],
)
def test_what_cannot_be_summed_is_refused(call):
    with pytest.raises(ArgumentError, match="must be"):
        call(keras.Input((4, 2)))
