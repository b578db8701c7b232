"""Recurrent classifiers: counts by the cells' equations, and padding that changes nothing."""

import numpy as np
import pytest

import kerasdl

V, D, U, K = 20_000, 128, 128, 2
# Each gate has an input matrix, a recurrent matrix and a bias; a GRU that resets after the product has two biases.
CELLS = {
    "rnn_classifier": (D + U) * U + U,
    "lstm_classifier": 4 * ((D + U) * U + U),
    "gru_classifier": 3 * ((D + U) * U + 2 * U),
}


@pytest.mark.parametrize("name", sorted(CELLS))
def test_count_is_the_sum_of_the_equations(name):
    assert kerasdl.spec(name).params == V * D + CELLS[name] + U * K + K


def test_two_directions_have_two_cells_and_a_wider_head():
    assert kerasdl.spec("bilstm_classifier").params == V * D + 2 * CELLS["lstm_classifier"] + 2 * U * K + K


@pytest.mark.parametrize("name", kerasdl.list_models("sequence/*classifier"))
def test_padding_changes_nothing(name, tiny):
    spec, model = kerasdl.spec(name), tiny(name)
    longer = kerasdl.build(name, **{**spec.tiny, "length": 2 * spec.tiny["length"]})
    longer.set_weights(model.get_weights())
    tokens = np.array([[3, 7, 9, 1, 0, 0, 0, 0], [5, 5, 2, 8, 4, 4, 1, 6]], np.int32)
    padded = np.pad(tokens, [(0, 0), (0, 8)])
    expected = model(tokens, training=False).numpy()
    np.testing.assert_allclose(longer(padded, training=False), expected, atol=1e-5)
    filled = np.where(tokens == 0, 9, tokens)
    assert np.abs(expected[0] - model(filled, training=False).numpy()[0]).max() > 1e-3
