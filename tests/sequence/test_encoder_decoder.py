"""Encoder and decoder: counts by the equations, padding, causality, one step at a time, and the state's file form."""

import keras
import numpy as np
import pytest
from filling import fill_weights

import kerasdl
from kerasdl.core import ArgumentError, get_task
from kerasdl.sequence.seq2seq.decoding import encoder_and_step
from kerasdl.sequence.seq2seq.encoder_decoder import decode, encode, parts_of, states_of

NAMES = kerasdl.list_models("sequence/seq2seq*")
V, D, U = 8000, 256, 256


@pytest.mark.parametrize("name", NAMES)
def test_count_is_the_sum_of_the_equations(name):
    cell = 4 * ((D + U) * U + U) if "lstm" in name else 3 * ((D + U) * U + 2 * U)
    states = 2 if "lstm" in name else 1
    attention = {"seq2seq_luong": U * 2 * U, "seq2seq_no_attention": 0}.get(name, U * U + 2 * U * U + U)
    attended = 0 if name == "seq2seq_no_attention" else (2 * U + U) * U
    start = states * (2 * U * U + U)
    assert kerasdl.spec(name).params == 2 * V * D + 3 * cell + start + attention + attended + U * V + V


def drawn(model, seed=0, batch=4):
    inputs, labels = get_task("sequence_to_sequence").example(model, batch, seed)
    return inputs, labels


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing(name, tiny):
    spec, model = kerasdl.spec(name), tiny(name)
    longer = kerasdl.build(name, **{**spec.tiny, "length": 2 * spec.tiny["length"], "target_length": 9})
    longer.set_weights(model.get_weights())
    inputs, _ = drawn(model)
    assert (inputs["source"] == 0).any()
    padded = {
        "source": np.pad(inputs["source"], [(0, 0), (0, 7)]),
        "target": np.pad(inputs["target"], [(0, 0), (0, 4)]),
    }
    expected = model(inputs, training=False).numpy()
    np.testing.assert_allclose(longer(padded, training=False)[:, :5], expected, atol=1e-5)
    changed = {**inputs, "source": np.where(inputs["source"] == 0, 9, inputs["source"])}
    assert np.abs(expected - model(changed, training=False).numpy()).max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_a_step_at_a_time_equals_the_whole_and_no_token_is_seen_before_its_time(name, tiny):
    model = tiny(name)
    inputs, _ = drawn(model)
    whole = model(inputs, training=False).numpy()
    parts = parts_of(model)
    state, steps = encode(parts, inputs["source"]), []
    for token in inputs["target"].T:
        logits, after, _ = decode(parts, token[:, None], inputs["source"], state)
        state = {**state, **after}
        steps.append(logits)
    np.testing.assert_allclose(np.concatenate(steps, axis=1), whole, atol=1e-5)
    later = inputs["target"].copy()
    later[:, 3:] = 7
    changed = model({**inputs, "target": later}, training=False).numpy()
    np.testing.assert_array_equal(changed[:, :3], whole[:, :3])
    assert np.abs(changed[:, 3:] - whole[:, 3:]).max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_encoder_and_step_are_two_flat_models_of_the_same_weights(name, tiny):
    model = tiny(name)
    copy = kerasdl.build(name, **kerasdl.spec(name).tiny)
    copy.set_weights(model.get_weights())
    models = encoder_and_step({"model": copy})
    assert list(models) == ["encoder", "step"]
    for each in models.values():
        assert all(isinstance(operation, keras.Layer) for operation in each.operations)
    states = [f"next_{each}" for each in states_of(parts_of(model))]
    assert list(models["step"].output) == ["logits", *states]
    inputs, _ = drawn(model)
    encoded = models["encoder"](inputs["source"], training=False)
    fed = {"token": inputs["target"][:, :1], "source": inputs["source"], **encoded}
    fed = {tensor.name: keras.ops.convert_to_tensor(fed[tensor.name]) for tensor in models["step"].inputs}
    first = models["step"](fed, training=False)
    np.testing.assert_allclose(first["logits"], model(inputs, training=False)[:, 0], atol=1e-5)


def test_a_source_of_padding_alone_is_finite():
    for name in NAMES:
        model = fill_weights(kerasdl.build(name, **kerasdl.spec(name).tiny))
        out = model({"source": np.zeros((1, 7), "int32"), "target": np.full((1, 5), 2)}, training=False)
        assert np.isfinite(out).all()


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"cell": "rnn"}, "cell must be"),
        ({"attention": "dot"}, "attention must be"),
        ({"vocabulary": 1}, "vocabulary must be"),
        ({"dropout": 2.0}, "dropout must be"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, rule):
    with pytest.raises(ArgumentError, match=rule):
        kerasdl.build("seq2seq", **arguments)


def test_another_network_is_refused(tiny):
    with pytest.raises(ArgumentError, match="must be an encoder and a decoder"):
        parts_of(tiny("gru_classifier"))
