"""TFLite files of several models: a signature each, shared weights once, everything judged and refused by name."""

import keras
import numpy as np
import pytest
from lite import relative_rmse

from kerasdl.core import ArgumentError, ExportError
from kerasdl.deploy import benchmark, export_onnx, export_tflite, export_trainable_tflite, read_metadata, run_exported
from kerasdl.deploy.tflite.joining import joined

L = keras.layers
WORDS, WIDTH = 600, 24
TABLE = {None: 4, "float16": 2, "dynamic": 1, "int8": 1}  # bytes of a number


def encoder_and_step(length=6):
    """A recurrent encoder, and a step of a decoder that reads its words from the same table; both hold a loop."""
    keras.utils.set_random_seed(0)
    table = L.Embedding(WORDS, WIDTH, embeddings_initializer=keras.initializers.RandomNormal(0, 1), name="table")
    source = keras.Input((length,), dtype="int32", name="source")
    memory, state = L.GRU(WIDTH, return_sequences=True, return_state=True, name="reading")(table(source))
    encoder = keras.Model(source, {"memory": memory, "state": state}, name="encoder")
    token, state = keras.Input((1,), dtype="int32", name="token"), keras.Input((WIDTH,), name="state")
    memory = keras.Input((length, WIDTH), name="memory")
    x = L.GRU(WIDTH, return_sequences=True, name="writing")(table(token), initial_state=state)
    x = L.Concatenate(name="joined")([x, L.Attention(name="attention")([x, memory])])
    outputs = {"logits": L.Dense(5, name="head")(x)}
    return {"encode": encoder, "step": keras.Model([token, state, memory], outputs, name="step")}


def inputs_of(models, count=60, length=6):
    rng = np.random.default_rng(1)
    source = rng.integers(0, WORDS, (count, length)).astype("int32")
    encoded = models["encode"].predict(source, verbose=0)
    return {"encode": source, "step": {"token": source[:, :1], **encoded}}


@pytest.fixture(scope="module")
def models():
    return encoder_and_step()


@pytest.fixture(scope="module")
def inputs(models):
    return inputs_of(models)


@pytest.mark.parametrize("quantize", TABLE)
def test_each_signature_is_judged_and_a_shared_table_stands_once(quantize, models, inputs, tmp_path):
    path = tmp_path / "two.tflite"
    report = export_tflite(models, path, quantize=quantize, representative=inputs)
    alone = [
        export_tflite(model, tmp_path / f"{name}.tflite", quantize=quantize, representative=inputs[name]).bytes
        for name, model in models.items()
    ]
    assert report.bytes == path.stat().st_size < sum(alone) - 0.9 * WORDS * WIDTH * TABLE[quantize]
    assert list(report.signatures) == ["encode", "step"]
    each = report.signatures.values()
    assert report.worst_relative == max(one.worst_relative for one in each) < {None: 1e-5}.get(quantize, 0.1)
    assert report.operations["GATHER"] == sum(one.operations["GATHER"] for one in each)
    assert {drift.output for drift in report.drifts} == {"encode: memory", "encode: state", "step: logits"}
    for name, model in models.items():
        given = run_exported(path, inputs[name], signature=name)
        for output, right in model.predict(inputs[name], verbose=0).items():
            assert relative_rmse(right, given[output]) < (1e-5 if quantize is None else 0.1)


def test_the_file_says_how_to_feed_each_signature(models, inputs, tmp_path):
    report = export_tflite(models, tmp_path / "two.tflite", samples={**inputs, "step": None}, metadata={"words": WORDS})
    assert report.samples() == (
        "encode: compared with the model on 60 of 60 examples, drawn by seed 0; step: random noise only"
    )
    text = report.to_markdown()
    assert 'get_signature_runner("encode")' in text
    assert 'runSignature(inputs, outputs, "step")' in text
    stored = read_metadata(tmp_path / "two.tflite")
    assert stored["words"] == WORDS
    assert [each["name"] for each in stored["signatures"]["encode"]["inputs"]] == ["source"]
    assert {each["name"] for each in stored["signatures"]["step"]["inputs"]} == {"token", "state", "memory"}
    with pytest.raises(ArgumentError, match=r"two\.tflite has the signatures \('encode', 'step'\), one of which must"):
        run_exported(tmp_path / "two.tflite", inputs["encode"])
    with pytest.raises(ArgumentError, match=r"must be one of \('encode', 'step'\); got 'decode'"):
        run_exported(tmp_path / "two.tflite", inputs["encode"], signature="decode")
    with pytest.raises(ExportError, match=r"two\.tflite does not run: .*has the signatures \['encode', 'step'\]"):
        benchmark(tmp_path / "two.tflite")


