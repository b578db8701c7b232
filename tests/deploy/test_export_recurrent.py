"""The row of steps that integers need computes what the loop of Keras computes."""

import keras
import numpy as np
import pytest
from filling import fill_weights

from kerasdl.deploy.tracing import for_inference

L = keras.layers
LAYERS = {
    "lstm": lambda: L.LSTM(5, return_state=True),
    "gru": lambda: L.GRU(5, return_sequences=True),
    "gru_reset_before": lambda: L.GRU(5, reset_after=False),
    "simple": lambda: L.SimpleRNN(5, return_sequences=True, go_backwards=True),
    "bidirectional": lambda: L.Bidirectional(L.LSTM(5, return_sequences=True), merge_mode="sum"),
    "zeros_where_masked": lambda: L.RNN(L.GRUCell(5), return_sequences=True, zero_output_for_mask=True),
    "stacked_cells": lambda: L.RNN([L.LSTMCell(5), L.GRUCell(4)], return_sequences=True),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_steps_equal_the_loop(name, masked):
    x, mask = keras.Input((7, 3)), keras.Input((7,), dtype="bool")
    model = fill_weights(keras.Model([x, mask], LAYERS[name]()(x, mask=mask if masked else None)))
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(6, 7, 3)).astype("float32"), rng.random((6, 7)) < 0.6]
    looped = keras.tree.flatten(model(inputs))
    with for_inference(model, unroll=True):
        stepped = keras.tree.flatten(model(inputs))
    for one, other in zip(looped, stepped, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert np.abs(looped[0]).max() > 0.05
