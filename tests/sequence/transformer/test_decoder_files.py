"""One step of a transformer in a file: a host loop over it writes the tokens of `generate`."""

import numpy as np
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

import kerasdl
from kerasdl.core import get_task
from kerasdl.deploy import export_onnx, export_tflite
from kerasdl.sequence import generate

PROMPTS = [[3, 5, 6], [7], [2, 9, 19, 4, 1]]


def write(run, caches, prompt, length):
    """The host loop of docs/generating_text.md: `run` takes and gives arrays by name, `caches` begin with zeros."""
    tokens = list(prompt)
    for place in range(len(prompt) + length - 1):
        fed = {"token": np.array([[tokens[place]]], np.int32), "position": np.array([place], np.int32)}
        outputs = run({**fed, **caches})
        for name, cache in caches.items():
            cache[:, :, place] = outputs[f"{name}_row"][:, :, 0]
        if place + 1 >= len(prompt):
            tokens.append(int(outputs["logits"][0].argmax()))
    return tokens[len(prompt) :]


def of_tflite(path):
    runner = Interpreter(str(path)).get_signature_runner("step")
    shapes = {name: each["shape"] for name, each in runner.get_input_details().items()}
    return lambda fed: {name: np.array(value) for name, value in runner(**fed).items()}, zeros(shapes)


def of_onnx(path):
    session = onnxruntime.InferenceSession(str(path))
    names = [each.name for each in session.get_outputs()]
    shapes = {each.name: (1, *each.shape[1:]) for each in session.get_inputs()}
    return lambda fed: dict(zip(names, session.run(names, fed), strict=True)), zeros(shapes)


def zeros(shapes):
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items() if name not in ("token", "position")}


def drawn(name):
    model = kerasdl.build(name, **{**kerasdl.spec(name).tiny, "length": 16})
    rng = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(weight.numpy() + rng.normal(0, 0.4, weight.shape))
    return model


@pytest.mark.parametrize(
    ("name", "file", "quantize"),
    [
        ("gpt2_small", "m.tflite", None),
        pytest.param("llama_7b", "m.tflite", None, marks=pytest.mark.slow),
        pytest.param("qwen2_0_5b", "m.onnx", None, marks=pytest.mark.slow),
        pytest.param("gpt2_small", "m.onnx", None, marks=pytest.mark.slow),
    ],
)
def test_a_host_loop_writes_the_same_tokens(name, file, quantize, tmp_path):
    task, model = get_task("language_modeling"), drawn(name)
    networks = task.exported({"model": model})
    samples = task.exported_samples(networks, task.example(model, 24, 0)[0])
    if file == "m.onnx":
        report = export_onnx(networks["step"], tmp_path / file, samples=samples["step"])
    else:
        report = export_tflite(networks, tmp_path / file, quantize=quantize, representative=samples)
    assert report.bytes > 4 * model.count_params()
    run, caches = (of_onnx if file == "m.onnx" else of_tflite)(tmp_path / file)
    expected = generate(model, PROMPTS, 10, temperature=0).tolist()
    assert [write(run, caches, prompt, 10) for prompt in PROMPTS] == expected
    assert len({token for row in expected for token in row}) > 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2_small", "llama_7b"])
def test_a_file_of_dynamic_range_is_near_the_model(name, tmp_path):
    task, model = get_task("language_modeling"), drawn(name)
    networks = task.exported({"model": model})
    samples = task.exported_samples(networks, task.example(model, 24, 0)[0])
    export_tflite(networks, tmp_path / "m.tflite", quantize="dynamic", representative=samples)
    run, caches = of_tflite(tmp_path / "m.tflite")
    text, found = np.random.default_rng(0).integers(1, 50, 16).astype("int32"), []
    for place, token in enumerate(text):
        outputs = run({"token": np.array([[token]]), "position": np.array([place], "int32"), **caches})
        for key, cache in caches.items():
            cache[:, :, place] = outputs[f"{key}_row"][:, :, 0]
        found.append(outputs["logits"][0])
    expected = np.asarray(model(text[None], training=False))[0]
    assert np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)) < 0.05


def test_samples_of_a_step_hold_the_caches_of_texts():
    task, model = get_task("language_modeling"), drawn("gpt2_small")
    networks = task.exported({"model": model})
    tokens = task.example(model, 8, 0)[0]
    samples = task.exported_samples(networks, tokens)["step"]
    assert set(samples["position"].tolist()) == set(range(16))
    assert (samples["token"] != 0).all()
    outputs = networks["step"](samples, training=False)["logits"].numpy()
    expected = np.asarray(model(tokens, training=False))
    real = [(row, place) for place in range(16) for row in range(8) if tokens[row, place]]
    assert len(real) == len(outputs)
    np.testing.assert_allclose(outputs, [expected[at] for at in real], atol=1e-4)
    cache = next(name for name in samples if name.endswith("_key"))
    for key, place in zip(samples[cache], samples["position"], strict=True):
        assert not key[:, place:].any()


def test_places_are_the_length_or_the_positions_or_a_number():
    task = get_task("language_modeling")
    for name, length, places in (("gpt2_small", 8, 8), ("gpt2_small", None, 16), ("llama_7b", None, 512)):
        model = kerasdl.build(name, **{**kerasdl.spec(name).tiny, "length": length})
        step = task.exported({"model": model})["step"]
        assert step.input["block1_attention_scores_key"].shape[2] == places
