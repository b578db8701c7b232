"""One step of a language model in a file: a host loop over it writes the tokens of `generate`."""

import keras
import numpy as np
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from filling import fill_weights

import kerasdl
from kerasdl.core import get_task
from kerasdl.core.errors import ArgumentError
from kerasdl.deploy import export_onnx, export_tflite
from kerasdl.sequence import generate, streaming_step

SETTINGS = {"length": 12, "vocabulary": 20, "units": 12, "depth": 2}
PROMPTS = [[3, 5, 6], [7], [2, 9, 19, 4, 1]]


def write(run, state, prompt, length):
    """The host loop of docs/recurrent.md: `run` takes and gives arrays by name, `state` begins with zeros."""
    tokens = list(prompt)
    for place in range(len(prompt) + length - 1):
        outputs = run({"token": np.array([[tokens[place]]], np.int32), **state})
        state = {name: outputs[f"next_{name}"] for name in state}
        if place + 1 >= len(prompt):
            logits = outputs["logits"][0]
            logits[0] = -np.inf  # the padding
            tokens.append(int(logits.argmax()))
    return tokens[len(prompt) :]


def of_tflite(path):
    interpreter = Interpreter(str(path))
    runner = interpreter.get_signature_runner("step")
    shapes = {name: each["shape"] for name, each in runner.get_input_details().items() if name != "token"}
    return lambda fed: {k: np.array(v) for k, v in runner(**fed).items()}, zeros(shapes)


def of_onnx(path):
    session = onnxruntime.InferenceSession(str(path))
    names = [each.name for each in session.get_outputs()]
    shapes = {each.name: (1, *each.shape[1:]) for each in session.get_inputs() if each.name != "token"}
    return lambda fed: dict(zip(names, session.run(names, fed), strict=True)), zeros(shapes)


def zeros(shapes):
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


def built(name, **more):
    width = {} if name.startswith("tied") else {"embedding": 12}
    return kerasdl.build(name, **{**SETTINGS, **width, **more})


def made(name):
    keras.utils.set_random_seed(5)
    model = built(name)
    for weight in model.weights:
        weight.assign(2.0 * weight.numpy())  # likeliest tokens that stand out
    return model


def exported(name, path, quantize=None, make=made):
    task, model = get_task("language_modeling"), make(name)
    networks = task.exported({"model": model})
    samples = task.exported_samples(networks, task.example(model, 24, 0)[0])
    if path.suffix == ".onnx":
        report = export_onnx(networks["step"], path, samples=samples["step"])
    else:
        report = export_tflite(networks, path, quantize=quantize, representative=samples)
    return model, report


def test_samples_of_a_step_hold_the_states_of_long_texts():
    """Of 24 texts of up to 12 tokens: the states behind each token, of the tokens in a row."""
    task, model = get_task("language_modeling"), made("gru_language_model")
    networks = task.exported({"model": model})
    tokens = task.example(model, 24, 0)[0]
    samples = task.exported_samples(networks, tokens)["step"]
    rows = len(tokens[tokens != 0]) // 64
    steps = len(samples["token"]) // rows
    assert steps >= 64
    assert not samples["gru2_h"][:rows].any()
    last = networks["step"]({name: value[-2 * rows : -rows] for name, value in samples.items()})
    np.testing.assert_allclose(samples["gru2_h"][-rows:], last["next_gru2_h"], atol=1e-6)


@pytest.mark.parametrize("name", ["lstm_language_model", pytest.param("gru_language_model", marks=pytest.mark.slow)])
def test_a_step_after_the_other_is_the_whole(name):
    model = made(name)
    step = streaming_step(model)
    assert all(isinstance(each, keras.Layer) and not isinstance(each, keras.Model) for each in step.operations)
    state = {tensor.name: np.zeros((3, 12), "float32") for tensor in step.inputs if tensor.name != "token"}
    tokens = np.random.default_rng(0).integers(1, 20, (3, 12)).astype("int32")
    logits = []
    for token in tokens.T:
        outputs = step({"token": token[:, None], **state}, training=False)
        state = {each: np.asarray(outputs[f"next_{each}"]) for each in state}
        logits.append(outputs["logits"].numpy())
    np.testing.assert_allclose(np.stack(logits, 1), model(tokens, training=False), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "file", "quantize"),
    [
        ("lstm_language_model", "m.tflite", None),
        pytest.param("lstm_language_model", "m.onnx", None, marks=pytest.mark.slow),
        pytest.param("gru_language_model", "m.onnx", None, marks=pytest.mark.slow),
        pytest.param("tied_lstm_language_model", "m.tflite", None, marks=pytest.mark.slow),
    ],
)
def test_a_host_loop_writes_the_same_tokens(name, file, quantize, tmp_path):
    model, report = exported(name, tmp_path / file, quantize)
    assert "WHILE" not in report.operations
    run, state = (of_onnx if file == "m.onnx" else of_tflite)(tmp_path / file)
    expected = generate(model, PROMPTS, 10, temperature=0, padding_id=0).tolist()
    assert [write(run, state, prompt, 10) for prompt in PROMPTS] == expected
    assert len({token for row in expected for token in row}) > 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "quantize", "bound"),
    [
        ("lstm_language_model", "int8", 0.1),
        ("gru_language_model", "int8", 0.1),
        ("tied_lstm_language_model", "dynamic", 0.05),
    ],
)
def test_an_integer_file_keeps_its_state_over_many_tokens(name, quantize, bound, tmp_path):
    """Errors of a state might add up: those of the last 20 tokens of 40 are within the bound of the first ones."""
    model, _ = exported(name, tmp_path / "m.tflite", quantize, lambda name: fill_weights(built(name)))
    run, state = of_tflite(tmp_path / "m.tflite")
    tokens = np.random.default_rng(1).integers(1, 20, 40).astype("int32")
    free = built(name, length=None)
    free.set_weights(model.get_weights())
    expected = free(tokens[None], training=False).numpy()[0]
    assert np.std(expected) > 0.1
    errors = []
    for token, logits in zip(tokens, expected, strict=True):
        outputs = run({"token": np.array([[token]], np.int32), **state})
        state = {each: outputs[f"next_{each}"] for each in state}
        errors.append(np.mean((outputs["logits"][0] - logits) ** 2) / np.mean(expected**2))
    assert np.sqrt(np.mean(errors[:20])) < bound
    assert np.sqrt(np.mean(errors[20:])) < bound


def test_models_that_read_ahead_have_no_step():
    with pytest.raises(ArgumentError, match="must compute each token from it and the state alone"):
        streaming_step(kerasdl.build("bilstm_classifier", **kerasdl.spec("bilstm_classifier").tiny))
    tokens = keras.Input((5,), dtype="int32")
    x = keras.layers.Embedding(5, 4)(tokens)
    for rule, layer in (
        ("return its sequence alone", keras.layers.GRU(4)),
        ("return its sequence alone", keras.layers.GRU(4, return_sequences=True, go_backwards=True)),
        ("must be SimpleRNN, LSTM or GRU", keras.layers.RNN(keras.layers.GRUCell(4), return_sequences=True)),
    ):
        with pytest.raises(ArgumentError, match=rule):
            streaming_step(keras.Model(tokens, layer(x)))
    with pytest.raises(ArgumentError, match="must have a recurrent layer"):
        streaming_step(keras.Model(tokens, keras.layers.Dense(3)(x)))
    with pytest.raises(ArgumentError, match="must take token ids"):
        streaming_step(keras.Model(x, keras.layers.GRU(4, return_sequences=True)(x)))
