"""Every public layer against NumPy, and through a save."""

import keras
import numpy as np
import pytest
from filling import fill_weights

from kerasdl import layers

RNG = np.random.default_rng(0)
TOKENS = RNG.normal(size=(2, 5, 3)).astype("float32")
IDS = np.array([[4, 2, 0, 0], [1, 1, 1, 1]], np.int32)


def class_token(x, weights):
    return np.concatenate([np.broadcast_to(weights[0], (len(x), 1, x.shape[-1])), x], axis=1)


def position(x, weights):
    return x + weights[0]


def padding_mask(x, weights):
    return x != 2


# layer: how it is made, what it reads, what NumPy makes of it.
CASES = {
    "DropPath": (lambda: layers.DropPath(0.5), TOKENS, lambda x, weights: x),  # at inference
    "ClassToken": (lambda: layers.ClassToken(), TOKENS, class_token),
    "PositionEmbedding": (lambda: layers.PositionEmbedding(), TOKENS, position),
    "PaddingMask": (lambda: layers.PaddingMask(padding_id=2), IDS, padding_mask),
}


def test_no_public_layer_escapes():
    assert set(CASES) == set(layers.__all__)


@pytest.mark.parametrize("name", sorted(CASES))
def test_layer_computes_its_formula_and_survives_a_save(name, tmp_path):
    make, inputs, formula = CASES[name]
    entry = keras.Input(inputs.shape[1:], dtype=inputs.dtype.name)
    model = fill_weights(keras.Model(entry, make()(entry)))
    expected = formula(inputs, model.get_weights())
    outputs = model(inputs).numpy()
    np.testing.assert_allclose(outputs.astype("float64"), expected.astype("float64"), atol=1e-6)
    assert model.output_shape[1:] == outputs.shape[1:]
    assert model.output.dtype == outputs.dtype.name
    model.save(tmp_path / "layer.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "layer.keras")(inputs), outputs)
