"""Unrolled views: a box for each layer and step, states between them in their direction, and refusals."""

import keras
import pytest

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.sequence import draw_unrolled, unrolled_text


def test_a_language_model_has_a_head_at_each_step(tiny):
    model = tiny("lstm_language_model")
    lines = unrolled_text(model, 3).splitlines()
    boxes = {line.split("[")[1].split("]")[0]: line for line in lines if "[" in line}
    names = ["head", "lstm2", "lstm1", "embedding"]
    assert list(boxes) == names
    for name in names:
        assert boxes[name].count(f"[{name}]") == 3
        assert f"{model.get_layer(name).count_params():,} weights, the same at each step" in boxes[name]
        assert boxes[name].count("--h, c->") == (2 if name.startswith("lstm") else 0)
    assert lines[-1].split() == ["step", "1", "step", "2", "step", "3", "tokens"]
    assert len(draw_unrolled(model, 3).axes[0].patches) == 12


def test_the_last_state_alone_goes_to_a_head(tiny, tmp_path):
    text = unrolled_text(tiny("bilstm_classifier"), 2)
    assert text.count("[head]") == 1
    assert "weights, of both ends" in text
    assert text.count("<-h, c->") == 2  # between two steps, of two layers
    figure = draw_unrolled(tiny("bilstm_classifier"), 2, tmp_path / "unrolled.png")
    assert len(figure.axes[0].patches) == 2 * 3 + 1
    assert (tmp_path / "unrolled.png").stat().st_size > 1000


def test_a_layer_that_reads_backwards_has_its_arrows_so():
    tokens = keras.Input((5, 2), name="steps")
    x = keras.layers.GRU(3, go_backwards=True, return_sequences=True, name="back")(tokens)
    line = unrolled_text(keras.Model(tokens, x), 3).splitlines()[0]
    assert line.count("<-h--") == 2
    assert line.index("<--- 0") > line.rindex("[back]")
    assert "0 --->" not in line


def test_sums_around_layers_are_named():
    model = kerasdl.build("residual_lstm_classifier", length=5, vocabulary=9, units=4, embedding=4, depth=2)
    text = unrolled_text(model, 2)
    assert "sum with the input of the layer below" in text


def test_what_has_no_such_view_is_refused(tiny):
    for name, words in (("mlp", "must have a recurrent layer"), ("seq2seq", "with one input")):
        for view in (unrolled_text, draw_unrolled):
            with pytest.raises(ArgumentError, match=words):
                view(tiny(name))
    with pytest.raises(ArgumentError, match="got 'last_step, a Cropping1D'"):
        unrolled_text(tiny("tcn_forecaster"))
    for steps in (0, 13):
        with pytest.raises(ArgumentError, match="steps must be"):
            unrolled_text(tiny("gru_classifier"), steps)
    assert kerasdl.sequence.unrolled_text is unrolled_text
