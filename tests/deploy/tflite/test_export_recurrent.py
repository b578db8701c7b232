"""Recurrent nets in TFLite: a loop in float files, a row of steps in integer ones, both what Keras computes."""

import keras
import numpy as np
import pytest
from filling import fill_weights
from lite import relative_rmse, run_lite

from kerasdl.deploy import export_tflite
from kerasdl.deploy.export.tracing import for_inference
from kerasdl.deploy.tflite.layer_patches import for_tflite

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
MORE = {
    "concat": lambda: L.Bidirectional(L.GRU(5)),
    "product": lambda: L.Bidirectional(L.GRU(5, return_sequences=True), merge_mode="mul"),
    "average": lambda: L.Bidirectional(L.LSTM(5, return_sequences=True), merge_mode="ave"),
    "apart": lambda: L.Bidirectional(L.SimpleRNN(5), merge_mode=None),
    "cell": lambda: L.RNN(L.SimpleRNNCell(5)),
    "each_time": lambda: L.TimeDistributed(L.Dense(3, activation="tanh")),
}
QUICK = ("lstm", "stacked_cells", "average")
BOUNDS = {None: 1e-5, "float16": 5e-3, "dynamic": 0.02, "int8": 0.08}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_steps_equal_the_loop(name, masked):
    x, mask = keras.Input((7, 3)), keras.Input((7,), dtype="bool")
    model = fill_weights(keras.Model([x, mask], LAYERS[name]()(x, mask=mask if masked else None)))
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(6, 7, 3)).astype("float32"), rng.random((6, 7)) < 0.6]
    looped = keras.tree.flatten(model(inputs))
    unrolled = {}
    with for_inference(model), for_tflite(model, quantize="int8", unrolled=unrolled):
        stepped = keras.tree.flatten(model(inputs))
    assert set(unrolled.values()) == {7}
    for one, other in zip(looped, stepped, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert np.abs(looped[0]).max() > 0.05


def sequences(count=48, steps=6, width=4, seed=1):
    """Sequences whose ends are zeros, which Masking skips."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, steps, width)).astype("float32")
    x[np.arange(steps) >= rng.integers(2, steps + 1, (count, 1))] = 0
    return x


def check(model, path, quantize, inputs):
    report = export_tflite(model, path, quantize=quantize, representative=inputs, samples=inputs[:16])
    expected = keras.tree.flatten(model(inputs[:16], training=False))
    given = run_lite(path, {model.inputs[0].name: inputs[:16]})
    for drift, value in zip(report.drifts[-len(expected) :], expected, strict=True):
        assert relative_rmse(value, given[drift.output]) < BOUNDS[quantize]
        assert np.abs(value).max() > 0.02
    return report


def cases():
    """Every layer as a loop and as steps; narrower weights, which leave the loop as it is, in a few."""
    for name in LAYERS | MORE:
        for quantize in BOUNDS if name in QUICK else (None, "int8"):
            marks = [] if name in QUICK else [pytest.mark.slow]
            yield pytest.param(name, True, quantize, marks=marks)
            if name in QUICK and quantize in (None, "int8"):
                yield pytest.param(name, False, quantize, marks=pytest.mark.slow)


@pytest.mark.parametrize(("name", "masking", "quantize"), [*cases()])
def test_recurrent_layers_reach_tflite(name, masking, quantize, tmp_path):
    x = keras.Input((6, 4), name="x")
    layer = (LAYERS | MORE)[name]()
    model = fill_weights(keras.Model(x, layer(L.Masking()(x) if masking else x)))
    report = check(model, tmp_path / "m.tflite", quantize, sequences())
    loops = quantize != "int8" and name != "each_time"
    assert ("WHILE" in report.operations) == loops
    assert any("loop over time" in note for note in report.notes) == loops
    assert any("over 6 steps" in note for note in report.notes) == (quantize == "int8" and name != "each_time")


@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.parametrize("cell", [pytest.param(L.LSTM, marks=pytest.mark.slow), L.GRU])
def test_masks_of_token_ids_reach_stacked_layers(cell, quantize, tmp_path):
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    x = L.Embedding(9, 4, mask_zero=True)(tokens)
    x = L.Bidirectional(cell(5, return_sequences=True))(x)
    model = fill_weights(keras.Model(tokens, L.Dense(3, name="head")(cell(5)(x))))
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 9, (48, 6)).astype("int32")
    ids[np.arange(6) >= rng.integers(2, 7, (48, 1))] = 0
    check(model, tmp_path / "m.tflite", quantize, ids)


@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.parametrize(
    ("layer", "shape"), [(lambda: L.ConvLSTM1D(3, 3), (4, 8, 2)), (lambda: L.ConvLSTM2D(3, 3), (3, 6, 6, 2))]
)
def test_convolutional_lstms_reach_tflite(layer, shape, quantize, tmp_path):
    x = keras.Input(shape, name="x")
    model = fill_weights(keras.Model(x, layer()(x)))
    inputs = np.random.default_rng(0).normal(size=(32, *shape)).astype("float32")
    check(model, tmp_path / "m.tflite", quantize, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("quantize", [None, "float16", "dynamic"])
def test_time_stays_free_in_float_files(quantize, tmp_path):
    x = keras.Input((None, 4), name="x")
    y = L.Bidirectional(L.GRU(5, return_sequences=True))(L.Masking()(x))
    y = L.TimeDistributed(L.Dense(3, activation="tanh"))(L.LSTM(4, return_sequences=True)(y))
    model = fill_weights(keras.Model(x, y))
    export_tflite(model, tmp_path / "m.tflite", quantize=quantize)
    for steps in (3, 11):
        inputs = sequences(8, steps)
        given = run_lite(tmp_path / "m.tflite", {"x": inputs})
        assert relative_rmse(model(inputs), *given.values()) < BOUNDS[quantize]


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_a_stateful_file_goes_on_where_the_last_call_ended(quantize, tmp_path):
    x = keras.Input((6, 4), batch_size=1, name="x")
    model = fill_weights(keras.Model(x, L.LSTM(5, stateful=True, name="rnn")(x)))
    inputs = sequences()
    held = model(inputs[:1]).numpy()
    states = [state.numpy() for state in model.get_layer("rnn").states]
    report = export_tflite(model, tmp_path / "m.tflite", quantize=quantize, representative=inputs)
    for state, before in zip(model.get_layer("rnn").states, states, strict=True):
        np.testing.assert_array_equal(state, before)
    model.get_layer("rnn").reset_state()
    expected = np.concatenate([model(inputs[row : row + 1]) for row in range(16)])
    given = run_lite(tmp_path / "m.tflite", {"x": inputs[:16]})["rnn"]
    assert relative_rmse(expected, given) < BOUNDS[quantize]
    model.get_layer("rnn").reset_state()
    assert np.abs(model(inputs[:1]).numpy() - held).max() < 1e-6
    again = np.concatenate([model(inputs[:1]) for _ in range(2)])
    assert np.abs(again[1] - held).max() > 1e-3, "the model keeps no state"
    assert any("'rnn' keeps its state" in note for note in report.notes)


def test_int16_files_hold_unrolled_layers_too(tmp_path):
    x = keras.Input((6, 4), name="x")
    model = fill_weights(keras.Model(x, L.Dense(3)(L.LSTM(5)(x))))
    report = export_tflite(model, tmp_path / "m.tflite", quantize="int16x8", representative=sequences())
    assert 1e-5 < report.worst_relative < 0.02
