"""Recurrent classifiers and regressors: counts by the cells' equations, and padding that changes nothing."""

import keras
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


def test_variants_add_what_their_names_say():
    plain = V * D + U * K + K
    lstm = CELLS["lstm_classifier"]
    assert kerasdl.spec("recurrent_dropout_lstm_classifier").params == plain + lstm
    assert kerasdl.spec("layer_norm_lstm_classifier").params == plain + lstm + 2 * U
    assert kerasdl.spec("residual_lstm_classifier").params == plain + 4 * lstm
    assert kerasdl.spec("lstm_regressor").params == V * D + lstm + U + 1
    assert kerasdl.spec("gru_regressor").params == V * D + CELLS["gru_classifier"] + U + 1


def test_residual_layers_add_their_input():
    model = kerasdl.build("residual_lstm_classifier", length=5, vocabulary=9, embedding=4, units=6, depth=4)
    assert [layer.name for layer in model.layers if layer.name.endswith("_add")] == ["lstm2_add", "lstm3_add"]
    for level in (2, 3):
        layer = model.get_layer(f"lstm{level}")
        layer.set_weights([np.zeros_like(each) for each in layer.get_weights()])
    tokens = np.array([[1, 2, 3, 4, 0]], "int32")
    ends = keras.Model(model.input, [model.get_layer(name).output for name in ("lstm1", "lstm3_add")])
    first, last = ends(tokens)
    np.testing.assert_allclose(first, last, atol=1e-6)


def test_recurrent_dropout_changes_training_alone():
    model = kerasdl.build("recurrent_dropout_lstm_classifier", length=5, vocabulary=9, embedding=4, units=6)
    tokens = np.array([[1, 2, 3, 4, 5]], "int32")
    np.testing.assert_array_equal(*[model(tokens, training=False) for _ in range(2)])
    assert np.abs(model(tokens, training=True) - model(tokens, training=True)).max() > 0


@pytest.mark.parametrize(
    "name", [*kerasdl.list_models("sequence/*classifier"), *kerasdl.list_models("sequence/*regressor")]
)
def test_padding_changes_nothing(name, tiny):
    spec, model = kerasdl.spec(name), tiny(name)
    longer = kerasdl.build(name, **{**spec.tiny, "length": 2 * spec.tiny["length"]})
    longer.set_weights(model.get_weights())
    tokens = np.array([[3, 7, 9, 1, 0, 0, 0, 0], [5, 5, 2, 8, 4, 4, 1, 6]], np.int32)
    padded = np.pad(tokens, [(0, 0), (0, 8)])

    def answers(net, ids):
        segments = {"tokens": ids, "segments": np.zeros_like(ids)}
        return net(segments if len(net.inputs) > 1 else ids, training=False).numpy()

    expected = answers(model, tokens)
    np.testing.assert_allclose(answers(longer, padded), expected, atol=1e-5)
    filled = np.where(tokens == 0, 9, tokens)
    assert np.abs(expected[0] - answers(model, filled)[0]).max() > 1e-3