def test_one_example_and_integers_at_the_ends(models, inputs, tmp_path):
    path = tmp_path / "two.tflite"
    export_tflite(models, path, quantize="int8", representative=inputs, integer_io=True)
    one = {name: array[:1] for name, array in inputs["step"].items()}
    given = run_exported(path, one, signature="step")["logits"]
    right = models["step"].predict(one, verbose=0)["logits"]
    np.testing.assert_allclose(given, right, atol=0.15 * np.abs(right).max())
    single = export_tflite(models, path, samples={"encode": inputs["encode"][:1], "step": one})
    assert [each.judged_on.used for each in single.signatures.values()] == [1, 1]


def test_free_axes_stay_free_in_each_signature(tmp_path):
    models = encoder_and_step(length=None)
    path = tmp_path / "free.tflite"
    export_tflite(models, path, samples=inputs_of(models, 8))
    for length in (3, 9):
        inputs = inputs_of(models, 2, length)
        for name, model in models.items():
            given = run_exported(path, inputs[name], signature=name)
            for output, right in model.predict(inputs[name], verbose=0).items():
                np.testing.assert_allclose(given[output], right, atol=1e-5)


def _wrong_shape(inputs):
    return {**inputs, "encode": inputs["encode"][:, :4]}


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        (lambda inputs: inputs["encode"], "samples of several models must be a dict by signature; got 'ndarray'"),
        (lambda inputs: {"encode": inputs["encode"]}, "samples must hold data for each of the signatures .*Add 'step'"),
        (lambda inputs: {**inputs, "decode": None}, r"samples must be by the signatures .*; got 'decode'"),
        (_wrong_shape, "signature 'encode': samples for input 'source' must have the shape"),
    ],
)
def test_samples_come_by_signature(given, rule, models, inputs, tmp_path):
    with pytest.raises(ArgumentError, match=rule):
        export_tflite(models, tmp_path / "two.tflite", samples=given(inputs))
    assert not list(tmp_path.iterdir())


def _keeps_its_state():
    x = keras.Input((4, 3), batch_size=1)
    return keras.Model(x, L.GRU(2, stateful=True, name="kept")(x))


@pytest.mark.parametrize(
    ("several", "rule"),
    [
        (lambda models: {}, "models by name must hold one model or more"),
        (lambda models: {"en code": models["encode"]}, "must be letters, digits and _, a letter first; got 'en code'"),
        (lambda models: {"serve": models["encode"]}, "must not be called serve or serving_default"),
        (lambda models: {"encode": models}, "signature 'encode' must be a keras.Model; got 'dict'"),
        (lambda models: {"listen": _keeps_its_state()}, r"no state between calls \(signature 'listen'\); got 'kept'"),
    ],
)
def test_names_and_models_that_no_signature_can_have(several, rule, models, tmp_path):
    with pytest.raises(ArgumentError, match=rule):
        export_tflite(several(models), tmp_path / "two.tflite")


def test_a_signature_that_drifts_is_named_and_nothing_is_left(models, inputs, tmp_path):
    with pytest.raises(ExportError, match="signature 'encode': tflite dynamic: the file must stay within 0 of"):
        export_tflite(models, tmp_path / "two.tflite", quantize="dynamic", samples=inputs, tolerance=0.0)
    with pytest.raises(ArgumentError, match="signature 'step': quantize='int8' needs representative data"):
        export_tflite(models, tmp_path / "two.tflite", quantize="int8", representative={**inputs, "step": None})
    with pytest.raises(ArgumentError, match=r"an \.onnx file holds one graph; .*got \('encode', 'step'\)"):
        export_onnx(models, tmp_path / "two.onnx")
    assert not list(tmp_path.iterdir())


def test_what_keeps_variables_between_calls_is_not_joined(tmp_path):
    net = keras.Sequential([keras.Input((4,), name="x"), L.Dense(3)])
    export_trainable_tflite(net, tmp_path / "learns.tflite")
    with pytest.raises(ExportError, match=r"must keep nothing between calls; 'learner' has .*VAR_HANDLE"):
        joined({"learner": (tmp_path / "learns.tflite").read_bytes()})
    with pytest.raises(ArgumentError, match=r"must take examples one by one \('train' of learns\.tflite\)"):
        run_exported(tmp_path / "learns.tflite", {"x": 0, "target": 0}, signature="train")
